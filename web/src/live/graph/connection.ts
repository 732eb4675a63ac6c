// The page's one WebSocket, and what a person may know about its state.

import { type Client, createClient } from 'graphql-ws';

/** `live`: changes arrive as they happen. `waiting`: they do not; missed ones will be fetched. */
export type ConnectionState = 'connecting' | 'live' | 'waiting' | 'offline';

/** A ping after this silence finds a dead network that told nobody. */
const PING_MS = 8_000;
const PONG_WITHIN_MS = 4_000;
const ACK_WITHIN_MS = 8_000;
const LONGEST_RETRY_MS = 5_000;

export class Connection {
  readonly socket: Client;
  #socketState: ConnectionState = 'connecting';
  /** Subscriptions that the server ended with an error and that wait for their next try. */
  #interrupted = new Set<object>();
  #listeners = new Set<() => void>();
  #reconnected = new Set<() => void>();

  constructor(url: string) {
    let pongMissing: ReturnType<typeof setTimeout> | undefined;
    // Not `close`: on a dead network its handshake would not end either.
    const drop = () => this.socket.terminate();

    this.socket = createClient({
      url,
      keepAlive: PING_MS,
      connectionAckWaitTimeout: ACK_WITHIN_MS,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: (attempt) => pause(retryDelay(attempt)),
      on: {
        connected: (_socket, _payload, wasRetry) => {
          this.#enter('live');
          if (wasRetry) this.#reconnected.forEach((listener) => listener());
        },
        closed: () => {
          clearTimeout(pongMissing);
          this.#enter(navigator.onLine ? 'waiting' : 'offline');
        },
        ping: (received) => {
          if (!received) pongMissing = setTimeout(drop, PONG_WITHIN_MS);
        },
        pong: (received) => {
          if (received) clearTimeout(pongMissing);
        },
      },
    });

    // A browser keeps a WebSocket through the loss of its network; waiting for the ping's time-out
    // would tell the person late.
    addEventListener('offline', () => {
      this.#enter('offline');
      drop();
    });
  }

  get state(): ConnectionState {
    return this.#socketState === 'live' && this.#interrupted.size > 0 ? 'waiting' : this.#socketState;
  }

  /** Calls `listener` when the state changes, until the returned function is called. */
  listen(listener: () => void): () => void {
    return addTo(this.#listeners, listener);
  }

  /** Calls `listener` after the socket was lost and is there again. */
  onReconnect(listener: () => void): () => void {
    return addTo(this.#reconnected, listener);
  }

  /** One subscription lost its source though the socket stands, or has it again. */
  markInterrupted(subscription: object, interrupted: boolean): void {
    if (interrupted) this.#interrupted.add(subscription);
    else this.#interrupted.delete(subscription);
    this.#listeners.forEach((listener) => listener());
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
