// One subscription, against servers that keep the contract, do not know it, or break it.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  type CursorStore,
  memoryStore,
  type Options,
  sessionStore,
  subscribe,
  type SubscriptionRequest,
  type Transport,
} from '../src/index.js';
import { graphqlWs } from '../src/graphqlWs.js';
import { eventSource, fetchEvents } from '../src/sse.js';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Reader, until } from './support/reader.js';
import { event, FakeServer, frame, Log, type Served, status } from './support/server.js';

const QUERY = 'subscription { ticks { number } }';
const QUERY_AFTER = 'subscription ($after: String) { ticks(after: $after) { number cursor } }';

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

/** Tries follow each other fast. */
const FAST: Options = { longestRetryMs: 10, standsAfterMs: 60_000 };
/** For those that are to be guessed. Longer than a busy machine takes to tell more than that it is open. */
const GUESSED = { standsAfterMs: 500 } satisfies Options;
/** When a guess would have been made. */
const afterAGuess = () => sleep(1.5 * GUESSED.standsAfterMs);

const overSocket = () => {
  const client = createClient({
    url: server.url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    // As it comes: after these the subscription itself tries again.
    retryAttempts: 1,
    retryWait: async () => {},
  });
  stops.push(() => void client.dispose());
  return graphqlWs(client);
};
const overFetch = () => fetchEvents(server.url);

const transports: Record<string, () => Transport> = {
  'graphql-ws': overSocket,
  fetch: overFetch,
  EventSource: () => eventSource(server.url),
};

function read(
  transport: Transport,
  options: Options = {},
  request: SubscriptionRequest = { query: QUERY },
): Reader & { stop: () => void } {
  const reader = new Reader();
  const stop = subscribe(transport, request, reader, { ...FAST, ...options });
  stops.push(stop);
  return Object.assign(reader, { stop });
}

/** What the server gets is counted from the start. */
const asked = (index: number): Promise<Served> =>
  until(`request ${index}`, () => server.subscriptions[index]);
const failure = (code: string, extensions: object = {}) => ({
  message: code,
  extensions: { code, ...extensions },
});

