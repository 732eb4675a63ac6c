// Takes what the address shows into the cache before React draws. A component's own reading begins
// after its first paint; by then these answers are there or on their way.

import { orderOfNow } from '../commentOrder';
import { commentsAfter, postsAfter } from '../part';
import { client } from './client';
import { PostsDocument } from './generated';
import { POSTS_PAGE } from './pageSizes';
import { commentsName, postsName, readComments, readList, readOnce, readPost } from './read';

/**
 * Without an id, the newest post is asked for when `showsNewest`. It ends when all has come, or one of it cannot be had.
 */
export async function prefetch(postId: string | undefined, showsNewest: boolean): Promise<void> {
  const posts = readOnce(postsName(postsAfter()), readList);
  if (postId === undefined) await posts;
  const id = postId ?? (showsNewest ? newestKnown() : undefined);
  if (id !== undefined) {
    // The post does not wait for its comments.
    const name = commentsName(id, orderOfNow(), commentsAfter(id));
    const comments = readOnce(name, () => readComments(id));
    comments.catch(() => {});
    await readOnce(`post ${id}`, () => readPost(id));
    await comments;
  }
  await posts;
}

/** The id of the newest post, when the list has been read already, and begins with it. */
export function newestKnown(): string | undefined {
  if (postsAfter() !== undefined) return undefined;
  const known = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  return known?.posts.edges[0]?.node.id;
}
