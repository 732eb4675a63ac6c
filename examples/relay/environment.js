// Relay's network: queries and mutations over fetch, subscriptions over graphql-ws.

import { createClient } from 'graphql-ws';
import { Environment, Network, Observable, RecordSource, Store } from 'relay-runtime';

const socket = createClient({ url: '/graphql', shouldRetry: () => true, retryAttempts: Infinity });

async function fetchQuery({ text }, variables) {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: text, variables }),
  });
  return response.json();
}

const subscribe = ({ text }, variables) =>
  Observable.create((sink) => socket.subscribe({ query: text, variables }, sink));

export const environment = new Environment({
  network: Network.create(fetchQuery, subscribe),
  store: new Store(new RecordSource()),
});
