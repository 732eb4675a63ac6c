// A list that is read and followed, with writes that show at once.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import {
  type Change,
  collection,
  type Collection,
  type CollectionOptions,
  TooManyWrites,
} from '../src/collection.js';
import { memoryStore, type Options, subscribe } from '../src/index.js';
import { fetchEvents } from '../src/sse.js';
import { until } from './support/reader.js';
import { FakeServer, frame, type Served, status } from './support/server.js';

interface Item {
  id: string;
  text: string;
}
interface Data {
  change: Change<Item>;
}

const QUERY = 'subscription { change }';
const QUERY_AFTER = 'subscription ($after: String) { change(after: $after) }';
const FAST: Options = { longestRetryMs: 10 };

let server: FakeServer;
let list: Collection<Item>;
let leave: () => void;
/** What is read next, and how often it was. */
let read: () => Promise<{ items: Item[]; cursor?: string }>;
let readings: number;

beforeEach(async () => {
  server = await FakeServer.start();
  readings = 0;
  read = async () => ({ items: [] });
  leave = () => {};
});

afterEach(async () => {
  leave();
  await server.stop();
});

const item = (id: string, text = id): Item => ({ id, text });
const texts = () => list.getSnapshot().items.map(({ text }) => text);
let count = 0;
const changed = (change: Change<Item>) => ({ data: { change }, extensions: { cursor: `c${++count}` } });
const stands = () => until('it is subscribed', () => server.subscriptions[0]);

function open(
  options: Partial<CollectionOptions<Item, Data>> = {},
  query = QUERY,
  standsAfterMs = 60_000,
): void {
  list = collection<Item, Data>({
    follow: (listener, after) =>
      subscribe<Data>(fetchEvents(server.url), { query }, listener, { ...FAST, standsAfterMs, after }),
    read: () => {
      readings++;
      return read();
    },
    changeOf: ({ change }) => change,
    ...options,
  });
  leave = list.subscribe(() => {});
}

test('while the server is interrupted it waits, and is not read again unless somebody asks', async () => {
  read = async () => ({ items: [item('a')] });
  open();
  const served = await stands();
  served.next(frame('c0', 'AT_LEAST_ONCE', 'LIVE'));
  await until('it is live', () => list.getSnapshot().status === 'live');
  served.next(status('INTERRUPTED'));
  await until('it waits', () => list.getSnapshot().status === 'waiting');
  assert.deepEqual([texts(), readings], [['a'], 1]);
  list.refresh();
  await until('it is read', () => readings === 2);
  assert.equal(served.isOver, false, 'it is followed as before');
  served.next(status('LIVE'));
  await until('it is live', () => list.getSnapshot().status === 'live');
  served.next(changed({ put: item('b') }));
  await until('it has come', () => texts().includes('b'));
  assert.equal(readings, 2);
});

