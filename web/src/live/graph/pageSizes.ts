// How much the page asks for at once.

import { placeOfNow } from '../place';

/** Comments of a page. */
export const COMMENTS_PAGE = 20;
/** Posts of a page. */
export const POSTS_PAGE = 20;
/** The most that the server gives at once. */
export const LARGEST_PAGE = 100;

/** As many comments as a reader who comes back had loaded. */
export function firstComments(): number {
  return Math.min(LARGEST_PAGE, Math.max(COMMENTS_PAGE, placeOfNow()?.comments ?? 0));
}

/** As many posts. */
export function firstPosts(): number {
  return Math.min(LARGEST_PAGE, Math.max(POSTS_PAGE, placeOfNow()?.posts ?? 0));
}
