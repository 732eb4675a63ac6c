// The way to one gateway: requests by HTTP, and one WebSocket for all embeds of the page.
//
// A page has one reader: whichever embed is handed a token, all embeds of the same gateway use it, until the last of
// them is gone.

import { type Client, createClient } from 'graphql-ws';

import { type GraphqlError, GraphqlFailure, HttpFailure, TokenRefused } from './failure';

/** A JSON Web Token, or a function that is called for one that has not ended. Nothing is a guest. */
export type TokenSource = string | null | undefined | (() => Token | Promise<Token>);
type Token = string | null | undefined;

/** `live`: the socket is open. `waiting`: it was lost, and is opened again. */
export type SocketState = 'connecting' | 'live' | 'waiting' | 'offline';

export interface Variables {
  [name: string]: unknown;
}

const ANSWERED_WITHIN_MS = 15_000;
/** A ping after this silence finds a dead network that told nobody. */
const PING_MS = 10_000;
const PONG_WITHIN_MS = 5_000;
const CONNECTED_WITHIN_MS = 10_000;
/** Tries of a request with newer tokens, after the first. */
const ATTEMPTS_MAX = 2;
const LONGEST_RETRY_MS = 10_000;
const LONGEST_WAIT_MS = 60 * 60 * 1_000;
/** A page that removes an embed and adds another one keeps its socket. */
const UNUSED_MS = 2_000;
/** A function is asked so often for a token: its tokens have to live a little longer. */
const RENEW_MS = 60_000;
/** The close code of a gateway that does not accept the token. */
const FORBIDDEN = 4403;

const connections = new Map<string, Connection>();

/** The connection to a gateway, by the address of its folder: `https://comments.example/`. */
export function connectionTo(server: string): Connection {
  const known = connections.get(server) ?? new Connection(server);
  connections.set(server, known);
  return known;
}

export class Connection {
  readonly socket: Client;
  state: SocketState = navigator.onLine ? 'connecting' : 'offline';
  /** The token of now was refused: until there is another one, the reader is a guest. */
  isRefused = false;
  #refused: string | undefined;
  /** Whom the last token was of; nothing is a guest. */
  #reader: unknown;
  #isKnown = false;
  #listeners = new Set<(change: 'state' | 'person') => void>();
  #source: TokenSource;
  /** The token that the socket took. */
  #taken: string | undefined;
  #open: WebSocket | undefined;
  #isReplaced = false;
  #renewal: ReturnType<typeof setInterval> | undefined;

