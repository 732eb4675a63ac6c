// One subscription that continues where it stopped, over any transport.
//
// It asks for the contract "Resumable GraphQL subscriptions" and works with servers that do not know it: these get the
// cursor in the variable `after`, if the document has one. How it knows that the subscription stands:
//
// - by the server's first frame;
// - or by the first event;
// - or, where neither comes, because it was not refused for a time (a guess).
//
// Each time it stands where events may be missing, the first time too, its reader gets a `gap`: whoever reads the data
// then, and applies the events that follow, has everything.

import {
  cursorIn,
  deliveryOf,
  fieldCursorIn,
  type Frame,
  frameIn,
  type Guarantee,
  isRecord,
  type Result,
  statusIn,
  type SubscriptionRequest,
} from './contract.js';
import {
  BAD_USER_INPUT,
  isEndingCode,
  isFinalCode,
  RESYNC_REQUIRED,
  SUBSCRIPTION_INTERRUPTED,
  SubscriptionFailure,
} from './failure.js';
import { callIn, retryDelay } from './retry.js';
import { type CursorStore, isThenable, StoredCursor } from './stores.js';

/** Carries a subscription; the function that it returns ends it. */
export type Transport = (request: Sendable, sink: Sink) => () => void;

/** A request that changes: `JSON.stringify` gives it as it is to be sent now. */
export interface Sendable extends SubscriptionRequest {
  /** To be called each time that the request is sent, and only then. Where nobody calls it, nothing is resumed. */
  toJSON(): SubscriptionRequest;
}

/** Takes what a transport receives. After `error` or `complete` nothing is taken any more. */
export interface Sink {
  /** The request is sent and the connection is open: from now on the server could refuse. */
  open(): void;
  /** `id` is the event's id where the transport has one. */
  next(message: unknown, id?: string): void;
  /** GraphQL errors, or why the transport failed. */
  error(error: unknown): void;
  complete(): void;
  /** The connection is lost; the transport opens another one, and sends the request again. */
  lost(): void;
}

/**
 * `live`: changes arrive as they happen. `interrupted`: they do not reach the server now; what happens meanwhile follows.
 * `waiting`: a time passes before the next try. `ended` is the last one.
 */
export type State = 'connecting' | 'live' | 'interrupted' | 'waiting' | 'ended';

/** Events from before this moment may be missing: read the data now. Those from now on come. */
export interface Gap {
  /** Nothing was read before. */
  isFirst: boolean;
  /** The server does not say when a subscription stands: it was not refused for a time. */
  isGuess: boolean;
  /** The subscription could begin after a cursor that was read with the data, by its variable. */
  takesCursor: boolean;
}

/** What a reader is told. Exceptions in it do not end the subscription. */
export interface Listener<Data = unknown> {
  /** An event, each once. The next one waits until this function returns. */
  next(result: Result<Data>): void;
  /**
   * A promise that it returns means "until the data is read": no cursor is stored before that, so that whoever reloads
   * in between reads it. One that fails means that it was not read.
   */
  gap?(gap: Gap): unknown;
  /** `waiting` comes with the reason. */
  state?(state: State, failure?: SubscriptionFailure): void;
  /** The subscription has ended, and no other try would help. */
  error?(failure: SubscriptionFailure): void;
  /** The server has ended the subscription. */
  complete?(): void;
}

export interface Options {
  /** Begin after this cursor. It comes before one in the variables, and that one before a stored one. */
  after?: string | undefined;
  guarantee?: Guarantee | undefined;
  /** The variable of servers that do not know the contract; `after` if nothing else is said. */
  afterVariable?: string | undefined;
  /** Keeps the cursor. */
  store?: CursorStore | undefined;
  /** The cursor's name in the store; if nothing else is said, the request. */
  key?: string | undefined;
  /** A cursor that cannot be used is forgotten, and the reader gets a gap; or the subscription ends with the error. */
  resync?: 'again' | 'end' | undefined;
  /** Whether no other try would help after an error with this code. */
  isFinal?: ((code: string) => boolean) | undefined;
  /** Between two tries, if the server does not ask for more; 10,000 if nothing else is said. */
  longestRetryMs?: number | undefined;
  /** A subscription that was not refused for so long is guessed to stand; 500 if nothing else is said. */
  standsAfterMs?: number | undefined;
}

const STANDS_AFTER_MS = 500;
const LONGEST_RETRY_MS = 10_000;
/** A subscription that stood for so long is no failed try. */
const SETTLED_AFTER_MS = 5_000;
/** Events that are recognised when they come again. */
const RECENT_MAX = 128;
/** An event that fails so often is given up. */
const EVENT_TRIES_MAX = 3;

