// Comments that are not in the list any more, and still needed: somebody writes there.

interface Known {
  id: string;
}

/** The comments with those that are gone, each beside what it stood beside. `before` is what was shown last. */
export function withGone<Comment extends Known>(
  there: readonly Comment[],
  gone: readonly Comment[],
  before: readonly string[],
): readonly Comment[] {
  if (gone.length === 0) return there;
  const all = [...there];
  const placeOf = (id: string) => all.findIndex((each) => each.id === id);
  for (const comment of gone) {
    const at = before.indexOf(comment.id);
    const above = before.slice(0, Math.max(at, 0)).findLast((id) => placeOf(id) >= 0);
    const below = before.slice(at + 1).find((id) => placeOf(id) >= 0);
    const place = above !== undefined ? placeOf(above) + 1 : below !== undefined ? placeOf(below) : 0;
    all.splice(place, 0, comment);
  }
  return all;
}

/** Whether these are the comments that were shown last. */
export function areSame(comments: readonly Known[], before: readonly string[]): boolean {
  return comments.length === before.length && comments.every(({ id }, index) => id === before[index]);
}