for (const [name, make] of Object.entries(transports)) {
  describe(`over ${name}`, () => {
    test('the list is read once, after the first frame, and cuts lose and double nothing', async () => {
      const log = new Log();
      server.answer = log.answer;
      const reader = read(make());
      await until('it stands', () => reader.gaps[0]);
      assert.deepEqual(reader.gaps, [{ isFirst: true, isGuess: false, takesCursor: false }]);
      for (let number = 1; number <= 30; number++) {
        log.tick();
        if (number % 7 === 0) server.cut();
      }
      await until('all came', () => reader.heard.includes(30));
      assert.deepEqual(reader.heard, ['gap', ...Array.from({ length: 30 }, (_, index) => index + 1)]);
      assert.equal(server.subscriptions.at(-1)?.delivery.version, 1);
    });

    test('a cursor that was given is begun after, and nothing has to be read', async () => {
      server.answer = (served) => {
        served.next(frame('c4'));
        served.next(event(5));
      };
      const reader = read(make(), { after: 'c4' });
      await until('an event came', () => reader.heard[0]);
      assert.deepEqual(reader.heard, [5]);
      assert.deepEqual((await asked(0)).delivery, {
        version: 1,
        guarantee: 'AT_LEAST_ONCE',
        status: true,
        after: 'c4',
      });
    });

    test('a server that is interrupted is not live, and nothing is told as data or as a gap', async () => {
      server.answer = (served) => {
        for (const message of [frame('c0', 'AT_LEAST_ONCE', 'LIVE'), event(1), status('INTERRUPTED')])
          served.next(message);
      };
      const reader = read(make());
      await until('it is interrupted', () => reader.states.includes('interrupted'));
      const served = await asked(0);
      // One more that changes nothing, one that is not known, and an event that was on its way.
      for (const message of [status('INTERRUPTED'), status('LATER'), event(2), status('LIVE'), event(3)])
        served.next(message);
      await until('all came', () => reader.heard.includes(3));
      assert.deepEqual(reader.states, ['connecting', 'live', 'interrupted', 'live']);
      assert.deepEqual(reader.heard, ['gap', 1, 2, 3]);
      served.next(status('INTERRUPTED'));
      await until('it is interrupted again', () => reader.states.length === 5);
      // Another try begins without it, after the last event.
      server.answer = (again) => again.next(frame('c3'));
      served.cut();
      await until('it is live again', () => reader.states.at(-1) === 'live');
      assert.equal((await asked(1)).delivery.after, 'c3');
    });

    test('a subscription that begins while the server is interrupted stands, and is not live', async () => {
      server.answer = (served) => served.next(status('INTERRUPTED'));
      const reader = read(make(), GUESSED);
      await until('it is interrupted', () => reader.states.includes('interrupted'));
      const served = await asked(0);
      await afterAGuess();
      assert.deepEqual([reader.states, reader.heard], [['connecting', 'interrupted'], []]);
      served.next(frame('c0', 'AT_LEAST_ONCE', 'INTERRUPTED'));
      await until('it stands', () => reader.gaps[0]);
      served.next(status('LIVE'));
      await until('it is live', () => reader.states.includes('live'));
      assert.deepEqual(reader.states, ['connecting', 'interrupted', 'live']);
      assert.deepEqual(reader.gaps, [{ isFirst: true, isGuess: false, takesCursor: false }]);
    });

    test('a server that says only that it is live again is guessed to stand', async () => {
      server.answer = (served) =>
        [status('INTERRUPTED'), status('LIVE')].forEach((each) => served.next(each));
      const reader = read(make(), GUESSED);
      await until('it is live', () => reader.states.includes('live'));
      assert.deepEqual(reader.states, ['connecting', 'interrupted', 'connecting', 'live']);
      assert.ok(reader.gaps[0]?.isGuess);
    });

    test('the frame comes twice, events come again: each is told once', async () => {
      server.answer = (served) => {
        for (const message of [
          frame('c0'),
          frame('c0'),
          event(1),
          event(1),
          frame('c0'),
          event(2),
          event(1),
          event(3),
        ])
          served.next(message);
      };
      const reader = read(make());
      await until('the last came', () => reader.heard.includes(3));
      assert.deepEqual(reader.heard, ['gap', 1, 2, 3]);
    });

    test('the server ends it: complete', async () => {
      server.answer = (served) => {
        served.next(frame());
        served.complete();
      };
      const reader = read(make());
      await until('it is complete', () => reader.isComplete);
      assert.deepEqual(reader.states, ['connecting', 'live', 'ended']);
      assert.equal(server.subscriptions.length, 1);
    });

    test('an error that no try cures is told, once', async () => {
      server.answer = (served) => served.fail(failure('FORBIDDEN'));
      const reader = read(make());
      await until('it failed', () => reader.failure);
      assert.equal(reader.failure?.code, 'FORBIDDEN');
      assert.equal(server.subscriptions.length, 1);
      assert.deepEqual(reader.heard, []);
    });

    test('a reader that leaves ends the subscription at the server', async () => {
      server.answer = (served) => served.next(frame('c0'));
      const reader = read(make());
      await until('it stands', () => reader.gaps[0]);
      reader.stop();
      reader.stop();
      const served = await asked(0);
      await until('the server knows', () => served.isOver);
      assert.equal(reader.states.at(-1), 'ended');
    });
  });
}

