// Checks a server of subscriptions against docs/resumable-subscriptions.md.
//
//   node conformance/conformance.js URL --subscription '…' --write '…' [--transports ws,sse,multipart]
//     [--write-url URL] [--header 'name: value']… [--patience SECONDS]
//
// The subscription's field has AT_LEAST_ONCE. The write is a mutation that makes exactly one event of it; `{n}` in it
// becomes another number each time, and the event should contain it. Prints a line for each rule, and exits with 1 if
// one is broken.

import { parseArgs } from 'node:util';

import { TRANSPORTS } from './transports.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    subscription: { type: 'string' },
    write: { type: 'string' },
    'write-url': { type: 'string' },
    transports: { type: 'string', default: 'ws,sse,multipart' },
    header: { type: 'string', multiple: true, default: [] },
    patience: { type: 'string', default: '10' },
  },
});
const [url] = positionals;
const { subscription: query, write } = values;
if (!url || !query || !write) {
  console.error("usage: node conformance.js URL --subscription '…' --write '…'");
  process.exit(2);
}
const patienceMs = Number(values.patience) * 1_000;
const headers = Object.fromEntries(values.header.map((header) => header.split(/:\s*/, 2)));

class Broken extends Error {}

function must(condition, message, seen) {
  if (!condition)
    throw new Broken(seen === undefined ? message : `${message}: ${JSON.stringify(seen)?.slice(0, 300)}`);
}

async function post(address, request) {
  const init = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' } };
  const answer = await fetch(address, { ...init, body: JSON.stringify(request) });
  return answer.json();
}

let writes = Date.now() % 1_000_000;

async function writeOne() {
  const answer = await post(values['write-url'] ?? url, { query: write.replaceAll('{n}', String(++writes)) });
  if (answer.errors) throw new Error(`the write failed: ${JSON.stringify(answer.errors)}`);
  return writes;
}

/** Returns the numbers of what was written. */
async function writeSome(count) {
  const numbers = [];
  for (let number = 0; number < count; number++) numbers.push(await writeOne());
  return numbers;
}

const open = [];

/** Subscribes; `delivery` is left out for an old client. */
function subscribe(transport, delivery, more = {}) {
  const request = { query, ...(delivery === undefined ? {} : { extensions: { delivery } }) };
  const subscription = TRANSPORTS[transport](url, request, { ...headers, ...more });
  open.push(subscription);
  return subscription;
}

const code = (message) => message?.errors?.[0]?.extensions?.code;
const cursorOf = (message) => message?.extensions?.cursor;
const isFrame = (message) =>
  message?.data === null && !message.errors && message.extensions?.delivery !== undefined;
const isStatus = (message) => isFrame(message) && message.extensions.delivery.kept === undefined;
/** What identifies an event for every subscriber. */
const identity = (message) => JSON.stringify(message.data);

function checkFrame(message) {
  must(isFrame(message), 'the first message is not the first frame', message);
  const { version, asked, kept } = message.extensions.delivery;
  must(version === 1, '`version` is not 1', message);
  must(['AT_LEAST_ONCE', 'BEST_EFFORT'].includes(asked), '`asked` is not what was asked', message);
  must(kept === 'AT_LEAST_ONCE', '`kept` is not AT_LEAST_ONCE', message);
}

function checkEvent(message, transport) {
  must(message?.data && !message.errors, 'not an event', message);
  const cursor = cursorOf(message);
  must(
    typeof cursor === 'string' && /^[\x21-\x7e]{1,4096}$/.test(cursor),
    'no cursor in `extensions`',
    message,
  );
  if (transport === 'sse') must(message.id === cursor, 'the SSE `id` is not the cursor', message);
  for (const field of Object.values(message.data)) {
    if (field && 'cursor' in field)
      must(field.cursor === cursor, 'the field `cursor` has another value', message);
  }
}

/** A subscription that stands, with its first frame checked. */
async function standing(transport, delivery = {}, more = {}) {
  const subscription = subscribe(transport, { version: 1, ...delivery }, more);
  must(await subscription.until(1, patienceMs), 'no first frame came', 'nothing');
  checkFrame(subscription.messages[0]);
  return subscription;
}

