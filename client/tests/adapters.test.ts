// Apollo Client and urql, against servers that keep the contract and servers that do not know it.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { ApolloClient, CombinedGraphQLErrors, gql, InMemoryCache } from '@apollo/client';
import { Client } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { resumingLink } from '../src/apollo.js';
import { graphqlWs } from '../src/graphqlWs.js';
import type { Gap, State, Transport } from '../src/index.js';
import { fetchEvents } from '../src/sse.js';
import { resumingExchange } from '../src/urql.js';
import { until } from './support/reader.js';
import { event, FakeServer, frame, Log, status } from './support/server.js';

const QUERY = gql`
  subscription Ticks($after: String) {
    ticks(after: $after) {
      number
    }
  }
`;
const FAST = { longestRetryMs: 10, standsAfterMs: 60_000 };

let server: FakeServer;
let stops: (() => unknown)[];

beforeEach(async () => {
  server = await FakeServer.start();
  stops = [];
});

afterEach(async () => {
  for (const stop of stops) await stop();
  await server.stop();
});

/** The numbers of events, `gap`, or a code. */
type Heard = (number | string)[];

/** What both clients' readers get, in one form. */
function heardIn(heard: Heard, data: unknown, codes: unknown[]): void {
  heard.push(...codes.map((code) => (code === 'SUBSCRIPTION_INTERRUPTED' ? 'gap' : String(code))));
  const number = (data as { ticks?: { number: number } } | null | undefined)?.ticks?.number;
  if (number !== undefined) heard.push(number);
}

interface Options {
  onGap?: (gap: Gap) => void;
  onState?: (state: State) => void;
}

const clients: Record<string, (transport: Transport, heard: Heard, options?: Options) => () => void> = {
  'Apollo Client': (transport, heard, options) => {
    const client = new ApolloClient({
      link: resumingLink(transport, FAST),
      cache: new InMemoryCache(),
    });
    stops.push(() => client.stop());
    const context = { resume: options };
    const subscription = client.subscribe({ query: QUERY, context }).subscribe({
      next: ({ data, error }) => {
        if (error) assert.ok(CombinedGraphQLErrors.is(error));
        heardIn(heard, data, error ? error.errors.map(({ extensions }) => extensions?.code) : []);
      },
      complete: () => heard.push('complete'),
    });
    return () => subscription.unsubscribe();
  },
  urql: (transport, heard, options) => {
    const client = new Client({
      url: server.url,
      preferGetMethod: false,
      exchanges: [resumingExchange(transport, () => FAST)],
    });
    const { unsubscribe } = client
      .subscription(QUERY, {}, { resume: options })
      .subscribe(({ data, error, hasNext }) => {
        heardIn(heard, data, error ? error.graphQLErrors.map(({ extensions }) => extensions.code) : []);
        if (!hasNext) heard.push('complete');
      });
    return unsubscribe;
  },
};

const overSocket = () => {
  const client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket });
  stops.push(() => void client.dispose());
  return graphqlWs(client);
};

for (const [name, follow] of Object.entries(clients)) {
  test(`${name}: cuts lose and double nothing`, async () => {
    for (const make of [overSocket, () => fetchEvents(server.url)]) {
      const log = new Log();
      server.answer = log.answer;
      const heard: Heard = [];
      const states: State[] = [];
      const gaps: Gap[] = [];
      const stop = follow(make(), heard, {
        onState: (state) => states.push(state),
        onGap: (gap) => gaps.push(gap),
      });
      await until('it stands', () => gaps[0]);
      for (let number = 1; number <= 10; number++) {
        log.tick();
        if (number % 4 === 0) server.cut();
      }
      await until('all came', () => heard.includes(10));
      assert.deepEqual(heard, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      const last = server.subscriptions.at(-1);
      stop();
      await until('the server knows', () => last?.isOver);
      assert.equal(states.at(-1), 'ended');
    }
  });

  test(`${name}: an interruption is a state, and no result`, async () => {
    server.answer = (served) => {
      for (const message of [frame('c0'), status('INTERRUPTED'), status('LIVE'), event(1)])
        served.next(message);
    };
    const [heard, states]: [Heard, State[]] = [[], []];
    const stop = follow(overSocket(), heard, { onState: (state) => states.push(state) });
    await until('the event came', () => heard.includes(1));
    assert.deepEqual(heard, [1]);
    assert.deepEqual(states, ['connecting', 'live', 'interrupted', 'live']);
    stop();
  });

  test(`${name}: gaps come as errors, the first one excepted, and no event comes twice with them`, async () => {
    server.answer = (served) => {
      const number = server.subscriptions.length;
      served.next(frame(undefined, 'BEST_EFFORT'));
      served.next(event(number));
      if (number === 1)
        served.next({
          data: null,
          errors: [{ message: '', extensions: { code: 'SUBSCRIPTION_INTERRUPTED' } }],
        });
      served.next(event(10 + number));
      if (number === 1) served.fail({ message: '', extensions: { code: 'SUBSCRIPTION_LAGGED' } });
    };
    const heard: Heard = [];
    stops.push(follow(fetchEvents(server.url), heard));
    await until('it goes on', () => heard.includes(12));
    assert.deepEqual(heard, [1, 'gap', 11, 'gap', 2, 12]);
  });

  test(`${name}: what no try cures comes as GraphQL errors, and ends it`, async () => {
    server.answer = (served) => served.fail({ message: 'no', extensions: { code: 'FORBIDDEN' } });
    const heard: Heard = [];
    stops.push(follow(overSocket(), heard));
    await until('it ended', () => heard.includes('complete'));
    assert.deepEqual(heard, ['FORBIDDEN', 'complete']);
  });

  test(`${name}: partial data comes with its errors, and these do not stay`, async () => {
    const partial = {
      data: { ticks: { number: 1 } },
      errors: [{ message: '', extensions: { code: 'PART' } }],
    };
    server.answer = (served) => [frame('c0'), partial, event(2)].forEach((each) => served.next(each));
    const heard: Heard = [];
    stops.push(follow(overSocket(), heard));
    await until('both came', () => heard.includes(2));
    assert.deepEqual(heard.filter((each) => each !== 1).slice(0, 2), ['PART', 2]);
  });
}