describe('what servers say', () => {
  test('too slow, token ended, rate limited: it goes on after the cursor of the error', async () => {
    const codes = ['SUBSCRIPTION_LAGGED', 'TOKEN_EXPIRED', 'RATE_LIMITED', 'SOME_OTHER'];
    server.answer = (served) => {
      served.next(frame('c0'));
      const tries = server.subscriptions.length;
      const code = codes[tries - 1];
      if (code !== undefined) served.fail(failure(code, { cursor: `e${tries}` }));
      else served.next(event(1));
    };
    const reader = read(overFetch());
    await until('it goes on', () => reader.heard.includes(1));
    assert.deepEqual(reader.heard, ['gap', 1]);
    const sent = server.subscriptions.map(({ delivery }) => delivery.after);
    assert.deepEqual(sent, [undefined, 'e1', 'e2', 'e3', 'e4']);
  });

  test('an error that ends it is no event, wherever its cursor is', async () => {
    server.answer = (served) => {
      if (served.delivery.after === undefined) served.next(frame('c0'));
      else served.next(frame('c1'));
      served.next(event(server.subscriptions.length));
      if (server.subscriptions.length > 1) return;
      served.next({ errors: [failure('SUBSCRIPTION_LAGGED')], extensions: { cursor: 'c1' } });
      served.complete();
    };
    const reader = read(overFetch());
    await until('it goes on', () => reader.heard.includes(2));
    assert.deepEqual([reader.heard, reader.isComplete], [['gap', 1, 2], false]);
  });

  test('an error without a cursor: after the last one; without any, the data has to be read', async () => {
    server.answer = (served) => {
      served.next({
        data: null,
        extensions: { delivery: { version: 1, asked: 'AT_LEAST_ONCE', kept: 'AT_LEAST_ONCE' } },
      });
      if (server.subscriptions.length === 1) return served.fail(failure('SUBSCRIPTION_LAGGED'));
      if (server.subscriptions.length === 3) return served.next(event(2));
      served.next(event(1));
      served.fail(failure('SUBSCRIPTION_LAGGED'));
    };
    const reader = read(overFetch());
    await until('it goes on', () => reader.heard.includes(2));
    assert.deepEqual(reader.heard, ['gap', 'gap', 1, 2]);
    assert.equal((await asked(2)).delivery.after, 'c1');
  });

  test('the server asks to wait: no try comes sooner, and all are spread', async () => {
    const at: number[] = [];
    server.answer = (served) => {
      at.push(performance.now());
      if (at.length === 1) served.fail(failure('RATE_LIMITED', { retryAfter: 1 }));
    };
    read(overFetch());
    await asked(1);
    assert.ok((at[1] ?? 0) - (at[0] ?? 0) >= 1_000, String(at));
  });

  test('a time to wait that is none is not waited for', async () => {
    for (const retryAfter of [-1, Number.NaN, 'soon', null, { seconds: 1 }, 1e-9]) {
      server.subscriptions.length = 0;
      server.answer = (served) => {
        if (server.subscriptions.length === 1) served.fail(failure('RATE_LIMITED', { retryAfter }));
      };
      const { stop } = read(overFetch());
      await asked(1);
      stop();
    }
  });

  test('the history is gone: without the cursor, and the data has to be read', async () => {
    const store = memoryStore();
    store.set('ticks', 'old');
    server.answer = (served) => {
      if (served.delivery.after !== undefined) return served.fail(failure('RESYNC_REQUIRED'));
      served.next(frame('c7'));
      served.next(event(8));
    };
    const reader = read(overFetch(), { store, key: 'ticks' });
    await until('it goes on', () => reader.heard.includes(8));
    assert.deepEqual(reader.heard, ['gap', 8]);
    assert.equal(store.get('ticks'), 'c8');
  });

  test('a reader that has a list of its own is told that the history is gone', async () => {
    server.answer = (served) => served.fail(failure('RESYNC_REQUIRED'));
    const reader = read(overFetch(), { after: 'old', resync: 'end' });
    await until('it ended', () => reader.failure);
    assert.equal(reader.failure?.code, 'RESYNC_REQUIRED');
  });

  test('a stored cursor of something else is forgotten, once', async () => {
    const store = memoryStore();
    store.set('ticks', 'of-another-field');
    server.answer = (served) => served.fail(failure('BAD_USER_INPUT', { reason: 'CURSOR_FOREIGN' }));
    const reader = read(overFetch(), { store, key: 'ticks' });
    await until('it ended', () => reader.failure);
    assert.deepEqual(
      server.subscriptions.map(({ delivery }) => delivery.after),
      ['of-another-field', undefined],
    );
    assert.equal(store.get('ticks'), undefined);
  });

  test('events are missing, and it goes on: a gap', async () => {
    server.answer = (served) => {
      for (const message of [
        frame('c0'),
        event(1),
        { data: null, errors: [failure('SUBSCRIPTION_INTERRUPTED')] },
        event(5),
      ])
        served.next(message);
    };
    const reader = read(overFetch());
    await until('it goes on', () => reader.heard.includes(5));
    assert.deepEqual(reader.heard, ['gap', 1, 'gap', 5]);
    assert.equal(server.subscriptions.length, 1);
  });

  test('best effort: each time that it stands, something may be missing', async () => {
    server.answer = (served) => {
      served.next(frame(undefined, 'BEST_EFFORT'));
      if (server.subscriptions.length < 3) served.cut();
    };
    const reader = read(overFetch(), { after: 'c1', guarantee: 'BEST_EFFORT' });
    await until('three gaps', () => reader.gaps.length === 3);
    assert.equal((await asked(0)).delivery.guarantee, 'BEST_EFFORT');
    assert.deepEqual(
      reader.gaps.map(({ isFirst }) => isFirst),
      [true, false, false],
    );
  });

  test('a server that began elsewhere may use a cursor again', async () => {
    server.answer = (served) => {
      served.next(frame(undefined, 'BEST_EFFORT'));
      served.next(event(1));
      if (server.subscriptions.length === 1) served.cut();
    };
    const reader = read(overFetch());
    await until('it came', () => reader.heard.length === 4);
    assert.deepEqual(reader.heard, ['gap', 1, 'gap', 1]);
  });

  test('a network that falls silent is noticed by pings', async () => {
    const log = new Log();
    server.answer = log.answer;
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      keepAlive: 20,
      retryWait: async () => {},
    });
    stops.push(() => void client.dispose());
    const reader = read(graphqlWs(client));
    await until('it stands', () => reader.gaps[0]);
    server.silence();
    log.tick();
    await until('it came', () => reader.heard.includes(1));
    assert.deepEqual(reader.heard, ['gap', 1]);
  });

  test('an event that fails is asked for again, then it is given up and the data has to be read', async () => {
    const failed = { data: null, errors: [failure('SUBREQUEST_TIMEOUT')], extensions: { cursor: 'c2' } };
    server.answer = (served) => {
      if (served.delivery.after === undefined)
        [frame('c0'), event(1), failed].forEach((each) => served.next(each));
      else [frame('c1'), failed, event(3)].forEach((each) => served.next(each));
    };
    const reader = read(overFetch());
    await until('it goes on', () => reader.heard.includes(3));
    assert.deepEqual(reader.heard, ['gap', 1, 'gap', 3]);
    assert.deepEqual(
      server.subscriptions.map(({ delivery }) => delivery.after),
      [undefined, 'c1', 'c1'],
    );
  });
});

