// Where cursors are kept: they may outlive a reload of the page.

import { cursorIn, isRecord } from './contract.js';

/**
 * Keeps the last cursor of each subscription. One that fails is done without, and one that does not answer, too.
 *
 * A cursor says which events a client has had. It helps after a reload only if what those events did is kept as well;
 * otherwise read the data again, and subscribe without one.
 */
export interface CursorStore {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  /** Without a cursor: forgets it. */
  set(key: string, cursor: string | undefined): unknown;
}

/** Cursors that are kept: the last ones that were used. */
const CURSORS_MAX = 100;
const ANSWERED_WITHIN_MS = 2_000;

/** As long as the page is open. */
export function memoryStore(): CursorStore {
  const cursors = new Map<string, string>();
  return {
    get: (key) => cursors.get(key),
    set: (key, cursor) => put(cursors, key, cursor),
  };
}

/** What is used of a `Storage`: projects without the types of browsers have none. */
export interface StorageLike {
  getItem(name: string): string | null;
  setItem(name: string, text: string): void;
}

/** As long as the tab is open, also over reloads. */
export function sessionStore(name = 'rejoinder.cursors', storage?: StorageLike): CursorStore {
  // Looked up late: where storage is not allowed, the mere name throws.
  const kept = () => storage ?? sessionStorage;
  const read = () => {
    let entries: unknown;
    try {
      entries = JSON.parse(kept().getItem(name) ?? '[]');
    } catch (error) {
      // Somebody else's text is written over.
      if (!(error instanceof SyntaxError)) throw error;
    }
    const known = new Map<string, string>();
    for (const entry of Array.isArray(entries) ? (entries as unknown[]) : []) {
      const [key, cursor] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof key === 'string' && cursorIn(cursor) !== undefined) known.set(key, cursor as string);
    }
    return known;
  };
  return {
    get: (key) => read().get(key),
    set(key, cursor) {
      const cursors = read();
      put(cursors, key, cursor);
      kept().setItem(name, JSON.stringify([...cursors]));
    },
  };
}

function put(cursors: Map<string, string>, key: string, cursor: string | undefined): void {
  cursors.delete(key);
  if (cursor !== undefined) cursors.set(key, cursor);
  for (const oldest of cursors.keys()) {
    if (cursors.size <= CURSORS_MAX) break;
    cursors.delete(oldest);
  }
}

/** One subscription's cursor in a store that may be slow, or fail. */
export class StoredCursor {
  #isWriting = false;
  #next: { cursor: string | undefined } | undefined;
  #hasWarned = false;

  constructor(
    readonly store: CursorStore,
    readonly key: string,
  ) {}

  /** Calls `tell` with what is stored, at once if it can be told at once; never after `cancel`, which it returns. */
  read(tell: (cursor: string | undefined) => void): () => void {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const done = (value: unknown) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      tell(cursorIn(value));
    };
    const failed = (error: unknown) => {
      this.#warn(error);
      done(undefined);
    };
    try {
      const found = this.store.get(this.key);
      if (isThenable(found)) {
        timer = setTimeout(failed, ANSWERED_WITHIN_MS, new Error('it does not answer'));
        found.then(done, failed);
      } else done(found);
    } catch (error) {
      failed(error);
    }
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }

  /** Of several cursors while a slow store writes, the last one counts. */
  write(cursor: string | undefined): void {
    if (this.#isWriting) {
      this.#next = { cursor };
      return;
    }
    try {
      const writing = this.store.set(this.key, cursor);
      if (!isThenable(writing)) return;
      this.#isWriting = true;
      const goOn = () => {
        this.#isWriting = false;
        const next = this.#next;
        this.#next = undefined;
        if (next) this.write(next.cursor);
      };
      writing.then(goOn, (error: unknown) => {
        this.#warn(error);
        goOn();
      });
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    if (!this.#hasWarned) console.warn('rejoinder-client: cursors are not kept:', error);
    this.#hasWarned = true;
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    (isRecord(value) || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}
