// Keeps the cache true to what happens elsewhere: every open subscription of the page.

import { CombinedGraphQLErrors } from '@apollo/client';

import { client, connection } from './client';
import {
  CommentChangesDocument,
  PostAddedDocument,
  PostDocument,
  PostPageDocument,
  PostsDocument,
  PostUpdatedDocument,
} from './generated';
import { forget, insertComment, insertPost } from './lists';
import { COMMENTS_PAGE, LARGEST_PAGE, POSTS_PAGE } from './pageSizes';
import { RESYNC_REQUIRED } from './resumingLink';

type Stop = () => void;

/** New posts join the list; after an interruption the list is read again. */
export function followPosts(): Stop {
  const reread = () => void rereadPosts().catch(report);
  const subscription = client.subscribe({ query: PostAddedDocument }).subscribe({
    next: ({ data, error }) => {
      if (error) reread();
      else if (data) insertPost(data.postAdded.id);
    },
    error: report,
  });
  const stopReading = connection.onReconnect(reread);
  return () => {
    subscription.unsubscribe();
    stopReading();
  };
}

/** A post's text and count follow its changes, through the cache. */
export function followPost(id: string): Stop {
  const subscription = client.subscribe({ query: PostUpdatedDocument, variables: { id } }).subscribe({
    // An event without data says that others are missing.
    next: ({ error }) => {
      if (error) void rereadPost(id).catch(report);
    },
    error: report,
  });
  return () => subscription.unsubscribe();
}

/** The same, and the post is read again after an interruption. For the one that is open. */
export function followOpenPost(id: string): Stop {
  const stopFollowing = followPost(id);
  const stopReading = connection.onReconnect(() => void rereadPost(id).catch(report));
  return () => {
    stopFollowing();
    stopReading();
  };
}

/**
 * A post's comments follow their changes from the cursor that was read with them; `arrived` hears
 * of the new ones.
 */
export function followComments(postId: string, cursor: string, arrived: (commentId: string) => void): Stop {
  let stopped = false;
  let stop: Stop = () => {};

  const start = (after: string | undefined) => {
    if (stopped || after === undefined) return;
    const changes = client.subscribe({ query: CommentChangesDocument, variables: { postId, after } });
    const subscription = changes.subscribe({
      next: ({ data }) => {
        const change = data?.commentChanges;
        switch (change?.__typename) {
          case 'CommentAdded':
            if (insertComment(postId, change.comment.id)) arrived(change.comment.id);
            break;
          case 'CommentDeleted':
            forget('Comment', change.commentId);
            break;
          // An edited comment is in the cache by its id, and so is its new text.
        }
      },
      error: (error) => {
        if (hasCode(error, RESYNC_REQUIRED)) rereadComments(postId).then(start, report);
        else report(error);
      },
    });
    stop = () => subscription.unsubscribe();
  };

  start(cursor);
  return () => {
    stopped = true;
    stop();
  };
}

/** Reads the posts that are on the page again, as many as there are. */
async function rereadPosts(): Promise<void> {
  const loaded = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  const first = Math.min(LARGEST_PAGE, Math.max(POSTS_PAGE, loaded?.posts.edges.length ?? 0));
  await client.query({ query: PostsDocument, variables: { first }, fetchPolicy: 'network-only' });
}

async function rereadPost(id: string): Promise<void> {
  await client.query({ query: PostDocument, variables: { id }, fetchPolicy: 'network-only' });
}

/** Reads a post's newest comments again, and the cursor to follow them from. */
async function rereadComments(id: string): Promise<string | undefined> {
  const variables = { id, first: COMMENTS_PAGE };
  const { data } = await client.query({ query: PostPageDocument, variables, fetchPolicy: 'network-only' });
  return data?.post?.commentChangesCursor;
}

/** Whether the server gave this code as its reason. */
export function hasCode(error: unknown, code: string): boolean {
  return CombinedGraphQLErrors.is(error) && error.errors.some((each) => each.extensions?.code === code);
}

// A subscription that ended for good leaves the page as it was last seen; the connection's state
// and the next read tell the person.
function report(error: unknown): void {
  console.warn(error);
}
