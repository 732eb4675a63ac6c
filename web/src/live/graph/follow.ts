// Keeps the cache true to what happens elsewhere: every open subscription of the page.

import type { ApolloClient, Observable } from '@apollo/client';
import { SUBSCRIPTION_INTERRUPTED } from 'rejoinder-client';

import { hasCode, isTriedAgain } from '../words';
import { client, connection } from './client';
import { retryDelay } from './connection';
import { CommentChangesDocument, PostAddedDocument, PostUpdatedDocument } from './generated';
import { forgetComment, insertComment, insertPost, keepCount } from './lists';
import { isContentStale, readComments, readList, rereadPost, summaryOf } from './read';
import { rereadListSoon, rereadPostSoon } from './reread';

type Stop = () => void;

/** A subscription that went on for so long is no failed try. */
const SETTLED_AFTER_MS = 5_000;
/** Before the first try, so that not all pages read at once when a server ends their subscriptions. */
const FIRST_PAUSE_MS = 500;

/** New posts join the list. */
export function followPosts(): Stop {
  return follow({
    open: () => client.subscribe({ query: PostAddedDocument, errorPolicy: 'all' }),
    event: ({ postAdded }) => insertPost(postAdded.id),
    gap: rereadListSoon,
    async reread() {
      (await readList()).filter(isContentStale).forEach(rereadPostSoon);
      return true;
    },
  });
}

/** A post's text and count follow its changes; when it is deleted it leaves the page. */
export function followPost(id: string): Stop {
  return follow({
    open: () => client.subscribe({ query: PostUpdatedDocument, variables: { id }, errorPolicy: 'all' }),
    event({ postUpdated: { updatedAt, commentCount } }) {
      keepCount(id, commentCount);
      // Its texts are not sent to all who only count.
      if (summaryOf(id)?.updatedAt !== updatedAt || isContentStale(id)) rereadPostSoon(id);
    },
    gap: () => rereadPostSoon(id),
    reread: () => rereadPost(id),
  });
}

/**
 * A post's comments follow their changes from the cursor that was read with them; `arrived` hears
 * of the new ones, and `ended` why they are not followed any more, though they are there.
 */
export function followComments(
  postId: string,
  cursor: string,
  arrived: (commentId: string) => void,
  ended: (error: unknown) => void,
): Stop {
  let after = cursor;
  return follow({
    open: () =>
      client.subscribe({
        query: CommentChangesDocument,
        variables: { postId, after },
        errorPolicy: 'all',
      }),
    event({ commentChanges: change }) {
      switch (change.__typename) {
        case 'CommentAdded':
          if (insertComment(postId, change.comment.id)) arrived(change.comment.id);
          break;
        case 'CommentDeleted':
          forgetComment(change.commentId);
          break;
        // An edited comment is in the cache by its id, and so is its new text; so are the reactions.
      }
      after = change.cursor;
      keepCursor(postId, after);
    },
    async reread() {
      const cursor = await readComments(postId);
      if (cursor !== undefined) after = cursor;
      return cursor !== undefined;
    },
    ended,
  });
}

/** The list in the cache goes as far as this: a page that is opened again follows from here. */
function keepCursor(postId: string, cursor: string): void {
  client.cache.modify({
    id: client.cache.identify({ __typename: 'Post', id: postId }),
    fields: { commentChangesCursor: () => cursor },
    broadcast: false,
  });
}

export interface Followed<Data> {
  /** With `errorPolicy: 'all'`: without it, an event that came in part looks like one that did not come. */
  open: () => Observable<ApolloClient.SubscribeResult<Data>>;
  event: (data: Data) => void;
  /** Events are missing, and others will come. Without this, what is followed is read and followed again. */
  gap?: () => void;
  /** After the subscription has ended: reads what is followed, and tells whether it is still there. */
  reread: () => Promise<boolean>;
  /** It cannot be read, and nothing but the reader can help. Without this it is tried again all the same. */
  ended?: (error: unknown) => void;
}

/**
 * Follows until it is stopped, or what is followed is gone: a subscription that ended, for whatever
 * reason, is opened again after a new reading. Until then the page does not say that it is live.
 */
export function follow<Data>({ open, event, gap, reread, ended }: Followed<Data>): Stop {
  const identity = {};
  let stopped = false;
  let attempt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let close: Stop = () => {};

  const start = () => {
    const startedAt = Date.now();
    const ended = () => {
      if (Date.now() - startedAt > SETTLED_AFTER_MS) attempt = 0;
      tryAgain();
    };
    // An error ends it too: Apollo Client hands it to `next` and completes.
    const subscription = open().subscribe({
      next: ({ data, error }) => {
        if (data && !error) return event(data);
        const isGap = hasCode(error, SUBSCRIPTION_INTERRUPTED);
        if (isGap && gap) return gap();
        if (!isGap && !data) return;
        // An event came in part, which the cache does not take, or was missed: what it changed is read.
        close();
        ended();
      },
      complete: ended,
    });
    close = () => subscription.unsubscribe();
  };
  const tryAgain = () => {
    if (stopped) return;
    connection.markInterrupted(identity, true);
    const pause = attempt === 0 ? Math.random() * FIRST_PAUSE_MS : retryDelay(attempt - 1);
    timer = setTimeout(() => reread().then(goOn, failed), pause);
    attempt++;
  };
  const failed = (error: unknown) => {
    if (stopped || !ended || isTriedAgain(error)) return tryAgain();
    connection.markInterrupted(identity, false);
    ended(error);
  };
  const goOn = (isThere: boolean) => {
    connection.markInterrupted(identity, false);
    if (isThere && !stopped) start();
  };

  start();
  return () => {
    stopped = true;
    clearTimeout(timer);
    close();
    connection.markInterrupted(identity, false);
  };
}
