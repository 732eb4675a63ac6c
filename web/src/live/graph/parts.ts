// Which part of each list is in the cache. A list that does not begin where the address says leaves the cache, and is
// read again.

import { commentsAfter, postsAfter } from '../part';
import { routeOf } from '../route';
import { client } from './client';

/** The cursors after which lists begin, by the id of the post that has the comments; those without begin with the newest. */
const beginnings = new Map<string, string>();
/** In the place of an id. */
const POSTS = 'posts';

/** The list of posts in the cache begins after this cursor. */
export function notePosts(after: string | undefined): void {
  note(POSTS, after);
}

/** The list of a post's comments, the newest first, begins after this cursor. */
export function noteComments(postId: string, after: string | undefined): void {
  note(postId, after);
}

/** Whether what is new stands before all of the list: the list of posts, or of a post's comments. */
export function lacksNewest(postId: string = POSTS): boolean {
  return beginnings.has(postId);
}

function note(list: string, after: string | undefined): void {
  if (after === undefined) beginnings.delete(list);
  else beginnings.set(list, after);
}

// Before any component hears of the new address.
addEventListener('popstate', () => {
  if (beginnings.get(POSTS) !== postsAfter()) {
    note(POSTS, undefined);
    client.cache.evict({ id: 'ROOT_QUERY', fieldName: 'posts' });
  }
  const route = routeOf(location);
  if (route.at === 'post' && beginnings.get(route.id) !== commentsAfter(route.id)) {
    note(route.id, undefined);
    const id = client.cache.identify({ __typename: 'Post', id: route.id });
    if (id !== undefined) client.cache.evict({ id, fieldName: 'comments' });
  }
});
