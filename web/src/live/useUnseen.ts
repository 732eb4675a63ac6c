// The comments that came while the reader was elsewhere: in another tab, further down, or away since the last visit.

import { useEffect, useState, useSyncExternalStore } from 'react';

import type { CommentOrder } from './graph/generated';
import { wasSentHere } from './outbox';
import { isAfter, keepSeen, type Mark, newestOf, readSeen } from './seen';
import { countUnseen } from './title';

interface Unseen {
  count: number;
  /** There are more of them among the older comments. */
  isMore: boolean;
  /** The last comment that was seen before those that are new; undefined where none is. */
  line: Mark | undefined;
}

interface State {
  /** Undefined until the first comments are there. */
  seen: Mark | undefined;
  line: Mark | undefined;
  wasWatching: boolean;
}

/**
 * `isInView`: the place where new comments appear can be seen. `comments` are undefined until they are there. Where the
 * newest of them may be missing, nothing is reported, and the reader's place stays as it was: another order is no absence.
 */
export function useUnseen(
  postId: string,
  comments: readonly Mark[] | undefined,
  hasOlder: boolean,
  order: CommentOrder,
  isInView: boolean,
): Unseen {
  const isShown = useSyncExternalStore(onVisibility, () => document.visibilityState === 'visible');
  const hasNewest = comments !== undefined && (order === 'NEWEST_FIRST' || !hasOlder);
  const known = hasNewest ? comments : [];
  const [{ seen, line, wasWatching }, setState] = useState<State>(() => ({
    seen: readSeen(postId),
    line: undefined,
    wasWatching: false,
  }));
  const isWatching = hasNewest ? isInView && isShown : wasWatching;
  const newest = newestOf(known);
  // Whoever comes for the first time has missed nothing.
  const since = seen ?? newest;
  const unseen = known.filter((each) => isAfter(each, since) && !wasSentHere(each.id));

  const isBehind = hasNewest && (seen === undefined || (isWatching && isAfter(newest, seen)));
  if (isBehind || isWatching !== wasWatching) {
    // Who looks on as they come sees no line; who comes back does, until the next absence.
    const comesBack = isWatching && !wasWatching && unseen.length > 0;
    setState({
      seen: isBehind ? newest : seen,
      line: comesBack ? since : line,
      wasWatching: isWatching,
    });
  }

  useEffect(() => {
    if (isWatching && seen) keepSeen(postId, seen);
  }, [postId, isWatching, seen]);
  const isMore = unseen.length > 0 && unseen.length === known.length && hasOlder;
  const said = unseen.length === 0 ? '' : `${unseen.length}${isMore ? '+' : ''}`;
  useEffect(() => {
    countUnseen(said);
    return () => countUnseen('');
  }, [said]);
  return { count: unseen.length, isMore, line: unseen.length > 0 ? since : line };
}

/** Where the line between seen and new comments stands: before this index. Undefined where there is no such place. */
export function lineIndex(comments: readonly Mark[], line: Mark | undefined): number | undefined {
  if (!line) return undefined;
  const areNew = comments.map((each) => isAfter(each, line));
  const changes = areNew.flatMap((isNew, index) => (index > 0 && isNew !== areNew[index - 1] ? [index] : []));
  return changes.length === 1 ? changes[0] : undefined;
}

function onVisibility(changed: () => void): () => void {
  document.addEventListener('visibilitychange', changed);
  return () => document.removeEventListener('visibilitychange', changed);
}
