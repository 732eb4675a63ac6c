// The order of a post's comments, kept in the address: `?order=oldest` and `?order=replies`; without it, the newest first.

import type { CommentOrder } from './graph/generated';

/** The orders that the reader may choose, with their names in the address. */
export const ORDERS: readonly { order: CommentOrder; parameter: string | null; label: string }[] = [
  { order: 'NEWEST_FIRST', parameter: null, label: 'Newest' },
  { order: 'OLDEST_FIRST', parameter: 'oldest', label: 'Oldest' },
  { order: 'MOST_REPLIED', parameter: 'replies', label: 'Most replied' },
];

/** The order of an address. */
export function orderOf(search: string): CommentOrder {
  const wanted = new URLSearchParams(search).get('order');
  return ORDERS.find(({ parameter }) => parameter === wanted)?.order ?? 'NEWEST_FIRST';
}

/** The order of now. */
export function orderOfNow(): CommentOrder {
  return orderOf(location.search);
}
