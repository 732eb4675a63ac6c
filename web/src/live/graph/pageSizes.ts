// How much the page asks for at once.

import { placeOfNow } from '../place';

/** Comments of a page. */
export const COMMENTS_PAGE = 20;
/** Posts of a page. */
export const POSTS_PAGE = 20;
/** The most that the server gives at once. */
export const LARGEST_PAGE = 100;

/** Where the first list of posts ends for its length, in bytes of its texts: the same in `pages/src/render.rs`. */
const LIST_BYTES = 12 * 1024;
/**
 * Where a post's text is cut, and where its first comments end. The page service sends more of the text where it weighs
 * little.
 */
const TEXT_BYTES = 16 * 1024;
/** Of a post that nobody has chosen. */
const TEXT_BYTES_BESIDE = TEXT_BYTES / 2;

/** As many comments as a reader who comes back had loaded. */
export function firstComments(): number {
  return Math.min(LARGEST_PAGE, Math.max(COMMENTS_PAGE, placeOfNow()?.comments ?? 0));
}

/** As many posts. */
export function firstPosts(): number {
  return Math.min(LARGEST_PAGE, Math.max(POSTS_PAGE, placeOfNow()?.posts ?? 0));
}

/**
 * The most bytes of the texts of the first posts, so that a first visit weighs little; what follows comes when it is asked
 * for. A reader who comes back may have asked for it.
 */
export function firstListBytes(): number | null {
  return placeOfNow() ? null : LIST_BYTES;
}

/** The most bytes of a post's text, and of those of its first comments. */
export function firstTextBytes(isChosen: boolean): number | null {
  if (placeOfNow()) return null;
  return isChosen ? TEXT_BYTES : TEXT_BYTES_BESIDE;
}