describe('servers that do not know the contract', () => {
  const old = (number: number) => ({ data: { ticks: { number, cursor: `c${number}` } } });

  test('a client that carries many subscriptions is listened to once, and no more when they end', () => {
    let listening = 0;
    const client = {
      on: () => {
        listening++;
        return () => listening--;
      },
      subscribe: () => {
        throw new Error('not today');
      },
      terminate: () => {},
    } as unknown as Parameters<typeof graphqlWs>[0];
    const sink = { next() {}, error() {}, complete() {}, lost() {}, open() {} };
    const counts = [1, 2, 3].map(() => {
      const request = { query: QUERY, toJSON: () => ({ query: QUERY }) };
      assert.throws(() => graphqlWs(client)(request, sink));
      return listening;
    });
    assert.equal(new Set(counts).size, 1, String(counts));
  });

  test('the cursor of the event goes into the variable, also when graphql-ws itself sends it again', async () => {
    server.answer = (served) => {
      const after = Number(String(served.request.variables?.after ?? 'c0').slice(1));
      // The last one again, and two that have one cursor.
      served.next(old(after));
      served.next(old(after + 1));
      served.next({ data: { ticks: { number: after + 1.5, cursor: `c${after + 1}` } } });
      if (after < 3) served.cut();
    };
    const request = { query: QUERY_AFTER, variables: { after: 'c0', of: 'mine' } };
    const reader = read(overSocket(), {}, request);
    await until('all came', () => reader.heard.includes(4.5));
    assert.deepEqual(reader.heard, [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]);
    assert.deepEqual((await asked(3)).request.variables, { after: 'c3', of: 'mine' });
    assert.equal(request.variables.after, 'c0', 'what is not ours stays');
  });

  test('it is guessed to stand, and the data has to be read each time', async () => {
    const reader = read(overFetch(), GUESSED);
    await until('it is guessed', () => reader.gaps[0]);
    assert.deepEqual(reader.gaps[0], { isFirst: true, isGuess: true, takesCursor: false });
    const served = await asked(0);
    served.next({ data: { ticks: { number: 1 } } });
    await until('it came', () => reader.heard.includes(1));
    served.cut();
    await until('it is guessed again', () => reader.gaps[1]);
    assert.deepEqual(reader.heard, ['gap', 1, 'gap']);
  });

  test('a connection that is lost before a guess is none; what was asleep meanwhile changes nothing', async () => {
    const sinks: Parameters<Transport>[1][] = [];
    const send: (() => unknown)[] = [];
    const reader = read((request, sink) => {
      sinks.push(sink);
      send.push(() => request.toJSON());
      return () => {};
    }, GUESSED);
    const [sink] = sinks;
    // Not open: a guess would be of no use.
    send[0]?.();
    await afterAGuess();
    assert.deepEqual(reader.heard, []);
    sink?.open();
    sink?.lost();
    await afterAGuess();
    assert.deepEqual([reader.heard, reader.states], [[], ['connecting']]);
    send[0]?.();
    sink?.open();
    await until('it is guessed', () => reader.gaps[0]);
    sink?.open();
    await afterAGuess();
    assert.equal(reader.gaps.length, 1);
  });

  test('a field that is called cursor is no position where the subscription cannot begin after one', async () => {
    server.answer = (served) => {
      served.next({ data: { ticks: { number: 1, cursor: 'of-the-page' } }, extensions: { cursor: 'mine' } });
      served.next({ data: { ticks: { number: 2, cursor: 'of-the-page' } }, extensions: { cursor: 'mine' } });
      if (server.subscriptions.length === 1) served.cut();
    };
    const reader = read(overFetch(), GUESSED);
    await until('all came', () => reader.heard.length >= 6);
    assert.deepEqual(reader.heard, ['gap', 1, 2, 'gap', 1, 2]);
    assert.equal((await asked(1)).delivery.after, undefined);
  });

  test('the first frame comes later than the guess: the data is read again then', async () => {
    const reader = read(overFetch(), GUESSED);
    await until('it is guessed', () => reader.gaps[0]);
    (await asked(0)).next(frame('c3'));
    await until('it is known', () => reader.gaps[1]);
    assert.deepEqual(
      reader.gaps.map(({ isGuess }) => isGuess),
      [true, false],
    );
  });
});

