// Whether the list stands beside the post.

const query = matchMedia('(min-width: 60rem)');

export function isWide(): boolean {
  return query.matches;
}

/** Calls `changed` when it gets wide or narrow, until the returned function is called. */
export function listenToWidth(changed: () => void): () => void {
  query.addEventListener('change', changed);
  return () => query.removeEventListener('change', changed);
}