/** Subscribes until the function that it returns is called. */
export function subscribe<Data = unknown>(
  transport: Transport,
  request: SubscriptionRequest,
  listener: Listener<Data>,
  options: Options = {},
): () => void {
  const subscription = new Subscription(transport, request, listener, options);
  subscription.begin();
  return () => subscription.stop();
}

/** One try. */
interface Held {
  end: () => void;
  /** The cursor that was sent. */
  after: string | undefined;
  /** How it is known to stand. */
  by: 'frame' | 'event' | 'guess' | undefined;
  toldGap: boolean;
  hadFrame: boolean;
  /** The server said that changes do not reach it. */
  isInterrupted: boolean;
  stoodAt: number;
}

class Subscription<Data> {
  readonly #transport: Transport;
  readonly #request: SubscriptionRequest;
  readonly #listener: Listener<Data>;
  readonly #options: Options;
  readonly #afterVariable: string;
  readonly #takesVariable: boolean;
  readonly #stored: StoredCursor | undefined;
  #cursor: string | undefined;
  /** The last events' cursors, and of which try they are. */
  #recent = new Map<string, number>();
  #tries = 0;
  /** The try of now; none while the next one is waited for. */
  #held: Held | undefined;
  #state: State | undefined;
  #attempt = 0;
  /** Ends what is waited for: the store, or the time of the next try. */
  #stopWaiting = () => {};
  #guess: ReturnType<typeof setTimeout> | undefined;
  /** The server has sent a first frame. */
  #knowsContract = false;
  #isFirstGap = true;
  /** The last gap whose data is not read yet: the store has no cursor until then. */
  #unread: object | undefined;
  /** A cursor was refused, and no event has come since. */
  #hasForgotten = false;
  #failing: { cursor: string; count: number } | undefined;
  #isEnded = false;

  constructor(
    transport: Transport,
    request: SubscriptionRequest,
    listener: Listener<Data>,
    options: Options,
  ) {
    this.#transport = transport;
    this.#request = request;
    this.#listener = listener;
    this.#options = options;
    this.#afterVariable = options.afterVariable ?? 'after';
    this.#takesVariable = new RegExp(`\\$${this.#afterVariable}\\b`).test(request.query);
    if (options.store)
      this.#stored = new StoredCursor(options.store, options.key ?? keyOf(request, this.#afterVariable));
  }

