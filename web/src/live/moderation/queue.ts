// The comments that wait for a moderator, as they come and go, and those that one has hidden.
//
// They are kept here, not in the client's cache: whoever leaves the page or signs out takes nothing of them along.

import { useEffect, useState } from 'react';

import { client } from '../graph/client';
import { retryDelay } from '../graph/connection';
import { follow } from '../graph/follow';
import {
  ModerationChangesDocument,
  type ModerationList,
  ModerationQueueDocument,
  type QueueEntryFragment,
} from '../graph/generated';
import { mayPass } from '../words';

export type Entry = QueueEntryFragment;

const PAGE = 50;
/** From the server each time, and into no cache. */
const ANEW = { fetchPolicy: 'no-cache', context: { queryDeduplication: false } } as const;

export interface Queue {
  /** The newest first; undefined until they are read. */
  entries: readonly Entry[] | undefined;
  /** Why they cannot be read. */
  error: unknown;
  /** Reads the next page; undefined where there is none. */
  readOlder: (() => Promise<void>) | undefined;
  /** Takes a comment out that was just decided about. */
  forget: (commentId: string) => void;
  /** Notes whether an author is blocked. */
  noteBlock: (authorId: string, isBlocked: boolean) => void;
  retry: () => void;
}

interface Page {
  entries: readonly Entry[];
  next: string | null;
}

export function useQueue(list: ModerationList): Queue {
  const [page, setPage] = useState<Page>();
  const [error, setError] = useState<unknown>();
  const [asked, setAsked] = useState(0);

  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let attempt = 0;
    let stop = () => {};
    let cursor = '';
    const read = async () => {
      const answer = await readPage(list, null);
      cursor = answer.cursor;
      if (!isOver) setPage(answer);
      return true;
    };
    const change = (entries: (before: readonly Entry[]) => readonly Entry[]) =>
      setPage((before) => before && { ...before, entries: entries(before.entries) });
    const begin = () => {
      read().then(
        () => {
          if (isOver) return;
          setError(undefined);
          // What a moderator has hidden has no subscription: others' acts show at the next visit.
          if (list === 'OPEN') stop = followQueue(() => cursor, change, read);
        },
        (failure: unknown) => {
          if (isOver) return;
          setError(failure);
          if (mayPass(failure)) timer = setTimeout(begin, retryDelay(attempt++));
        },
      );
    };
    begin();
    return () => {
      isOver = true;
      clearTimeout(timer);
      stop();
      setPage(undefined);
      setError(undefined);
    };
  }, [list, asked]);

  const next = page?.next ?? null;
  return {
    entries: page?.entries,
    error,
    readOlder:
      next === null
        ? undefined
        : async () => {
            const { entries, next: after } = await readPage(list, next);
            setPage((before) => before && { entries: merged(before.entries, entries), next: after });
          },
    forget: (commentId) =>
      setPage((before) => before && { ...before, entries: without(before.entries, commentId) }),
    noteBlock: (authorId, isBlocked) =>
      setPage(
        (before) =>
          before && {
            ...before,
            entries: before.entries.map((entry) =>
              entry.comment?.authorId === authorId ? { ...entry, authorIsBlocked: isBlocked } : entry,
            ),
          },
      ),
    retry: () => setAsked(asked + 1),
  };
}

async function readPage(list: ModerationList, after: string | null): Promise<Page & { cursor: string }> {
  const query = ModerationQueueDocument;
  const { data } = await client.query({ query, variables: { list, first: PAGE, after }, ...ANEW });
  if (!data) throw new Error('the queue came without data');
  const { edges, pageInfo } = data.moderationQueue;
  return {
    entries: edges.map((edge) => edge.node as Entry),
    next: pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null,
    cursor: data.moderationChangesCursor,
  };
}

/** Follows the changes from the cursor that was read with the queue. */
function followQueue(
  cursor: () => string,
  change: (entries: (before: readonly Entry[]) => readonly Entry[]) => void,
  reread: () => Promise<boolean>,
): () => void {
  return follow({
    open: () =>
      client.subscribe({
        query: ModerationChangesDocument,
        variables: { after: cursor() },
        fetchPolicy: 'no-cache',
        errorPolicy: 'all',
      }),
    event({ moderationChanges: event }) {
      if (event.__typename === 'ModerationLeft') {
        const { commentId } = event;
        change((before) => without(before, commentId));
      } else if ('entry' in event) {
        const entry = event.entry as Entry;
        change((before) => merged(before, [entry]));
      }
    },
    reread,
  });
}

function without(entries: readonly Entry[], commentId: string): readonly Entry[] {
  return entries.filter((entry) => entry.commentId !== commentId);
}

/** Both, the newest first; of two with the same comment, the one that came later. */
function merged(before: readonly Entry[], later: readonly Entry[]): readonly Entry[] {
  const all = new Map([...before, ...later].map((entry) => [entry.commentId, entry]));
  return [...all.values()].sort((one, other) => other.since.localeCompare(one.since));
}
