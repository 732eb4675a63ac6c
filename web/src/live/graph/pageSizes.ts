// How much the page asks for at once.

import { placeOfNow } from '../place';

/** Comments of a page. */
export const COMMENTS_PAGE = 20;
/** Posts of a page. */
export const POSTS_PAGE = 20;
/** The most that the server gives at once. */
export const LARGEST_PAGE = 100;

/** Where the first comments end for their length, in bytes of their texts: the same in `pages/src/graph.rs`. */
const COMMENT_BYTES = 16 * 1024;
/** Below a post that nobody has chosen. */
const COMMENT_BYTES_BESIDE = COMMENT_BYTES / 2;

/** As many comments as a reader who comes back had loaded. */
export function firstComments(): number {
  return Math.min(LARGEST_PAGE, Math.max(COMMENTS_PAGE, placeOfNow()?.comments ?? 0));
}

/** As many posts. */
export function firstPosts(): number {
  return Math.min(LARGEST_PAGE, Math.max(POSTS_PAGE, placeOfNow()?.posts ?? 0));
}

/**
 * The most bytes that the texts of the first comments may have, so that a first visit weighs little; what follows comes
 * when it is asked for. A reader who comes back may have asked for it.
 */
export function firstCommentBytes(isChosen: boolean): number | null {
  if (placeOfNow()) return null;
  return isChosen ? COMMENT_BYTES : COMMENT_BYTES_BESIDE;
}
