// Subscriptions over graphql-ws (the protocol graphql-transport-ws).

import type { Client, Sink as SocketSink } from 'graphql-ws';

import { retryAfterIn, TRY_AGAIN_LATER } from './failure.js';
import type { Transport } from './resume.js';

/** A pong that does not come within this time will not. */
const PONG_WITHIN_MS = 5_000;
/** A try to connect that hangs for so long is given up: a browser by itself would wait for minutes. */
const CONNECTED_WITHIN_MS = 20_000;

/**
 * The client's socket carries subscriptions. The client keeps its own ways of connecting and of trying again; where it
 * gives up, or the server asks to come again later, the subscription itself tries again. With its option `keepAlive`, a network that falls silent is noticed.
 */
export function graphqlWs(client: Pick<Client, 'on' | 'subscribe' | 'terminate'>): Transport {
  endSilence(client);
  obeyWait(client);
  return (request, sink) => {
    const waitMs = (notBefore.get(client) ?? 0) - Date.now();
    // Another subscription's socket was closed: this one would open the next one before its time.
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1_000);
      const reason = `The server is to be tried again later (retry-after: ${seconds})`;
      sink.error({ code: TRY_AGAIN_LATER, reason });
      return () => {};
    }
    // The client knows nothing of the time that the server asks for: it is told that nobody wants the socket meanwhile.
    const stopListening = client.on('closed', (event) =>
      retryAfterIn(event) > 0 ? sink.error(event) : sink.lost(),
    );
    // graphql-ws makes JSON of the request each time that it sends it, also after a lost connection.
    const toJSON = () => {
      const current = request.toJSON();
      sink.open();
      return current;
    };
    try {
      const end = client.subscribe({ ...request, toJSON } as typeof request, sink as SocketSink);
      return () => {
        stopListening();
        end();
      };
    } catch (error) {
      stopListening();
      throw error;
    }
  };
}

/** One client may be the transport of many subscriptions. */
const watched = new WeakSet<object>();

/** When each client may connect again, once a server has asked it to wait. */
const notBefore = new WeakMap<object, number>();

function obeyWait(client: Pick<Client, 'on'>): void {
  if (notBefore.has(client)) return;
  notBefore.set(client, 0);
  client.on('closed', (event) => {
    const seconds = retryAfterIn(event);
    if (seconds > 0) notBefore.set(client, Date.now() + seconds * 1_000);
  });
}

/** graphql-ws connects and sends pings, and leaves it to others to miss what should come then. */
function endSilence(client: Pick<Client, 'on' | 'terminate'>): void {
  if (watched.has(client)) return;
  watched.add(client);
  let expecting: ReturnType<typeof setTimeout> | undefined;
  const heard = () => clearTimeout(expecting);
  const expectWithin = (ms: number) => {
    heard();
    // Not `close`: on a dead network its handshake would not end either.
    expecting = setTimeout(() => client.terminate(), ms);
  };
  client.on('connecting', () => expectWithin(CONNECTED_WITHIN_MS));
  client.on('ping', (isReceived) => {
    if (!isReceived) expectWithin(PONG_WITHIN_MS);
  });
  client.on('message', heard);
  client.on('closed', heard);
}
