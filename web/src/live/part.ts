// The part of a list that the address names: `?after=` and a cursor, as in the page service's links to what is older. What
// is newer is not shown, also when it arrives. Without a cursor, a list begins with the newest.

import { orderOf } from './commentOrder';
import { routeOf } from './route';

/** Where the list of posts began when it was last shown alone. */
let postsBegan: string | undefined;

/** The cursor after which the list of posts begins. Beside a post it stays where it was. */
export function postsAfter(): string | undefined {
  if (routeOf(location).at === 'list') postsBegan = cursorOf(location.search);
  return postsBegan;
}

/** The cursor after which a post's comments begin. */
export function commentsAfter(postId: string): string | undefined {
  const route = routeOf(location);
  return route.at === 'post' && route.id === postId ? cursorOf(location.search) : undefined;
}

/** In another order than the first one, the cursor would have another form. */
function cursorOf(search: string): string | undefined {
  const after = new URLSearchParams(search).get('after');
  return after && orderOf(search) === 'NEWEST_FIRST' ? after : undefined;
}
