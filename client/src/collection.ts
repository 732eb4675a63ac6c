// A list that is read once and then follows its changes, with writes that show at once.
//
// It subscribes first, reads after the subscription stands, and merges both by id, so that nothing is missed between
// the two. `subscribe` and `getSnapshot` are what React's `useSyncExternalStore` takes; nothing here needs React.

import type { Result } from './contract.js';
import { SubscriptionFailure } from './failure.js';
import { type Gap, type Listener, report, type State } from './resume.js';
import { callIn, retryDelay } from './retry.js';

export interface CollectionOptions<Item, Data> {
  /** Subscribes to the changes, after a cursor if there is one: calls `subscribe` of this package. */
  follow: (listener: Listener<Data>, after: string | undefined) => () => void;
  /** Reads the list. A cursor that was read with it helps with servers that do not say when a subscription stands. */
  read: () => Promise<{ items: readonly Item[]; cursor?: string | null | undefined }>;
  /** What an event changes. */
  changeOf: (data: Data) => Change<Item> | undefined;
  /** `id` if nothing else is said. */
  idOf?: ((item: Item) => string) | undefined;
  /** Their order. If nothing else is said, new items come first. */
  compare?: ((one: Item, other: Item) => number) | undefined;
  /** Whether an item that arrived is the one that is being written; if nothing else is said, if it looks like it. */
  isWritten?: ((arrived: Item, written: Item) => boolean) | undefined;
  /** Whether a failed write is tried again, with its key; if nothing else is said, where the network failed. */
  mayRetry?: ((error: unknown) => boolean) | undefined;
  /** The last items are dropped where there are more; 1,000 if nothing else is said. */
  itemsMax?: number | undefined;
}

/** `put` adds an item, or replaces the one with its id; `replace` does nothing where there is none. */
export type Change<Item> = { put: Item } | { replace: Item } | { remove: string };

/** Another object at each change. */
export interface Snapshot<Item> {
  /** With those that are being written. */
  items: readonly Item[];
  /** Those of the items that are being written. */
  sending: ReadonlySet<Item>;
  /** `failed`: it cannot be read or followed. The items are the last ones that are known. */
  status: 'loading' | 'live' | 'waiting' | 'failed';
  /** Why it failed, or why it waits. */
  error: unknown;
}

export interface Collection<Item> {
  /** Calls `changed` at each change, until the returned function is called. The first reader starts it. */
  subscribe: (changed: () => void) => () => void;
  getSnapshot: () => Snapshot<Item>;
  /**
   * Shows an item, and writes it: `send` gets the idempotency key, the same at each try, and returns the item as the
   * server has it. Throws what the last try threw; the item is not shown then.
   */
  write: (item: Item, send: (idempotencyKey: string) => Promise<Item>) => Promise<Item>;
  /** Adds items that were read otherwise, such as an older page. Those that are known stay as they are. */
  add: (items: readonly Item[]) => void;
  /** Reads the list again, and follows it again if that had ended. */
  refresh: () => void;
}

const ITEMS_MAX = 1_000;
/** Changes that arrive while the list is read. With more, it is read once more instead. */
const CHANGES_MAX = 1_000;
const SENDING_MAX = 100;
const REMOVED_MAX = 100;
const WRITE_TRIES_MAX = 6;
const LONGEST_RETRY_MS = 10_000;
/** Between two readings, if something was missed meanwhile. */
const READ_AGAIN_MS = 100;
/** A subscription that went on for so long is no failed try. */
const SETTLED_AFTER_MS = 5_000;

export class TooManyWrites extends Error {}

interface Sending<Item> {
  item: Item;
  /** Its own item has arrived before the answer. */
  hasArrived: boolean;
}

export function collection<Item extends object, Data = unknown>(
  options: CollectionOptions<Item, Data>,
): Collection<Item> {
  const list = new List(options);
  return {
    subscribe: (changed) => list.subscribe(changed),
    getSnapshot: () => list.snapshot(),
    write: (item, send) => list.write(item, send),
    add: (items) => list.add(items),
    refresh: () => list.refresh(),
  };
}

class List<Item extends object, Data> {
  readonly #options: CollectionOptions<Item, Data>;
  readonly #idOf: (item: Item) => string;
  #readers = new Set<{ changed: () => void }>();
  /** In their order. */
  #items: readonly Item[] = [];
  #sending = new Map<string, Sending<Item>>();
  /** The ids of the last items that were removed: what was being written may be among them. */
  #removed = new Set<string>();
  #shown: Snapshot<Item> | undefined;
  #isRead = false;
  /** Not read since it is followed. */
  #isStale = true;
  /** Gaps that were told and not read yet. */
  #unread: { promise: Promise<void>; done: () => void } | undefined;
  #live: State = 'connecting';
  #error: unknown;
  #hasFailed = false;
  /** Ends the subscription; nothing while there is none. */
  #stop: (() => void) | undefined;
  /** Of two readings the later one counts. */
  #reading = 0;
  /** The changes since the list is being read. */
  #changes: Change<Item>[] | undefined;
  /** Something was missed since the list is being read: it is read once more. */
  #next: { gap: Gap | undefined } | undefined;
  /** The reading that is waited for. */
  #willRead: { gap: Gap | undefined } | undefined;
  #attempt = 0;
  /** Times that the server ended the subscription, soon after it had begun. */
  #endings = 0;
  #startedAt = 0;
  #stopWaiting = () => {};

