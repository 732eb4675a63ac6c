// The page's one WebSocket, and what a person may know about its state.

import { type Client, createClient } from 'graphql-ws';

import { currentSession, noteRefusal, onSession, PersonChanged, sessionToken } from '../../signIn/session';
import { isSamePerson, type Session } from '../../signIn/stored';

/** `live`: changes arrive as they happen. `waiting`: they do not; missed ones will be fetched. */
export type ConnectionState = 'connecting' | 'live' | 'waiting' | 'offline';

/** A ping after this silence finds a dead network that told nobody. */
const PING_MS = 8_000;
const PONG_WITHIN_MS = 4_000;
/** A try that hangs for so long is given up: a browser by itself would wait for minutes. */
const CONNECTED_WITHIN_MS = 8_000;
export const LONGEST_RETRY_MS = 5_000;
/** Longer than any wait for another try, so that the socket stands while subscriptions change hands. */
const UNUSED_MS = 10_000;
/** The close code of a server that does not accept the token. */
const FORBIDDEN = 4403;

export class Connection {
  readonly socket: Client;
  #socketState: ConnectionState = 'connecting';
  /** Subscriptions that are interrupted or wait for their next try, and readings of what was missed that failed. */
  #interrupted = new Set<object>();
  #listeners = new Set<() => void>();
  #opened = new Set<() => void>();
  /** The socket that stands. */
  #open: WebSocket | undefined;
  /** Whose token the socket took, or takes while it opens. */
  #person: Session | undefined;
  #token: string | undefined;
  /** The socket was closed to open another one at once. */
  #isReplaced = false;

  constructor(url: string) {
    // Runs while something is expected from the other side: the handshake, or a pong.
    let expecting: ReturnType<typeof setTimeout> | undefined;
    // Not `close`: on a dead network its handshake would not end either.
    const drop = () => this.socket.terminate();
    const expectWithin = (ms: number) => {
      clearTimeout(expecting);
      expecting = setTimeout(drop, ms);
    };

    this.socket = createClient({
      url,
      // Asked for each connection, so that each has a token that has not ended.
      connectionParams: async () => {
        const token = await this.#tokenOfNow();
        return token === undefined ? {} : { authorization: `Bearer ${token}` };
      },
      keepAlive: PING_MS,
      lazyCloseTimeout: UNUSED_MS,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: async (attempt) => {
        if (this.#isReplaced) this.#isReplaced = false;
        else await pause(retryDelay(attempt));
      },
      on: {
        connecting: () => expectWithin(CONNECTED_WITHIN_MS),
        connected: (opened) => {
          clearTimeout(expecting);
          this.#open = opened as WebSocket;
          // Somebody else may have signed in while it opened.
          if (!isSamePerson(this.#person, currentSession())) return this.#replace();
          this.#enter('live');
          this.#opened.forEach((listener) => listener());
        },
        closed: (event) => {
          clearTimeout(expecting);
          this.#open = undefined;
          if ((event as CloseEvent).code === FORBIDDEN) noteRefusal(this.#token);
          const state = this.#isReplaced ? 'connecting' : 'waiting';
          this.#enter(navigator.onLine ? state : 'offline');
        },
        ping: (received) => {
          if (!received) expectWithin(PONG_WITHIN_MS);
        },
        pong: (received) => {
          if (received) clearTimeout(expecting);
        },
      },
    });

    onSession((change) => {
      // Another person needs another socket; its subscriptions go on after their cursors.
      if (change === 'person') this.#replace();
      else this.#renew();
    });
    // A browser keeps a WebSocket through the loss of its network; waiting for the ping's time-out
    // would tell the person late.
    addEventListener('offline', () => {
      this.#enter('offline');
      drop();
    });
    addEventListener('online', () => {
      if (this.#socketState === 'offline') this.#enter('waiting');
    });
  }

  /** Whether the socket stands, whatever becomes of the single subscriptions. */
  get isOpen(): boolean {
    return this.#socketState === 'live';
  }

  get state(): ConnectionState {
    return this.#socketState === 'live' && this.#interrupted.size > 0 ? 'waiting' : this.#socketState;
  }

  /** Calls `listener` when the state changes, until the returned function is called. */
  listen(listener: () => void): () => void {
    return addTo(this.#listeners, listener);
  }

  /** Calls `listener` each time the socket has opened, just before subscriptions are sent over it. */
  onOpen(listener: () => void): () => void {
    return addTo(this.#opened, listener);
  }

  /** Something is not up to date though the socket stands, or it is again. */
  markInterrupted(what: object, interrupted: boolean): void {
    if (interrupted === this.#interrupted.has(what)) return;
    if (interrupted) this.#interrupted.add(what);
    else this.#interrupted.delete(what);
    this.#listeners.forEach((listener) => listener());
  }

  #replace(): void {
    if (!this.#open) return;
    this.#isReplaced = true;
    this.socket.terminate();
  }

  /** For whoever is signed in once there is a token. */
  async #tokenOfNow(): Promise<string | undefined> {
    for (;;) {
      this.#person = currentSession();
      this.#token = undefined;
      try {
        return (this.#token = await sessionToken(this.#person));
      } catch (error) {
        if (!(error instanceof PersonChanged)) throw error;
      }
    }
  }

  /** A new token of the same person: the subscriptions go on. */
  #renew(): void {
    const payload = { authorization: `Bearer ${currentSession()?.token ?? ''}` };
    if (!isSamePerson(this.#person, currentSession())) return;
    if (this.#open?.readyState === WebSocket.OPEN) this.#open.send(JSON.stringify({ type: 'ping', payload }));
  }

  #enter(state: ConnectionState): void {
    this.#socketState = state;
    this.#listeners.forEach((listener) => listener());
  }
}

/** Doubles from half a second to five, with jitter, so that clients do not return all at once. */
export function retryDelay(attempt: number): number {
  return Math.min(LONGEST_RETRY_MS, 500 * 2 ** attempt) * (0.75 + Math.random() / 2);
}

/** Waits, but no longer than until the browser is online again. */
function pause(ms: number): Promise<void> {
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

function addTo(listeners: Set<() => void>, listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