test('it is read after the subscription stands; what arrives meanwhile is newer', async () => {
  let answer: (_: { items: Item[] }) => void = () => {};
  read = () => new Promise((resolve) => (answer = resolve));
  open();
  const served = await stands();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(readings, 0);
  served.next(frame('c0'));
  await until('it is read', () => readings === 1);
  served.next(changed({ put: item('b', 'b, edited') }));
  served.next(changed({ remove: 'c' }));
  served.next(changed({ replace: item('z') }));
  served.next(changed({ put: item('d') }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(list.getSnapshot(), {
    items: [],
    sending: new Set(),
    status: 'loading',
    error: undefined,
  });
  answer({ items: [item('c'), item('b'), item('a')] });
  await until('it is shown', () => list.getSnapshot().status === 'live');
  assert.deepEqual(texts(), ['d', 'b, edited', 'a']);
  const before = list.getSnapshot();
  assert.equal(list.getSnapshot(), before, 'the same until something changes');
  served.next(changed({ put: item('e') }));
  await until('it came', () => texts()[0] === 'e');
  assert.notEqual(list.getSnapshot(), before);
  assert.equal(readings, 1);
});

test('the history is gone: it is read again', async () => {
  read = async () => ({ items: [item(`reading ${readings}`)] });
  server.answer = (served) => served.next(frame('c0'));
  open();
  await until('it is live', () => list.getSnapshot().status === 'live');
  (await stands()).fail({ message: '', extensions: { code: 'RESYNC_REQUIRED' } });
  await until('it is read again', () => texts()[0] === 'reading 2');
  await until('it is live', () => list.getSnapshot().status === 'live');
  assert.equal(server.subscriptions[1]?.delivery.after, undefined);
});

test('many gaps are one more reading', async () => {
  const answers: ((read: { items: Item[] }) => void)[] = [];
  read = () => new Promise((resolve) => answers.push(resolve));
  open();
  const served = await stands();
  served.next(frame('c0'));
  await until('it is read', () => answers[0]);
  for (let index = 0; index < 50; index++)
    served.next({ data: null, errors: [{ message: '', extensions: { code: 'SUBSCRIPTION_INTERRUPTED' } }] });
  served.next(changed({ put: item('last') }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(readings, 1);
  answers[0]?.({ items: [item('first')] });
  await until('it is read once more', () => answers[1]);
  answers[1]?.({ items: [item('second')] });
  await until('it is shown', () => texts()[0] === 'second');
  assert.equal(readings, 2);
});

test('a server that does not say when it stands: it is followed after the cursor of the list', async () => {
  read = async () => ({ items: [item('a')], cursor: 'of-the-list' });
  open({}, QUERY_AFTER, 50);
  const again = await until('it is subscribed again', () => server.subscriptions[1]);
  assert.equal(again.request.variables?.after, 'of-the-list');
  await until('the first one is over', () => server.subscriptions[0]?.isOver);
  again.next({ data: { change: { put: item('b') } } });
  await until('it came', () => texts().length === 2);
  assert.deepEqual([texts(), readings], [['b', 'a'], 1]);
});

for (const [what, query, variables] of [
  ['a stored cursor', QUERY, {}],
  ['a cursor in the variables', QUERY_AFTER, { after: 'c0' }],
] as const)
  test(`followed after ${what}, no gap comes: it is read once all the same`, async () => {
    const store = memoryStore();
    if (query === QUERY) store.set('list', 'c0');
    const answer = (served: Served) => served.next(frame(String(served.delivery.after)));
    server.answer = answer;
    read = async () => ({ items: [item('a')] });
    open({
      follow: (listener) =>
        subscribe<Data>(fetchEvents(server.url), { query, variables }, listener, {
          ...{ ...FAST, standsAfterMs: 60_000, store, key: 'list' },
        }),
    });
    const served = await stands();
    assert.equal(served.delivery.after, 'c0');
    await until('it is live', () => list.getSnapshot().status === 'live');
    assert.deepEqual([texts(), readings], [['a'], 1]);
    served.cut();
    await until('it goes on', () => server.subscriptions[1]);
    await until('it is live', () => list.getSnapshot().status === 'live');
    assert.equal(readings, 1);
  });

test('a list whose reading is on its way has no cursor in the store', async () => {
  const store = memoryStore();
  let answer: (_: { items: Item[] }) => void = () => {};
  read = () => new Promise((resolve) => (answer = resolve));
  server.answer = (served) => served.next(frame('c0'));
  open({
    follow: (listener) =>
      subscribe<Data>(fetchEvents(server.url), { query: QUERY }, listener, { ...FAST, store, key: 'list' }),
  });
  await until('it is read', () => readings === 1);
  assert.equal(store.get('list'), undefined);
  answer({ items: [item('a')] });
  await until('it is stored', () => store.get('list') === 'c0');
  assert.deepEqual(texts(), ['a']);
});

test('a reading that fails is shown, tried again, and what is there stays', async () => {
  server.answer = (served) => served.next(frame('c0'));
  open();
  await until('it is live', () => list.getSnapshot().status === 'live');
  list.add([item('older')]);
  const failure = new Error('no network');
  read = () => Promise.reject(failure);
  list.refresh();
  await until('it failed', () => list.getSnapshot().status === 'failed');
  assert.equal(list.getSnapshot().error, failure);
  assert.deepEqual(texts(), ['older']);
  read = async () => ({ items: [item('new')] });
  await until('it is live', () => list.getSnapshot().status === 'live');
  assert.equal(list.getSnapshot().error, undefined);
  assert.deepEqual(texts(), ['new']);
});

test('refreshed while it waits for another reading: it is read at once, and ever after', async () => {
  const served = await opened();
  read = () => Promise.reject(new Error('no network'));
  // The pauses grow: the last one would be longer than this test waits.
  for (let failures = 0; failures < 6; failures++) {
    list.refresh();
    await until('it was read', () => readings === failures + 2);
    await until('it failed', () => list.getSnapshot().status === 'failed');
  }
  read = async () => ({ items: [item(`reading ${readings}`)] });
  list.refresh();
  await until('it is live', () => list.getSnapshot().status === 'live');
  assert.deepEqual(texts(), ['reading 8']);
  served.next({ data: null, errors: [{ message: '', extensions: { code: 'SUBSCRIPTION_INTERRUPTED' } }] });
  await until('it is read again', () => texts()[0] === 'reading 9');
});

test('a subscription that no try cures is shown, until it is refreshed', async () => {
  server.answer = (served) => served.fail({ message: 'no', extensions: { code: 'FORBIDDEN' } });
  open();
  await until('it failed', () => list.getSnapshot().status === 'failed');
  assert.equal((list.getSnapshot().error as { code: string }).code, 'FORBIDDEN');
  server.answer = (served) => served.next(frame('c0'));
  list.refresh();
  await until('it is live', () => list.getSnapshot().status === 'live');
});

test('a subscription that the server ends is opened again, and the list read', async () => {
  server.answer = (served) => {
    served.next(frame('c0'));
    if (server.subscriptions.length === 1) served.complete();
  };
  open();
  await until('it is subscribed again', () => server.subscriptions[1]);
  await until('it is live', () => list.getSnapshot().status === 'live');
});

test('readers come and go: the last one ends it, and its answers come too late', async () => {
  let answer: (_: { items: Item[] }) => void = () => {};
  read = () => new Promise((resolve) => (answer = resolve));
  server.answer = (served) => served.next(frame('c0'));
  open();
  const other = list.subscribe(() => {});
  await until('it is read', () => readings === 1);
  leave();
  leave();
  assert.equal(server.subscriptions[0]?.isOver, false);
  other();
  await until('it is over', () => server.subscriptions[0]?.isOver);
  answer({ items: [item('late')] });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(texts(), []);
  list.refresh();
  list.add([item('by hand')]);
  assert.equal(server.subscriptions.length, 1);
  read = async () => ({ items: [item('now')] });
  leave = list.subscribe(() => {});
  await until('it is live again', () => list.getSnapshot().status === 'live');
  assert.deepEqual(texts(), ['now']);
});

test('it has no more items than it may', async () => {
  const items = Array.from({ length: 9 }, (_, index) => item(`${index}`));
  read = async () => ({ items });
  server.answer = (served) => served.next(frame('c0'));
  open({ itemsMax: 3, compare: (one, other) => (one.id < other.id ? -1 : 1) });
  await until('it is live', () => list.getSnapshot().status === 'live');
  (await stands()).next(changed({ put: item('00') }));
  await until('it came', () => texts().includes('00'));
  assert.deepEqual(texts(), ['0', '00', '1']);
});

async function opened(): Promise<Served> {
  server.answer = (served) => served.next(frame('c0'));
  open();
  await until('it is live', () => list.getSnapshot().status === 'live');
  return stands();
}

test('a write shows at once, and once: whether the event comes before the answer or after it', async () => {
  const served = await opened();
  for (const isEventFirst of [true, false]) {
    let answer: (_: Item) => void = () => {};
    const text = `event first: ${isEventFirst}`;
    const written = list.write({ id: 'not yet', text }, () => new Promise((resolve) => (answer = resolve)));
    assert.equal(texts()[0], text);
    assert.equal(list.getSnapshot().sending.size, 1);
    const shown: number[] = [];
    const stop = list.subscribe(() => shown.push(texts().filter((each) => each === text).length));
    const known = item(`id of ${isEventFirst}`, text);
    if (isEventFirst) {
      served.next(changed({ put: known }));
      await until('it came', () => list.getSnapshot().sending.size === 0);
    }
    answer(known);
    assert.equal(await written, known);
    if (!isEventFirst) served.next(changed({ put: known }));
    served.next(changed({ put: item(`after ${isEventFirst}`) }));
    await until('it came', () => texts()[0] === `after ${isEventFirst}`);
    assert.deepEqual(new Set(shown), new Set([1]), String(shown));
    stop();
  }
});

test('a write whose answer was lost is tried again with its key; others come beside it', async () => {
  const served = await opened();
  const keys: string[] = [];
  const written = list.write(item('mine'), async (key) => {
    keys.push(key);
    if (keys.length < 3) throw new TypeError('fetch failed');
    return item('m1', 'mine');
  });
  served.next(changed({ put: item('other') }));
  await until('it came', () => texts().includes('other'));
  await written;
  assert.deepEqual(texts(), ['mine', 'other']);
  assert.deepEqual([keys.length, new Set(keys).size, keys[0]?.length], [3, 1, 32]);
});

test('a write that is refused is shown no longer, and its caller is told', async () => {
  await opened();
  const refused = new Error('too long');
  const written = list.write(item('mine'), () => Promise.reject(refused));
  await assert.rejects(written, refused);
  assert.deepEqual(texts(), []);
  assert.equal(list.getSnapshot().status, 'live');
});

test('what was removed before its answer came is not shown', async () => {
  const served = await opened();
  let answer: (_: Item) => void = () => {};
  const written = list.write(item('mine'), () => new Promise((resolve) => (answer = resolve)));
  served.next(changed({ put: item('m1', 'mine') }));
  served.next(changed({ remove: 'm1' }));
  served.next(changed({ put: item('then') }));
  await until('it came', () => texts().includes('then'));
  answer(item('m1', 'mine'));
  await written;
  assert.deepEqual(texts(), ['then']);
});

test('two writes that look alike: each answer is for its own, whichever event comes first', async () => {
  const served = await opened();
  const counts: number[] = [];
  for (const order of ['answers', 'own events', 'events crosswise', 'one event'] as const) {
    const answers: ((_: Item) => void)[] = [];
    const [first, second] = [item(`${order} 1`, order), item(`${order} 2`, order)];
    const write = () => list.write(item('', order), () => new Promise((resolve) => answers.push(resolve)));
    const written = [write(), write()];
    await until('both are sent', () => answers[1]);
    const stop = list.subscribe(() => counts.push(texts().filter((text) => text === order).length));
    const events =
      order === 'answers'
        ? []
        : order === 'own events'
          ? [first, second]
          : order === 'one event'
            ? [second]
            : [second, first];
    events.forEach((each) => served.next(changed({ put: each })));
    await until('they came', () => list.getSnapshot().sending.size === 2 - events.length);
    answers[0]?.(first);
    await written[0];
    answers[1]?.(second);
    await written[1];
    stop();
    assert.deepEqual(new Set(counts), new Set([2]), `${order}: ${counts}`);
  }
});

test('an answer that is lost, and a list that has what was written: it shows once', async () => {
  const served = await opened();
  let answer: (_: Item) => void = () => {};
  const written = list.write(item('', 'mine'), () => new Promise((resolve) => (answer = resolve)));
  read = async () => ({ items: [item('m1', 'mine'), item('a')] });
  served.next({ data: null, errors: [{ message: '', extensions: { code: 'SUBSCRIPTION_INTERRUPTED' } }] });
  await until('it is read', () => texts().includes('a'));
  assert.deepEqual(texts(), ['mine', 'a']);
  answer(item('m1', 'mine'));
  await written;
  assert.deepEqual(texts(), ['mine', 'a']);
});

test('what was written while the list is read stays, though that list is older', async () => {
  await opened();
  let answer: (_: { items: Item[] }) => void = () => {};
  read = () => new Promise((resolve) => (answer = resolve));
  list.refresh();
  await list.write(item('', 'mine'), async () => item('m1', 'mine'));
  answer({ items: [item('a')] });
  await until('it is read', () => texts().includes('a'));
  assert.deepEqual(texts(), ['mine', 'a']);
});

test('an older page brings back nothing that was removed, and no old text', async () => {
  const served = await opened();
  served.next(changed({ remove: 'removed' }));
  served.next(changed({ replace: item('edited', 'new text') }));
  served.next(changed({ put: item('then') }));
  await until('it came', () => texts().includes('then'));
  list.add([item('removed'), item('edited', 'old text'), item('older')]);
  assert.deepEqual(texts(), ['then', 'new text', 'older']);
});

test('an older page that comes while the list is read stays, with what happens to it', async () => {
  const served = await opened();
  let answer: (_: { items: Item[] }) => void = () => {};
  read = () => new Promise((resolve) => (answer = resolve));
  list.refresh();
  list.add([item('older'), item('edited'), item('removed')]);
  served.next(changed({ replace: item('edited', 'new text') }));
  served.next(changed({ remove: 'removed' }));
  await until('it came', () => !texts().includes('removed'));
  answer({ items: [item('a')] });
  await until('it is read', () => texts().includes('a'));
  assert.deepEqual(texts(), ['a', 'older', 'new text']);
});

test('writes have a limit', async () => {
  await opened();
  const never = () => new Promise<Item>(() => {});
  for (let number = 0; number < 100; number++) void list.write(item(`${number}`), never);
  await assert.rejects(list.write(item('one more'), never), TooManyWrites);
  assert.equal(texts().length, 100);
});