describe('malformed', () => {
  const malformed: [string, (served: Served) => void][] = [
    ['no JSON', (served) => served.raw('event: next\ndata: {\n\n')],
    ['no object', (served) => served.next([1])],
    ['null', (served) => served.next(null)],
    [
      'errors of no kind',
      (served) => served.next({ errors: ['x', null, 7, { message: 5, extensions: 'no' }] }),
    ],
    ['an end in the middle', (served) => served.raw('event: next\ndata: {"da')],
  ];
  for (const [name, answer] of malformed)
    test(`${name}: tried again, and it goes on`, async () => {
      server.answer = (served) => {
        if (server.subscriptions.length > 2) return served.next(event(1));
        answer(served);
        if (name === 'an end in the middle') served.cut();
      };
      const reader = read(overFetch());
      await until('an event came', () => reader.heard.includes(1));
    });

  const odd: [string, object][] = [
    ['a version that is not known', { version: 9, asked: 'AT_LEAST_ONCE', kept: 'AT_LEAST_ONCE' }],
    ['no guarantee', { version: 1 }],
    ['nothing', {}],
  ];
  for (const [name, delivery] of odd)
    test(`a first frame with ${name} says nothing`, async () => {
      server.answer = (served) => served.next({ data: null, extensions: { delivery, cursor: 'c9' } });
      const reader = read(overFetch(), GUESSED);
      await until('it is guessed', () => reader.gaps[0]);
      assert.equal(reader.gaps[0]?.isGuess, true);
    });

  test('cursors that are none are not used', async () => {
    const cursors = [7, '', 'x'.repeat(5_000), { a: 1 }, null];
    server.answer = (served) => {
      if (server.subscriptions.length > 1) return;
      served.next(frame('c0'));
      cursors.forEach((cursor, number) =>
        served.next({ data: { ticks: { number } }, extensions: { cursor } }),
      );
      served.cut();
    };
    const reader = read(overFetch());
    assert.equal((await asked(1)).delivery.after, 'c0');
    assert.deepEqual(reader.heard, ['gap', 0, 1, 2, 3, 4]);
  });

  test('an event stream is refused: with errors, with a page, with another kind of answer', async () => {
    const answers: [number, Record<string, string>, string][] = [
      [429, { 'retry-after': '0' }, '{"errors":[{"message":"slow","extensions":{"code":"RATE_LIMITED"}}]}'],
      [503, {}, '<html>no</html>'],
      [200, { 'content-type': 'application/json' }, '{"data":{}}'],
      [500, {}, ''],
      [403, {}, '{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}}]}'],
    ];
    let count = 0;
    server.refuse = (response) => {
      const [status, headers, body] = answers[count++] ?? assert.fail('no more answers');
      response.writeHead(status, headers).end(body);
    };
    const reader = read(overFetch());
    await until('it ended', () => reader.failure);
    assert.equal(reader.failure?.code, 'FORBIDDEN');
    assert.equal(count, 5);
  });

  test('Retry-After is waited for', async () => {
    const at: number[] = [];
    server.refuse = (response) => {
      at.push(performance.now());
      response.writeHead(503, { 'retry-after': '1' }).end();
    };
    const reader = read(overFetch());
    await until('two tries', () => at[1]);
    assert.match(reader.waitsFor[0]?.message ?? '', /503/);
    assert.ok((at[1] ?? 0) - (at[0] ?? 0) >= 1_000, String(at));
  });

  test('the time in the reason of close code 1013 is waited for, before the subscription and during it', async () => {
    const log = new Log();
    const at: number[] = [];
    const tryAgain = (socket: WebSocket) => {
      at.push(performance.now());
      socket.close(1013, 'Too many clients come at once: try again later (retry-after: 1)');
    };
    server.answer = log.answer;
    server.refuseSocket = tryAgain;
    // It would try again at once, and for ever.
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: async () => {},
    });
    stops.push(() => void client.dispose());
    const reader = read(graphqlWs(client));
    await until('a refusal', () => at[0]);
    server.refuseSocket = undefined;
    server.webSockets.once('connection', () => at.push(performance.now()));
    await until('it stands', () => reader.gaps[0]);
    log.tick();
    await until('it came', () => reader.heard.includes(1));
    server.webSockets.clients.forEach(tryAgain);
    server.webSockets.once('connection', () => at.push(performance.now()));
    log.tick();
    await until('it goes on', () => reader.heard.includes(2));
    assert.deepEqual(reader.heard, ['gap', 1, 2]);
    assert.equal(at.length, 4, 'no try between');
    const [first = 0, second = 0, third = 0, fourth = 0] = at;
    assert.ok(second - first >= 1_000 && fourth - third >= 1_000, String(at));
    assert.match(reader.waitsFor[0]?.message ?? '', /try again later/);
  });

  test('a subscription that begins while another waits for that time waits as well', async () => {
    const log = new Log();
    const at: number[] = [];
    server.answer = log.answer;
    server.refuseSocket = (socket) => {
      at.push(performance.now());
      socket.close(1013, 'try again later (retry-after: 1)');
    };
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      shouldRetry: () => true,
      retryWait: async () => {},
    });
    stops.push(() => void client.dispose());
    const transport = graphqlWs(client);
    const first = read(transport);
    await until('a refusal', () => first.waitsFor[0]);
    server.refuseSocket = undefined;
    server.webSockets.once('connection', () => at.push(performance.now()));
    const second = read(transport);
    await until('both stand', () => first.gaps[0] && second.gaps[0]);
    const [refused = 0, again = 0] = at;
    assert.ok(again - refused >= 990, String(at));
    assert.match(second.waitsFor[0]?.message ?? '', /try/);
  });

  test('a close without a time, or with a time that is none, is not waited for', async () => {
    const reasons = ['', 'later', 'retry-after: soon', 'retry-after: -1', 'retry-after: 9999999999'];
    let count = 0;
    const log = new Log();
    server.answer = log.answer;
    server.refuseSocket = (socket) => {
      socket.close(1013, reasons[count++]);
      if (count === reasons.length) server.refuseSocket = undefined;
    };
    const reader = read(overSocket());
    await until('it stands', () => reader.gaps[0]);
  });

  test('headers that do not come, or fail, are asked for again', async () => {
    let count = 0;
    const headers = (): Promise<HeadersInit> => {
      count++;
      if (count === 1) return new Promise(() => {});
      return count === 2
        ? Promise.reject(new Error('no token'))
        : Promise.resolve({ authorization: 'Bearer x' });
    };
    server.answer = (served) => served.next(event(1));
    const reader = read(fetchEvents(server.url, { silenceMs: 2_000, headers }));
    await until('an event came', () => reader.heard.includes(1));
    assert.deepEqual(
      reader.waitsFor.map(({ message }) => message),
      ['Nothing has come for too long.', 'no token'],
    );
  });

  test('a stream on which nothing comes is dead', async () => {
    server.answer = (served) => {
      if (server.subscriptions.length > 1) served.next(event(1));
    };
    const reader = read(fetchEvents(server.url, { silenceMs: 50 }));
    await until('another one was opened', () => reader.heard.includes(1));
  });
});