/** So many events after the first frame. */
async function eventsOf(subscription, count, transport) {
  must(await subscription.until(count + 1, patienceMs), `${count} events were due`, subscription.messages);
  const events = subscription.messages.slice(1);
  for (const event of events) checkEvent(event, transport);
  return events;
}

function same(events, expected, message) {
  const [seen, due] = [events, expected].map((list) => list.map(identity));
  must(JSON.stringify(seen) === JSON.stringify(due), message, { seen, due });
}

async function refused(subscription) {
  must(await subscription.until(1, patienceMs), 'nothing came', 'nothing');
  const codes = subscription.messages.map(code);
  must(codes[0] !== undefined, 'it was not refused', subscription.messages[0]);
  return codes[0];
}

const rules = {
  'the first frame comes before any event, with a cursor': async (transport) => {
    const subscription = await standing(transport);
    const [frame] = subscription.messages;
    must(cursorOf(frame), 'no cursor', frame);
    if (transport === 'sse') must(frame.id === cursorOf(frame), 'the SSE `id` is not the cursor', frame);
  },
  'what is written after the first frame arrives, in order': async (transport) => {
    const [one, other] = [
      await standing(transport),
      await standing(transport, { guarantee: 'AT_LEAST_ONCE' }),
    ];
    const numbers = await writeSome(3);
    const events = await eventsOf(one, 3, transport);
    same(events, await eventsOf(other, 3, transport), 'two subscribers differ');
    const isInOrder = events.every((event, index) => identity(event).includes(String(numbers[index])));
    must(isInOrder || !write.includes('{n}'), 'another order than that of the writes', events);
    must(
      new Set(one.messages.map(cursorOf)).size === 4,
      'cursors are not distinct',
      one.messages.map(cursorOf),
    );
  },
  'nothing is missing after the first frame’s cursor, while others write': async (transport) => {
    const reference = await standing(transport);
    const writing = writeSome(20);
    const late = await standing(transport);
    await writing;
    const all = await eventsOf(reference, 20, transport);
    const cursors = reference.messages.map(cursorOf);
    const from = cursors.indexOf(cursorOf(late.messages[0]));
    must(from >= 0, 'its cursor is not that of an event or of a first frame', late.messages[0]);
    same(await eventsOf(late, 20 - from, transport), all.slice(from), 'the events after the cursor differ');
  },
  '`after` excludes, and gives the rest in order': async (transport) => {
    const first = await standing(transport);
    await writeSome(4);
    const events = await eventsOf(first, 4, transport);
    for (const [begin, message] of first.messages.entries()) {
      const again = await standing(transport, { after: cursorOf(message) });
      same(await eventsOf(again, 4 - begin, transport), events.slice(begin), `after number ${begin}`);
    }
  },
  'after a cut, nothing is missing and nothing comes twice': async (transport) => {
    const whole = await standing(transport);
    const got = [];
    let after;
    for (let round = 0; round < 3; round++) {
      const part = await standing(transport, { after });
      await writeSome(2);
      const events = await eventsOf(part, round === 0 ? 2 : 4, transport);
      got.push(...events);
      after = cursorOf(events.at(-1));
      part.cut();
      await writeSome(2);
    }
    const last = await standing(transport, { after });
    got.push(...(await eventsOf(last, 2, transport)));
    same(got, await eventsOf(whole, 12, transport), 'what was put together differs from what came');
  },
  'an old client gets events as before: no first frame, no cursor': async (transport) => {
    const [old, stands] = [subscribe(transport, undefined), await standing(transport)];
    // Nothing says when the old one stands: it is written until it has got an event.
    for (let tries = 0; !(await old.until(1, 500)) && tries < 10; tries++) await writeOne();
    const [event] = old.messages;
    const isPlain = cursorOf(event) === undefined && event?.extensions?.delivery === undefined;
    must(event?.data && isPlain, 'the first message is not a plain event', event);
    must(
      (await stands.until(2, patienceMs)) && stands.messages.map(identity).includes(identity(event)),
      'the events differ',
      event,
    );
  },
  'what is malformed is refused with BAD_USER_INPUT': async (transport) => {
    for (const delivery of [
      true,
      [],
      {},
      { version: 0 },
      { version: 1.5 },
      { version: '1' },
      { version: 1, guarantee: 'EXACTLY_ONCE' },
      { version: 1, after: 7 },
      { version: 1, after: '' },
      { version: 1, after: 'two words' },
      { version: 1, after: 'a\nid: b' },
      { version: 1, after: 'a'.repeat(4_097) },
    ]) {
      const seen = await refused(subscribe(transport, delivery));
      must(seen === 'BAD_USER_INPUT', `another code for ${JSON.stringify(delivery).slice(0, 60)}`, seen);
    }
  },
  'a cursor that is not the server’s own is refused, or said not to be kept': async (transport) => {
    const subscription = subscribe(transport, { version: 1, after: 'Zm9yZ2Vk' });
    must(await subscription.until(1, patienceMs), 'nothing came', 'nothing');
    const [first] = subscription.messages;
    const isSaid = isFrame(first) && first.extensions.delivery.kept === 'BEST_EFFORT';
    must(isSaid || ['BAD_USER_INPUT', 'RESYNC_REQUIRED'].includes(code(first)), 'it was accepted', first);
  },
  'a higher version and unknown members are accepted': async (transport) => {
    await standing(transport, { version: 2147483647, later: { than: ['this'] } });
  },
  '`delivery: null` is the same as none': async (transport) => {
    const [old, stands] = [subscribe(transport, null), await standing(transport)];
    for (let tries = 0; !(await old.until(1, 500)) && tries < 10; tries++) await writeOne();
    must(!isFrame(old.messages[0]), 'a first frame came', old.messages[0]);
    stands.cut();
  },
  'a status is for those alone who ask, and stands in their first frame': async (transport) => {
    const [asks, plain] = [await standing(transport, { status: true }), await standing(transport)];
    const statusOf = ({ messages: [first] }) => first.extensions.delivery.status;
    must(statusOf(plain) === undefined, 'a status was sent to who did not ask', plain.messages[0]);
    // Optional: a server that has no status frames ignores that it is asked.
    const status = statusOf(asks);
    must([undefined, 'LIVE', 'INTERRUPTED'].includes(status), 'another status', asks.messages[0]);
    await standing(transport, { status: false });
    await writeSome(2);
    // Status frames may come in between, by chance.
    const isOver = async () => {
      for (let count = 3; await asks.until(count, patienceMs); count++)
        if (asks.messages.slice(1).filter((message) => !isStatus(message)).length === 2) return true;
      return false;
    };
    must(await isOver(), 'two events were due', asks.messages);
    const rest = asks.messages.slice(1);
    const frames = rest.filter(isStatus);
    must(frames.length === 0 || status !== undefined, 'the first frame had no status, and one came', frames);
    for (const frame of frames) {
      const { version, status } = frame.extensions.delivery;
      must(version === 1 && ['LIVE', 'INTERRUPTED'].includes(status), 'not a status frame', frame);
      must(cursorOf(frame) === undefined && !frame.id, 'a status frame has no position', frame);
    }
    const events = rest.filter((message) => !isStatus(message));
    for (const event of events) checkEvent(event, transport);
    same(events, await eventsOf(plain, 2, transport), 'who asks gets other events');
  },
  'queries ignore `delivery`': async () => {
    const answer = await post(url, { query: '{ __typename }', extensions: { delivery: true } });
    must(answer.data?.__typename, 'no data', answer);
  },
};

const rulesOfEvents = {
  'Last-Event-ID wins over `after`': async (transport) => {
    const first = await standing(transport);
    await writeSome(3);
    const events = await eventsOf(first, 3, transport);
    const [older, newer] = [cursorOf(events[0]), cursorOf(events[1])];
    const again = await standing(transport, { after: older }, { 'last-event-id': newer });
    same(await eventsOf(again, 1, transport), events.slice(2), 'it did not begin after Last-Event-ID');
  },
};

let broken = 0;
for (const transport of values.transports.split(',')) {
  const all = transport === 'sse' ? { ...rules, ...rulesOfEvents } : rules;
  for (const [name, rule] of Object.entries(all)) {
    try {
      await rule(transport);
      console.log(`ok      ${transport.padEnd(9)}  ${name}`);
    } catch (error) {
      broken++;
      console.log(`BROKEN  ${transport.padEnd(9)}  ${name}\n        ${error.message}`);
    }
    for (const subscription of open.splice(0)) subscription.cut();
  }
}
console.log(broken === 0 ? 'the contract is kept' : `${broken} rules are broken`);
process.exit(broken === 0 ? 0 : 1);