  begin(): void {
    const given = cursorIn(this.#options.after ?? this.#request.variables?.[this.#afterVariable]);
    const beginAfter = (cursor: string | undefined) => {
      this.#cursor = cursor;
      if (cursor !== undefined) this.#remember(cursor);
      this.#start();
    };
    this.#enter('connecting');
    if (this.#isEnded) return;
    if (given !== undefined || !this.#stored) return beginAfter(given);
    let isRead = false;
    const stopReading = this.#stored.read((cursor) => {
      isRead = true;
      beginAfter(cursor);
    });
    if (!isRead) this.#stopWaiting = stopReading;
  }

  stop(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stopWaiting();
    this.#release();
    report(() => this.#listener.state?.('ended'));
  }

  #start(): void {
    if (this.#isEnded) return;
    const held: Held = {
      end: () => {},
      after: undefined,
      by: undefined,
      toldGap: false,
      hadFrame: false,
      isInterrupted: false,
      stoodAt: 0,
    };
    this.#held = held;
    this.#enter('connecting');
    const ifHeld = (run: () => void) => {
      if (this.#held === held) run();
    };
    const sink: Sink = {
      open: () => ifHeld(() => this.#open(held)),
      next: (message, id) => ifHeld(() => this.#take(held, message, id)),
      error: (error) => ifHeld(() => this.#refused(new SubscriptionFailure(error))),
      complete: () => ifHeld(() => this.#end(() => this.#listener.complete?.())),
      lost: () => ifHeld(() => this.#lost(held)),
    };
    const { query, operationName, variables, extensions } = this.#request;
    const toJSON = () => {
      ifHeld(() => this.#sent(held));
      return this.#current();
    };
    if (this.#held !== held) return;
    try {
      const end = this.#transport({ query, operationName, variables, extensions, toJSON }, sink);
      // It may have ended already.
      if (this.#held === held) held.end = end;
      else end();
    } catch (error) {
      sink.error(error);
    }
  }

  /** The request as it is to be sent now. */
  #current(): SubscriptionRequest {
    const { query, operationName, variables, extensions } = this.#request;
    // Without a cursor the variable is left out, whatever the reader gave: it may have been forgotten.
    const after = this.#takesVariable ? { [this.#afterVariable]: this.#cursor } : {};
    const delivery = deliveryOf(this.#options.guarantee ?? 'AT_LEAST_ONCE', this.#cursor);
    return {
      query,
      ...(operationName != null && { operationName }),
      variables: { ...variables, ...after },
      extensions: { ...extensions, delivery },
    };
  }

  #sent(held: Held): void {
    this.#tries++;
    held.after = this.#cursor;
    held.by = undefined;
    held.toldGap = held.hadFrame = held.isInterrupted = false;
    clearTimeout(this.#guess);
  }

  #open(held: Held): void {
    if (held.by) return;
    clearTimeout(this.#guess);
    const { standsAfterMs } = this.#options;
    this.#guess = setTimeout(() => this.#stands(held, 'guess'), standsAfterMs ?? STANDS_AFTER_MS);
  }

  #lost(held: Held): void {
    held.by = undefined;
    clearTimeout(this.#guess);
    this.#enter('connecting');
  }

  #take(held: Held, message: unknown, id: string | undefined): void {
    if (!isRecord(message))
      return this.#refused(new SubscriptionFailure('The server sent no GraphQL response.'));
    const result = message as Result<Data>;
    const { data, extensions } = result;
    const isRefusal = data == null && Array.isArray(result.errors) && result.errors.length > 0;
    if (isRefusal)
      return this.#takeErrors(held, new SubscriptionFailure(result.errors), this.#cursorOfEvent(extensions));
    if (data == null && isRecord(extensions?.delivery)) {
      const [frame, status] = [frameIn(extensions.delivery), statusIn(extensions.delivery)];
      if (status) held.isInterrupted = status === 'INTERRUPTED';
      if (frame) this.#takeFrame(held, frame, cursorIn(extensions.cursor));
      return status && this.#takeStatus(held);
    }
    this.#stands(held, 'event');
    if (this.#held !== held || data == null) return;
    const ofField = this.#takesVariable ? fieldCursorIn(data) : undefined;
    const ofContract = this.#cursorOfEvent(extensions);
    const cursor = ofContract ?? ofField;
    const heardIn = cursor === undefined ? undefined : this.#recent.get(cursor);
    // Where the cursor is the data's own, several events may have it: only a resumption brings one again.
    if (heardIn !== undefined && (ofContract !== undefined || heardIn !== this.#tries)) return;
    this.#hasForgotten = false;
    this.#failing = undefined;
    this.#tell(() => this.#listener.next(result));
    if (cursor !== undefined) this.#remember(cursor);
    const position = cursor ?? cursorIn(id);
    if (position !== undefined) this.#moveTo(position);
  }

  /** Servers that do not know the contract may have something else of this name. */
  #cursorOfEvent(extensions: unknown): string | undefined {
    const isPosition = this.#knowsContract || this.#takesVariable;
    return isPosition && isRecord(extensions) ? cursorIn(extensions.cursor) : undefined;
  }

  #takeFrame(held: Held, frame: Frame, cursor: string | undefined): void {
    this.#knowsContract = true;
    if (held.hadFrame) return;
    held.hadFrame = true;
    // It is late: events have come, and they have later cursors.
    if (held.by === 'event') return;
    const isResumed = held.after !== undefined && frame.kept === 'AT_LEAST_ONCE';
    this.#stands(held, 'frame', isResumed);
    // Not before the gap is told: its data may have to be read first.
    if (this.#held === held && !isResumed && cursor !== undefined) this.#moveTo(cursor);
  }

  #takeStatus(held: Held): void {
    if (this.#held !== held) return;
    clearTimeout(this.#guess);
    if (held.by || held.isInterrupted) this.#enter(held.isInterrupted ? 'interrupted' : 'live');
    else {
      // The first frame is still to come, or to be guessed.
      this.#enter('connecting');
      if (this.#held === held) this.#open(held);
    }
  }

  /** Errors without data: an event failed, or some are missing, or the subscription has ended. */
  #takeErrors(held: Held, failure: SubscriptionFailure, cursor: string | undefined): void {
    if (failure.hasCode(SUBSCRIPTION_INTERRUPTED)) {
      this.#recent.clear();
      return this.#stands(held, 'event', false);
    }
    // Without a cursor, there is no event.
    if (cursor === undefined || isEndingCode(failure.code)) return this.#refused(failure);
    if (this.#recent.has(cursor)) return;
    const count = this.#failing?.cursor === cursor ? this.#failing.count + 1 : 1;
    this.#failing = { cursor, count };
    if (count < EVENT_TRIES_MAX && !this.#isFinal(failure.code)) return this.#retry(failure);
    this.#failing = undefined;
    this.#remember(cursor);
    this.#moveTo(cursor);
    this.#stands(held, 'event', false);
  }

  /** The subscription stands. Where it is not said, it is resumed if it was sent a cursor that the server follows. */
  #stands(held: Held, by: 'frame' | 'event' | 'guess', isResumed?: boolean): void {
    clearTimeout(this.#guess);
    const isInterrupted = by === 'event' && isResumed === false;
    if (this.#held !== held) return;
    if (held.by === 'event' || held.by === 'frame') {
      if (isInterrupted) this.#gap(held, false);
      return;
    }
    held.by = by;
    held.stoodAt = Date.now();
    this.#enter(held.isInterrupted ? 'interrupted' : 'live');
    if (this.#held !== held) return;
    // Its first frame will tell; until then it is believed.
    const isExpected = by === 'guess' && this.#knowsContract;
    isResumed ??= held.after !== undefined && (this.#takesVariable || isExpected);
    if (isResumed || (held.toldGap && by === 'event' && !isInterrupted)) return;
    // A server that began elsewhere may use a cursor once more.
    if (!isInterrupted) this.#recent.clear();
    this.#gap(held, by === 'guess');
  }

  #gap(held: Held, isGuess: boolean): void {
    const isFirst = this.#isFirstGap;
    this.#isFirstGap = false;
    held.toldGap = true;
    this.#tell(() => {
      const reading = this.#listener.gap?.({ isFirst, isGuess, takesCursor: this.#takesVariable });
      if (isThenable(reading)) this.#storeAfter(reading);
    });
  }

  #storeAfter(reading: PromiseLike<unknown>): void {
    const unread = {};
    this.#unread = unread;
    this.#stored?.write(undefined);
    const isRead = () => {
      if (this.#unread !== unread) return;
      this.#unread = undefined;
      if (!this.#isEnded && this.#cursor !== undefined) this.#stored?.write(this.#cursor);
    };
    reading.then(isRead, (error: unknown) =>
      report(() => {
        throw error;
      }),
    );
  }

  /** The subscription has failed. */
  #refused(failure: SubscriptionFailure): void {
    const held = this.#held;
    const isCursors =
      failure.hasCode(RESYNC_REQUIRED) ||
      (failure.code === BAD_USER_INPUT && held?.after !== undefined && !this.#hasForgotten);
    if (isCursors) {
      this.#hasForgotten = true;
      this.#cursor = undefined;
      this.#recent.clear();
      this.#stored?.write(undefined);
    }
    const isEnd = isCursors ? this.#options.resync === 'end' : this.#isFinal(failure.code);
    if (isEnd) return this.#end(() => this.#listener.error?.(failure));
    if (!isCursors && failure.cursor !== undefined) this.#moveTo(failure.cursor);
    this.#retry(failure);
  }

  #retry(failure: SubscriptionFailure): void {
    const held = this.#held;
    if (held?.by && Date.now() - held.stoodAt > SETTLED_AFTER_MS) this.#attempt = 0;
    this.#release();
    const { waitMs } = failure;
    const delay = retryDelay(this.#attempt++, this.#options.longestRetryMs ?? LONGEST_RETRY_MS, waitMs);
    this.#stopWaiting = callIn(delay, waitMs === 0, () => this.#start());
    this.#enter('waiting', failure);
  }

  #end(tell: () => void): void {
    this.stop();
    report(tell);
  }

  #release(): void {
    const held = this.#held;
    this.#held = undefined;
    clearTimeout(this.#guess);
    if (held) report(held.end);
  }

  #isFinal(code: string): boolean {
    return (this.#options.isFinal ?? isFinalCode)(code);
  }

  #remember(cursor: string): void {
    this.#recent.set(cursor, this.#tries);
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= RECENT_MAX) break;
      this.#recent.delete(oldest);
    }
  }

  #moveTo(cursor: string): void {
    if (cursor === this.#cursor) return;
    this.#cursor = cursor;
    if (!this.#unread) this.#stored?.write(cursor);
  }

  #enter(state: State, failure?: SubscriptionFailure): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#tell(() => this.#listener.state?.(state, failure));
  }

  #tell(call: () => void): void {
    if (!this.#isEnded) report(call);
  }
}

/** Runs what is not ours: its exceptions are nobody's here. */
export function report(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** The request without its position. */
function keyOf({ query, operationName, variables }: SubscriptionRequest, afterVariable: string): string {
  return JSON.stringify([operationName ?? null, query, { ...variables, [afterVariable]: undefined }]);
}