describe('tries', () => {
  test('a server that accepts, sends an event and then refuses is not stormed', async () => {
    let now = 0;
    const waits: number[] = [];
    const timers = globalThis.setTimeout;
    globalThis.setTimeout = ((run: () => void, ms: number) => {
      waits.push(ms);
      now += ms;
      return timers(run, 0);
    }) as typeof setTimeout;
    try {
      let tries = 0;
      const transport: Transport = (request, sink) => {
        request.toJSON();
        tries++;
        sink.next(frame('c0'));
        sink.next(event(tries));
        if (tries < 12) sink.error([failure('OVERLOADED')]);
        return () => {};
      };
      const stop = subscribe(transport, { query: QUERY }, new Reader(), { standsAfterMs: 0 });
      await until('twelve tries', () => tries === 12);
      stop();
    } finally {
      globalThis.setTimeout = timers;
    }
    const pauses = waits.filter((ms) => ms > 0 && ms !== 5);
    assert.ok(now > 40_000, `twelve tries in ${now} ms`);
    assert.ok(Math.max(...pauses) <= 12_500, String(pauses));
    assert.ok(new Set(pauses).size === pauses.length, 'they are spread');
  });

  test('a browser that is online again does not wait, unless the server asked for it', async () => {
    const browser = new EventTarget();
    const { addEventListener, removeEventListener } = browser;
    Object.assign(globalThis, {
      addEventListener: addEventListener.bind(browser),
      removeEventListener: removeEventListener.bind(browser),
    });
    let tries = 0;
    let failed: unknown = new Error('no network');
    const transport: Transport = (request, sink) => {
      request.toJSON();
      tries++;
      sink.error(failed);
      return () => {};
    };
    try {
      const stop = subscribe(transport, { query: QUERY }, new Reader());
      // These pauses would be a minute and a half.
      for (let number = 1; number < 15; number++) {
        browser.dispatchEvent(new Event('online'));
        await until('it was tried', () => tries > number);
      }
      failed = [failure('RATE_LIMITED', { retryAfter: 3_600 })];
      browser.dispatchEvent(new Event('online'));
      const last = await until('it was asked to wait', () => tries === 16 && tries);
      browser.dispatchEvent(new Event('online'));
      await new Promise((resolve) => setTimeout(resolve, 600));
      assert.equal(tries, last);
      stop();
    } finally {
      Object.assign(globalThis, { addEventListener: undefined, removeEventListener: undefined });
    }
  });

  test('a transport that throws, or fails at once, is tried again', async () => {
    let tries = 0;
    const transport: Transport = (_, sink) => {
      tries++;
      if (tries === 1) throw new Error('not today');
      if (tries === 2) sink.error(undefined);
      if (tries === 3) sink.error({ code: 4400, reason: 'Invalid message' });
      if (tries === 4) sink.next(event(1));
      return () => {};
    };
    const reader = read(transport);
    await until('an event came', () => reader.heard.includes(1));
    assert.equal(tries, 4);
  });

  test('what comes from an earlier try, or after the end, is not told', async () => {
    const sinks: Parameters<Transport>[1][] = [];
    const ended: number[] = [];
    const transport: Transport = (_, sink) => {
      const index = sinks.push(sink) - 1;
      return () => void ended.push(index);
    };
    const reader = read(transport);
    const first = sinks[0] ?? assert.fail('it has begun');
    first.error('lost');
    const second = await until('another try', () => sinks[1]);
    first.next(event(1));
    first.error([failure('FORBIDDEN')]);
    first.complete();
    first.lost();
    second.next(event(2));
    reader.stop();
    second.next(event(3));
    second.complete();
    second.error('lost');
    assert.deepEqual(reader.heard, ['gap', 2]);
    assert.equal(reader.failure, undefined);
    assert.deepEqual(ended, [0, 1], 'each is ended once');
  });
});