  constructor(readonly server: string) {
    // Runs while something is expected from the other side: the handshake, or a pong.
    let expecting: ReturnType<typeof setTimeout> | undefined;
    const expectWithin = (ms: number) => {
      clearTimeout(expecting);
      // Not `close`: on a dead network its handshake would not end either.
      expecting = setTimeout(() => this.socket.terminate(), ms);
    };
    this.socket = createClient({
      url: this.#graphql().replace(/^http/, 'ws'),
      connectionParams: async () => {
        this.#taken = await this.#token();
        return this.#taken === undefined ? {} : { authorization: `Bearer ${this.#taken}` };
      },
      keepAlive: PING_MS,
      lazyCloseTimeout: UNUSED_MS,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: async (attempt) => {
        if (this.#isReplaced) this.#isReplaced = false;
        else await untilOnline(retryDelay(attempt));
      },
      on: {
        connecting: () => expectWithin(CONNECTED_WITHIN_MS),
        connected: (opened) => {
          clearTimeout(expecting);
          this.#open = opened as WebSocket;
          this.#renewal ??= setInterval(() => void this.#renew(), RENEW_MS);
          this.#enter('live');
          // The token may have changed while it opened.
          void this.#renew();
        },
        closed: (event) => {
          clearTimeout(expecting);
          clearInterval(this.#renewal);
          this.#renewal = this.#open = undefined;
          const { code, wasClean } = event as CloseEvent;
          if (code === FORBIDDEN) this.#refused = this.#taken;
          // Nobody needs it any more: that is no loss.
          const isIdle = wasClean && code === 1000;
          this.#enter(!navigator.onLine ? 'offline' : this.#isReplaced || isIdle ? 'connecting' : 'waiting');
        },
        ping: (received) => {
          if (!received) expectWithin(PONG_WITHIN_MS);
        },
        pong: (received) => {
          if (received) clearTimeout(expecting);
        },
      },
    });
    // A browser keeps a WebSocket through the loss of its network.
    addEventListener('offline', () => {
      this.#enter('offline');
      this.socket.terminate();
    });
    addEventListener('online', () => {
      if (this.state === 'offline') this.#enter('waiting');
    });
  }

  /** Calls `listener` at each change, until the function that it returns is called. */
  onChange(listener: (change: 'state' | 'person') => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether a token, a function for one, or null was handed over. */
  get hasSource(): boolean {
    return this.#source !== undefined;
  }

  /** Nobody is here any more. Who comes next on this page may be somebody else: the token and its socket end. */
  forget(): void {
    this.#source = this.#reader = undefined;
    this.#isKnown = this.isRefused = false;
    void this.#renew();
  }

  /** From now on the reader has this token. */
  setToken(source: TokenSource): void {
    if (this.#source === source) return;
    this.#source = source;
    void this.#renew();
  }

  /**
   * Sends a query or mutation. What one reader has begun, by their id, is never sent as another, nor as a guest.
   *
   * Throws `GraphqlFailure`, `HttpFailure`, `TokenRefused`, or what `fetch` throws.
   */
  async ask<Data>(query: string, variables: Variables, reader?: string): Promise<Data> {
    for (let attempt = 0; ; attempt++) {
      const token = await this.#token();
      if (reader !== undefined && (token === undefined || (subjectOf(token) ?? reader) !== reader))
        throw new TokenRefused();
      const response = await fetch(this.#graphql(), {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/graphql-response+json, application/json',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ query, variables }),
        // Cookies are another identity, and need settings of their own.
        credentials: 'omit',
        signal: AbortSignal.timeout(ANSWERED_WITHIN_MS),
      });
      if (response.status !== 401 || token === undefined || attempt >= ATTEMPTS_MAX)
        return dataOf<Data>(response);
      // Nothing was executed. A function may have a newer token; else the reader is a guest.
      this.#refused = token;
    }
  }

  #graphql(): string {
    return new URL('graphql', this.server).href;
  }

  /** A token that was not refused, if there is one. */
  async #token(): Promise<string | undefined> {
    const source = this.#source;
    // A function that fails has no token for now.
    const token = typeof source === 'function' ? await Promise.resolve().then(source).catch(warn) : source;
    // It may have been set meanwhile.
    if (source !== this.#source) return this.#token();
    const isRefused = !!token && token === this.#refused;
    const usable = isRefused || !token ? undefined : token;
    // A page may make a new function at each rendering, and each may give a new token: that alone is no other reader.
    const reader = usable && (subjectOf(usable) ?? usable);
    const isOther = this.#isKnown && (reader !== this.#reader || isRefused !== this.isRefused);
    [this.#isKnown, this.#reader, this.isRefused] = [true, reader, isRefused];
    if (isOther) this.#tell('person');
    return usable;
  }

  /** Hands the socket the token of now: of the same reader by a ping, of another one by another socket. */
  async #renew(): Promise<void> {
    const token = await this.#token();
    const open = this.#open;
    if (token === this.#taken || open?.readyState !== WebSocket.OPEN) return;
    if (isSameSubject(token, this.#taken)) {
      this.#taken = token;
      open.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${token}` } }));
      return;
    }
    this.#isReplaced = true;
    // Its subscriptions go on after their cursors.
    this.socket.terminate();
  }

  #enter(state: SocketState): void {
    if (this.state === state) return;
    this.state = state;
    this.#tell('state');
  }

  #tell(change: 'state' | 'person'): void {
    [...this.#listeners].forEach((listener) => listener(change));
  }
}

async function dataOf<Data>(response: Response): Promise<Data> {
  let answer: { data?: Data | null; errors?: GraphqlError[] } = {};
  try {
    answer = (await response.json()) as typeof answer;
  } catch (error) {
    // A proxy's page. But a time that is over stays one.
    if (error instanceof DOMException) throw error;
  }
  if (answer.errors?.length) throw new GraphqlFailure(answer.errors);
  if (answer.data) return answer.data;
  const seconds = Number(response.headers.get('retry-after') ?? 0);
  throw new HttpFailure(response.status, Number.isFinite(seconds) ? seconds * 1_000 : 0);
}

/** Who a token is of; nothing where it cannot be read, which is nobody else's business. */
function subjectOf(token: string): unknown {
  try {
    const payload = token.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/') ?? '';
    return (JSON.parse(atob(payload)) as { sub?: unknown }).sub;
  } catch {
    return undefined;
  }
}

function isSameSubject(one: Token, other: Token): boolean {
  if (!one || !other) return !one && !other;
  const subject = subjectOf(one);
  return subject !== undefined && subject === subjectOf(other);
}

/** Doubles from half a second to ten, with jitter, so that readers do not return all at once. */
export function retryDelay(attempt: number, atLeastMs = 0): number {
  const delay = Math.min(LONGEST_RETRY_MS, 500 * 2 ** Math.min(attempt, 10)) * (0.75 + Math.random() / 2);
  return Math.max(delay, Math.min(atLeastMs, LONGEST_WAIT_MS));
}

/** Waits, but no longer than until the browser is online again. */
function untilOnline(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
  });
}

function warn(error: unknown): undefined {
  console.warn('rejoinder: the function for a token failed', error);
}
