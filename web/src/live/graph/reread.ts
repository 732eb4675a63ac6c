// Reads posts again whose events were missed: the list, or single posts of it.

import { connection } from './client';
import { retryDelay } from './connection';
import { isContentStale, readList, rereadPost } from './read';

/** Subscriptions start together, on a page's start and after a lost socket: one reading for them all. */
const GATHER_MS = 100;
/** More posts than this are read as a list, in one request. */
const SINGLE_POSTS_MAX = 3;

let listIsStale = false;
let stalePosts = new Set<string>();
let timer: ReturnType<typeof setTimeout> | undefined;
let isReading = false;
let attempt = 0;
const identity = {};

/** The list of posts may lack some. It is read again soon, and once more until that succeeds. */
export function rereadListSoon(): void {
  listIsStale = true;
  readSoon(GATHER_MS);
}

/** The post may have changed. */
export function rereadPostSoon(id: string): void {
  stalePosts.add(id);
  readSoon(GATHER_MS);
}

function readSoon(ms: number): void {
  if (!isReading) timer ??= setTimeout(() => void readStale(), ms);
}

async function readStale(): Promise<void> {
  timer = undefined;
  isReading = true;
  const [list, posts] = [listIsStale, stalePosts];
  [listIsStale, stalePosts] = [false, new Set()];
  let pause = GATHER_MS;
  try {
    const single = new Set(posts);
    // What was read with the list needs no reading of its own.
    if (list || posts.size > SINGLE_POSTS_MAX) {
      for (const id of await readList()) {
        if (isContentStale(id)) single.add(id);
        else single.delete(id);
      }
    }
    await Promise.all([...single].map(rereadPost));
    attempt = 0;
    connection.markInterrupted(identity, false);
  } catch {
    listIsStale ||= list;
    posts.forEach((id) => stalePosts.add(id));
    connection.markInterrupted(identity, true);
    pause = retryDelay(attempt++);
  }
  isReading = false;
  if (listIsStale || stalePosts.size > 0) readSoon(pause);
}
