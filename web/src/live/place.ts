// Where the reader was: kept with each entry of the browser's history, so that a reload and the way back lead to the
// same place. The browser's own memory is too early: what is read comes after it.

interface Place {
  /** The first comment in view, and how far its top is from the window's. */
  anchor?: string;
  offset?: number;
  y: number;
  /** How far the list beside the post is scrolled. */
  side: number;
  comments: number;
  posts: number;
  /** No part of the post's text was left out. */
  isWhole?: boolean;
}

const KEEP_AFTER_MS = 150;
/** More than the header covers. */
const TOP = 60;

/**
 * Whether the way back is not at its end: what stands there is still to come. Until it is, or the reader moves, the
 * place that is kept stays as it is.
 */
let isOnTheWay = false;

/** Keeps the places from now on. */
export function keepPlaces(): void {
  history.scrollRestoration = 'manual';
  let timer: ReturnType<typeof setTimeout> | undefined;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(keep, KEEP_AFTER_MS);
  };
  // In the capturing phase: the list's own scrolling does not bubble.
  addEventListener('scroll', later, { capture: true, passive: true });
  addEventListener('popstate', () => {
    clearTimeout(timer);
    isOnTheWay = false;
  });
  const moves = () => (isOnTheWay = false);
  for (const event of ['wheel', 'touchmove', 'pointerdown', 'keydown'])
    addEventListener(event, moves, { capture: true, passive: true });
  addEventListener('pagehide', keep);
}

/** The place of the entry of now; none where the reader has just come. */
export function placeOfNow(): Place | undefined {
  return (history.state as { place?: Place } | null)?.place;
}

/** Goes back to a place, as far as its parts are there. */
export function returnTo({ anchor, offset = 0, y, side }: Place): void {
  const element = anchor === undefined ? null : document.getElementById(anchor);
  const top = element ? scrollY + element.getBoundingClientRect().top - offset : y;
  scrollTo({ top, behavior: 'instant' });
  document.querySelector('.side')?.scrollTo({ top: side, behavior: 'instant' });
  isOnTheWay = anchor === undefined ? Math.abs(scrollY - y) > 1 : element === null;
}

/** Keeps the place of now. */
export function keep(): void {
  if (isOnTheWay) return;
  const first = [...document.querySelectorAll('.comment')].find(
    (comment) => comment.getBoundingClientRect().bottom > TOP,
  );
  const isIn = first !== undefined && first.getBoundingClientRect().top < innerHeight;
  const place: Place = {
    ...(isIn && { anchor: first.id, offset: first.getBoundingClientRect().top }),
    y: scrollY,
    side: document.querySelector('.side')?.scrollTop ?? 0,
    comments: document.querySelectorAll('.comment').length,
    posts: document.querySelectorAll('.posts > li').length,
    isWhole: document.querySelector('.content') !== null && document.querySelector('.read-on') === null,
  };
  history.replaceState({ ...(history.state as object | null), place }, '');
}
