// The comments that came while the reader was elsewhere: in another tab, further down, or away since the last visit.

import { useEffect, useState, useSyncExternalStore } from 'react';

import type { CommentOrder } from './graph/generated';
import { wasSentHere } from './outbox';
import { isAfter, keepSeen, type Mark, newestOf, readSeen } from './seen';
import type { Placed } from './threads';
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

/**
 * Where the line between seen and new comments stands: before this index, undefined where there is no such place. What is
 * new and not to be known by the line is marked by itself: replies below older comments, and comments in another order.
 */
export function newIn(
  placed: readonly Placed<Mark>[],
  line: Mark | undefined,
): { lineAt: number | undefined; marked: ReadonlySet<string> } {
  if (!line) return NOTHING_NEW;
  const tops = placed.flatMap(({ comment, isBelow }, index) =>
    isBelow ? [] : [{ index, isNew: isAfter(comment, line) }],
  );
  const changes = tops.filter(({ isNew }, place) => place > 0 && isNew !== tops[place - 1]?.isNew);
  let isBelowNew = false;
  const marked = placed.filter(({ comment, isBelow }) => {
    const isNew = isAfter(comment, line);
    if (!isBelow) isBelowNew = isNew;
    const isTold = changes.length === 1 && isBelowNew;
    return isNew && !wasSentHere(comment.id) && !isTold && (isBelow || changes.length > 1);
  });
  return {
    lineAt: changes.length === 1 ? changes[0]?.index : undefined,
    marked: new Set(marked.map(({ comment }) => comment.id)),
  };
}

const NOTHING_NEW = { lineAt: undefined, marked: new Set<string>() };

function onVisibility(changed: () => void): () => void {
  document.addEventListener('visibilitychange', changed);
  return () => document.removeEventListener('visibilitychange', changed);
}