  constructor(options: CollectionOptions<Item, Data>) {
    this.#options = options;
    this.#idOf = options.idOf ?? ((item) => (item as { id: string }).id);
  }

  subscribe(changed: () => void): () => void {
    const reader = { changed };
    this.#readers.add(reader);
    if (this.#readers.size === 1) this.#start(undefined);
    return () => {
      if (this.#readers.delete(reader) && this.#readers.size === 0) this.#end();
    };
  }

  snapshot(): Snapshot<Item> {
    return (this.#shown ??= this.#show());
  }

  add(items: readonly Item[]): void {
    const known = new Set(this.#items.map(this.#idOf));
    this.#set([...this.#items, ...items.filter((item) => !known.has(this.#idOf(item)))]);
    this.#tell();
  }

  refresh(): void {
    if (this.#readers.size === 0) return;
    this.#stopWaiting();
    const waited = this.#willRead?.gap;
    this.#willRead = undefined;
    if (this.#stop && this.#live === 'live') this.#readSoon(waited);
    else this.#start(undefined);
  }

  async write(item: Item, send: (idempotencyKey: string) => Promise<Item>): Promise<Item> {
    if (this.#sending.size >= SENDING_MAX) throw new TooManyWrites(`${SENDING_MAX} items are being written`);
    const key = newKey();
    this.#sending.set(key, { item, hasArrived: false });
    this.#tell();
    try {
      const written = await this.#send(key, send);
      this.#sending.delete(key);
      const id = this.#idOf(written);
      // What came by the subscription may be newer.
      const isKnown = this.#items.some((known) => this.#idOf(known) === id);
      if (!isKnown && !this.#removed.has(id)) this.#put(written);
      return written;
    } finally {
      this.#sending.delete(key);
      this.#tell();
    }
  }

  async #send(key: string, send: (idempotencyKey: string) => Promise<Item>): Promise<Item> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await send(key);
      } catch (error) {
        const mayRetry = this.#options.mayRetry ?? isOfNetwork;
        if (attempt + 1 >= WRITE_TRIES_MAX || !mayRetry(error)) throw error;
        await new Promise<void>((resolve) => callIn(retryDelay(attempt, LONGEST_RETRY_MS), true, resolve));
      }
    }
  }

  #start(after: string | undefined): void {
    this.#end();
    this.#hasFailed = false;
    this.#error = undefined;
    this.#live = 'connecting';
    this.#isStale = after === undefined;
    let isOver = false;
    const ifGoingOn = (run: () => void) => {
      if (!isOver) run();
    };
    this.#startedAt = Date.now();
    const ended = (error: unknown) => {
      this.#end();
      this.#failed(error);
    };
    const listener: Listener<Data> = {
      next: (result) => ifGoingOn(() => this.#take(result)),
      gap: (gap) => {
        if (isOver) return undefined;
        const isRead = this.#untilRead();
        this.#readSoon(gap);
        return isRead;
      },
      state: (state, failure) =>
        ifGoingOn(() => {
          this.#live = state;
          // No gap comes where it began after a cursor.
          if (state === 'live') queueMicrotask(() => ifGoingOn(() => this.#readIfStale()));
          // Why the list could not be read is not over by that.
          if (!this.#hasFailed) this.#error = state === 'live' ? undefined : (failure ?? this.#error);
          this.#tell();
        }),
      error: (failure) => ifGoingOn(() => ended(failure)),
      complete: () =>
        ifGoingOn(() => {
          if (Date.now() - this.#startedAt > SETTLED_AFTER_MS) this.#endings = 0;
          ended(new SubscriptionFailure('The server has ended the subscription.'));
          this.#again(retryDelay(this.#endings++, LONGEST_RETRY_MS), () => this.#start(undefined));
        }),
    };
    let end = () => {};
    const stop = () => {
      isOver = true;
      end();
    };
    this.#stop = stop;
    this.#tell();
    if (isOver) return;
    end = this.#options.follow(listener, after);
    if (isOver) end();
  }

  #end(): void {
    const stop = this.#stop;
    this.#stop = undefined;
    this.#reading++;
    this.#changes = this.#next = this.#willRead = this.#unread = undefined;
    this.#stopWaiting();
    stop?.();
  }

  #take({ data, errors }: Result<Data>): void {
    if (data == null) return;
    // A part of the event is missing: what it changed is read.
    if (errors && errors.length > 0) return this.#readSoon(undefined);
    const change = this.#options.changeOf(data);
    if (!change) return;
    if (this.#changes && this.#changes.length <= CHANGES_MAX) this.#changes.push(change);
    if (!this.#isRead) return;
    this.#apply(change);
    this.#tell();
  }

  /** A promise for the gaps that were told and not read yet. */
  #untilRead(): Promise<void> {
    if (!this.#unread) {
      let done = () => {};
      const promise = new Promise<void>((resolve) => (done = resolve));
      this.#unread = { promise, done };
    }
    return this.#unread.promise;
  }

  #readIfStale(): void {
    if (this.#isStale && this.#live === 'live' && !this.#changes && !this.#willRead)
      void this.#read(undefined);
  }

  /** One reading at a time, and one more if something was missed meanwhile. */
  #readSoon(gap: Gap | undefined): void {
    if (this.#changes) this.#next = { gap };
    else if (this.#willRead) this.#willRead = { gap };
    else void this.#read(gap);
  }

  async #read(gap: Gap | undefined): Promise<void> {
    const reading = ++this.#reading;
    this.#stopWaiting();
    this.#willRead = undefined;
    const changes: Change<Item>[] = [];
    this.#changes = changes;
    try {
      const { items, cursor } = await this.#options.read();
      if (reading !== this.#reading) return;
      this.#changes = undefined;
      this.#attempt = 0;
      this.#error = undefined;
      this.#hasFailed = false;
      this.#isRead = true;
      this.#isStale = false;
      this.#set(items);
      changes.forEach((change) => this.#apply(change));
      const next = this.#next ?? (changes.length > CHANGES_MAX ? { gap: undefined } : undefined);
      this.#next = undefined;
      // It was a guess that the subscription stood: after the cursor of the list, nothing depends on it.
      if (gap?.isGuess && gap.takesCursor && typeof cursor === 'string') return this.#start(cursor);
      if (next) this.#readIn(READ_AGAIN_MS, next.gap);
      else {
        this.#unread?.done();
        this.#unread = undefined;
      }
      this.#tell();
    } catch (error) {
      if (reading !== this.#reading) return;
      this.#changes = this.#next = undefined;
      this.#failed(error);
      const waitMs = error instanceof SubscriptionFailure ? error.waitMs : 0;
      this.#readIn(retryDelay(this.#attempt++, LONGEST_RETRY_MS, waitMs), gap);
    }
  }

  #failed(error: unknown): void {
    this.#error = error;
    this.#hasFailed = true;
    this.#tell();
  }

  #readIn(ms: number, gap: Gap | undefined): void {
    this.#willRead = { gap };
    this.#again(ms, () => void this.#read(this.#willRead?.gap));
  }

  #again(ms: number, run: () => void): void {
    this.#stopWaiting();
    if (this.#readers.size > 0) this.#stopWaiting = callIn(ms, false, run);
  }

  #apply(change: Change<Item>): void {
    if ('remove' in change) {
      this.#removed.add(change.remove);
      for (const oldest of this.#removed) {
        if (this.#removed.size <= REMOVED_MAX) break;
        this.#removed.delete(oldest);
      }
      this.#items = this.#items.filter((item) => this.#idOf(item) !== change.remove);
    } else if ('put' in change) this.#put(change.put);
    else if (this.#items.some((item) => this.#idOf(item) === this.#idOf(change.replace)))
      this.#put(change.replace);
  }

  #put(item: Item): void {
    const id = this.#idOf(item);
    const isKnown = this.#items.some((known) => this.#idOf(known) === id);
    this.#removed.delete(id);
    this.#set(
      isKnown
        ? this.#items.map((known) => (this.#idOf(known) === id ? item : known))
        : [item, ...this.#items],
    );
    if (isKnown) return;
    const isWritten = this.#options.isWritten ?? ((arrived, written) => this.#isLike(arrived, written));
    for (const sending of this.#sending.values())
      if (!sending.hasArrived && isWritten(item, sending.item)) {
        sending.hasArrived = true;
        break;
      }
  }

  /** Whether an item has all that is known of another one, except its id. */
  #isLike(arrived: Item, written: Item): boolean {
    const id = this.#idOf(written);
    const known = Object.entries(written).filter(([, value]) => value !== id && !isObject(value));
    return (
      known.length > 0 && known.every(([name, value]) => (arrived as Record<string, unknown>)[name] === value)
    );
  }

  #set(items: readonly Item[]): void {
    const { compare, itemsMax } = this.#options;
    this.#items = (compare ? [...items].sort(compare) : items).slice(0, itemsMax ?? ITEMS_MAX);
  }

  #show(): Snapshot<Item> {
    const { compare } = this.#options;
    const sending = [...this.#sending.values()]
      .filter(({ hasArrived }) => !hasArrived)
      .map(({ item }) => item);
    const items = [...sending.reverse(), ...this.#items];
    return {
      items: compare ? items.sort(compare) : items,
      sending: new Set(sending),
      status: this.#hasFailed
        ? 'failed'
        : !this.#isRead
          ? 'loading'
          : this.#live === 'live'
            ? 'live'
            : 'waiting',
      error: this.#error,
    };
  }

  #tell(): void {
    this.#shown = undefined;
    [...this.#readers].forEach(({ changed }) => report(changed));
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** What `fetch` throws. */
function isOfNetwork(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError');
}

/** `randomUUID` is not there on pages without TLS. */
function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');
}
