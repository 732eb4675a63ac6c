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
  /**
   * `waiting`: changes do not arrive now, and follow later. `failed`: it cannot be read or followed. The items are the
   * last ones that are known.
   */
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
  /**
   * Adds items that were read otherwise, such as an older page. Those that are known stay as they are, and those that
   * were removed or changed a short time ago stay so.
   */
  add: (items: readonly Item[]) => void;
  /** Reads the list again, and follows it again if that had ended. */
  refresh: () => void;
}

const ITEMS_MAX = 1_000;
/** Changes that arrive while the list is read. With more, it is read once more instead. */
const CHANGES_MAX = 1_000;
const SENDING_MAX = 100;
const REMOVED_MAX = 100;
const UNPLACED_MAX = 100;
const WRITE_TRIES_MAX = 6;
const LONGEST_RETRY_MS = 10_000;
/** Between two readings, if something was missed meanwhile. */
const READ_AGAIN_MS = 100;
/** A subscription that went on for so long is no failed try. */
const SETTLED_AFTER_MS = 5_000;

export class TooManyWrites extends Error {}

interface Sending<Item> {
  item: Item;
  /** The id of the item that looks like its own, and arrived before the answer. */
  arrivedId: string | undefined;
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
  /** The last changes of items that are not there: a page that is on its way may bring these as they were. */
  #unplaced = new Map<string, Item>();
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
  /** What happened since the list is being read: it is done again on top of that. */
  #changes: (() => void)[] | undefined;
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
    const newest = items.map((item) => this.#unplaced.get(this.#idOf(item)) ?? item);
    items.forEach((item) => this.#unplaced.delete(this.#idOf(item)));
    this.#change(() => this.#addUnknown(newest));
    this.#tell();
  }

  refresh(): void {
    if (this.#readers.size === 0) return;
    this.#stopWaiting();
    const waited = this.#willRead?.gap;
    this.#willRead = undefined;
    const isFollowed = this.#live === 'live' || this.#live === 'interrupted';
    if (this.#stop && isFollowed) this.#readSoon(waited);
    else this.#start(undefined);
  }

  async write(item: Item, send: (idempotencyKey: string) => Promise<Item>): Promise<Item> {
    if (this.#sending.size >= SENDING_MAX) throw new TooManyWrites(`${SENDING_MAX} items are being written`);
    const key = newKey();
    const sending: Sending<Item> = { item, arrivedId: undefined };
    this.#sending.set(key, sending);
    this.#tell();
    try {
      const written = await this.#send(key, send);
      this.#sending.delete(key);
      this.#settle(sending, this.#idOf(written));
      // What came by the subscription may be newer.
      this.#change(() => {
        const id = this.#idOf(written);
        if (!this.#knows(id) && !this.#removed.has(id)) this.#place(this.#unplaced.get(id) ?? written);
      });
      return written;
    } finally {
      this.#sending.delete(key);
      this.#tell();
    }
  }

  /** Of writes that look alike, the answer says which one it was. */
  #settle({ arrivedId }: Sending<Item>, id: string): void {
    const others = [...this.#sending.values()];
    const other = others.find((sending) => sending.arrivedId === id);
    if (other) other.arrivedId = undefined;
    if (arrivedId === undefined || arrivedId === id) return;
    const arrived = this.#items.find((item) => this.#idOf(item) === arrivedId);
    if (arrived) this.#match(arrived);
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
    this.#change(() => this.#apply(change), this.#isRead);
    if (this.#isRead) this.#tell();
  }

  /** Makes a change, and once more after the reading that is on its way. */
  #change(make: () => void, isNow = true): void {
    if (this.#changes && this.#changes.length <= CHANGES_MAX) this.#changes.push(make);
    if (isNow) make();
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
    const changes: (() => void)[] = [];
    this.#changes = changes;
    try {
      const { items, cursor } = await this.#options.read();
      if (reading !== this.#reading) return;
      this.#changes = undefined;
      this.#attempt = 0;
      this.#error = undefined;
      this.#hasFailed = false;
      const before = this.#isRead ? new Set(this.#items.map(this.#idOf)) : undefined;
      this.#isRead = true;
      this.#isStale = false;
      // Events were missed perhaps: what is newer than this list is done again.
      this.#unplaced.clear();
      this.#set(items);
      // What was written may be among the new ones, though its event was missed and its answer is not there yet.
      if (before && this.#sending.size > 0)
        this.#items.filter((item) => !before.has(this.#idOf(item))).forEach((item) => this.#match(item));
      changes.forEach((change) => change());
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
    if ('put' in change) return this.#put(change.put);
    const id = 'remove' in change ? change.remove : this.#idOf(change.replace);
    if ('remove' in change) {
      this.#removed.add(id);
      keepLast(this.#removed, REMOVED_MAX);
      this.#unplaced.delete(id);
      this.#items = this.#items.filter((item) => this.#idOf(item) !== id);
    } else if (this.#knows(id)) this.#put(change.replace);
    else {
      this.#unplaced.delete(id);
      this.#unplaced.set(id, change.replace);
      keepLast(this.#unplaced, UNPLACED_MAX);
    }
  }

  #knows(id: string): boolean {
    return this.#items.some((item) => this.#idOf(item) === id);
  }

  #addUnknown(items: readonly Item[]): void {
    const known = new Set(this.#items.map(this.#idOf));
    const unknown = items.filter((item) => {
      const id = this.#idOf(item);
      return !known.has(id) && !this.#removed.has(id);
    });
    this.#set([...this.#items, ...unknown]);
  }

  #put(item: Item): void {
    const isKnown = this.#knows(this.#idOf(item));
    this.#place(item);
    if (!isKnown) this.#match(item);
  }

  #place(item: Item): void {
    const id = this.#idOf(item);
    this.#removed.delete(id);
    this.#unplaced.delete(id);
    this.#set(
      this.#knows(id)
        ? this.#items.map((known) => (this.#idOf(known) === id ? item : known))
        : [item, ...this.#items],
    );
  }

  /** An item that arrived may be one that is being written. */
  #match(item: Item): void {
    const id = this.#idOf(item);
    const sending = [...this.#sending.values()];
    if (sending.some(({ arrivedId }) => arrivedId === id)) return;
    const isWritten = this.#options.isWritten ?? ((arrived, written) => this.#isLike(arrived, written));
    const own = sending.find((each) => each.arrivedId === undefined && isWritten(item, each.item));
    if (own) own.arrivedId = id;
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
      .filter(({ arrivedId }) => arrivedId === undefined)
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

function keepLast(kept: Set<string> | Map<string, unknown>, most: number): void {
  for (const oldest of kept.keys()) {
    if (kept.size <= most) break;
    kept.delete(oldest);
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
