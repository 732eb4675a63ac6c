// Subscriptions over graphql-ws (the protocol graphql-transport-ws).

import type { Client, Sink as SocketSink } from 'graphql-ws';

import type { Transport } from './resume.js';

/**
 * The client's socket carries subscriptions. The client keeps its own ways of connecting and of trying again; where it
 * gives up, the subscription itself tries again.
 */
export function graphqlWs(client: Pick<Client, 'on' | 'subscribe'>): Transport {
  return (request, sink) => {
    const stopListening = client.on('closed', () => sink.lost());
    // graphql-ws makes JSON of the request each time that it sends it, also after a lost connection.
    const end = client.subscribe(request, sink as SocketSink);
    return () => {
      stopListening();
      end();
    };
  };
}