describe('a reader that leaves', () => {
  /** In each of these it is told something, and leaves. */
  const moments: (keyof Reader)[] = ['next', 'gap', 'state', 'error', 'complete'];
  for (const moment of moments)
    test(`while it is told ${moment}`, async () => {
      server.answer = (served) => {
        served.next(frame('c0'));
        served.next(event(1));
        if (moment === 'error') served.fail(failure('FORBIDDEN'));
        else served.complete();
      };
      const reader = new Reader();
      let isStopped = false;
      const told: string[] = [];
      const listener = Object.fromEntries(
        (['next', 'gap', 'state', 'error', 'complete'] as const).map((name) => [
          name,
          (what: never) => {
            if (isStopped && what !== 'ended') told.push(name);
            (reader[name] as (what: never) => void)(what);
            if (name === moment && what !== 'connecting') {
              isStopped = true;
              stop();
            }
          },
        ]),
      ) as unknown as Reader;
      const stop = subscribe(overFetch(), { query: QUERY }, listener, FAST);
      await until('it ended', () => reader.states.includes('ended'));
      const served = await asked(0);
      await until('the server knows', () => served.isOver);
      assert.deepEqual(told, []);
    });

  test('before the store has answered, before the transport has begun, and while a try is waited for', async () => {
    const never: CursorStore = { get: () => new Promise(() => {}), set: () => {} };
    const early = read(overFetch(), { store: never });
    early.stop();
    let isOver = false;
    const lazy = read((_, sink) => {
      sink.next(frame('c0'));
      return () => (isOver = true);
    });
    lazy.stop();
    assert.ok(isOver);
    const waiting = read((_, sink) => {
      sink.error('lost');
      return () => {};
    });
    waiting.stop();
    assert.deepEqual(
      [early.states, waiting.states],
      [
        ['connecting', 'ended'],
        ['connecting', 'waiting', 'ended'],
      ],
    );
    assert.equal(server.subscriptions.length, 0);
  });

  test('its exceptions are reported, and end nothing', async () => {
    const thrown: unknown[] = [];
    const keep = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error));
    try {
      server.answer = (served) => [frame('c0'), event(1), event(2)].forEach((each) => served.next(each));
      const heard: unknown[] = [];
      const stop = subscribe(
        overFetch(),
        { query: QUERY },
        {
          next(result) {
            heard.push(result);
            throw new Error('mine');
          },
        },
        FAST,
      );
      stops.push(stop);
      await until('both came', () => heard.length === 2 && thrown.length === 2);
      assert.equal(server.subscriptions.length, 1);
    } finally {
      process.removeAllListeners('uncaughtException');
      keep.forEach((listener) => process.on('uncaughtException', listener));
    }
  });
});

describe('stores', () => {
  const told = async (store: CursorStore) => {
    const log = new Log();
    log.tick();
    server.answer = log.answer;
    const reader = read(overFetch(), { store, key: 'ticks' });
    await until('it stands', () => reader.states.includes('live'));
    log.tick();
    await until('it came', () => reader.heard.includes(2));
    return reader;
  };
  let warnings: unknown[][];
  const { warn } = console;
  beforeEach(() => {
    warnings = [];
    console.warn = (...what: unknown[]) => void warnings.push(what);
  });
  afterEach(() => void (console.warn = warn));

  test('after a reload it goes on where it was, by sessionStorage too', async () => {
    const texts = new Map<string, string>();
    const storage = {
      getItem: (name: string) => texts.get(name) ?? null,
      setItem: (name: string, text: string) => void texts.set(name, text),
    };
    for (const store of [memoryStore(), sessionStore('cursors', storage)]) {
      server.subscriptions.length = 0;
      const first = await told(store);
      first.stop();
      const reader = read(overFetch(), { store, key: 'ticks' });
      await until('it stands', () => reader.states.includes('live'));
      assert.equal(server.subscriptions.at(-1)?.delivery.after, 'c2');
      assert.deepEqual(reader.gaps, []);
      reader.stop();
    }
    // Somebody else's text does not matter.
    for (const text of ['{', '7', '[1,[2],["a",3],["ticks","c9"]]']) {
      texts.set('cursors', text);
      const found = sessionStore('cursors', storage).get('ticks');
      assert.equal(found, text.length > 5 ? 'c9' : undefined);
    }
  });

  test('they keep a number of cursors, and forget the oldest', () => {
    const store = memoryStore();
    for (let number = 0; number <= 100; number++) store.set(`key ${number}`, 'c');
    assert.equal(store.get('key 0'), undefined);
    assert.equal(store.get('key 1'), 'c');
  });

  test('one that throws, rejects or says nonsense is done without, with one warning', async () => {
    const broken = () => {
      throw new Error('full');
    };
    const stores: CursorStore[] = [
      { get: broken, set: broken },
      { get: () => Promise.reject(new Error('no')), set: () => Promise.reject(new Error('no')) },
      { get: () => 7 as never, set: broken },
      // There is none in Node.js.
      sessionStore(),
    ];
    for (const store of stores) {
      warnings = [];
      (await told(store)).stop();
      assert.equal(warnings.length, 1);
    }
  });

  test('no cursor is stored before the data of a gap is read, whatever comes meanwhile', async () => {
    const store = memoryStore();
    const readings: { done: () => void; failed: (error: Error) => void }[] = [];
    const heard: unknown[] = [];
    const stop = subscribe(
      overFetch(),
      { query: QUERY },
      {
        next: (result) => void heard.push(result),
        gap: () => new Promise<void>((done, failed) => readings.push({ done, failed })),
      },
      { ...FAST, store, key: 'ticks' },
    );
    stops.push(stop);
    const served = await asked(0);
    const missing = { data: null, errors: [failure('SUBSCRIPTION_INTERRUPTED')] };
    [frame('c0'), event(1)].forEach((each) => served.next(each));
    await until('it came', () => heard.length === 1);
    assert.equal(store.get('ticks'), undefined);
    readings[0]?.done();
    await until('it is read', () => store.get('ticks') === 'c1');
    served.next(missing);
    await until('more is missing', () => readings[1]);
    assert.equal(store.get('ticks'), undefined);
    served.next(missing);
    await until('still more is missing', () => readings[2]);
    readings[1]?.done();
    served.next(event(2));
    await until('it came', () => heard.length === 2);
    assert.equal(store.get('ticks'), undefined, 'the last gap is not read yet');
    readings[2]?.done();
    await until('it is read', () => store.get('ticks') === 'c2');
    served.next(event(3));
    await until('it came', () => heard.length === 3);
    assert.equal(store.get('ticks'), 'c3');
    // Only its position on the server goes on.
    served.cut();
    assert.equal((await asked(1)).delivery.after, 'c3');
  });

  test('one that is slow gets the last cursor, one at a time', async () => {
    const writes: (string | undefined)[] = [];
    let open = () => {};
    const store: CursorStore = {
      get: async () => null,
      set(_, cursor) {
        writes.push(cursor);
        return new Promise<void>((resolve) => (open = resolve));
      },
    };
    server.answer = (served) =>
      [frame('c0'), ...[1, 2, 3, 4].map(event)].forEach((each) => served.next(each));
    const reader = read(overFetch(), { store });
    await until('all came', () => reader.heard.includes(4));
    assert.deepEqual(writes, ['c0']);
    open();
    await until('the last is written', () => writes[1]);
    assert.deepEqual(writes, ['c0', 'c4']);
  });
});
