// A subgraph that keeps the contract of docs/resumable-subscriptions.md over WebSockets, with its log in memory.
//
//   node node-subgraph/server.js            # http://127.0.0.1:4010/graphql; or PORT=…

import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { buildSchema, execute, GraphQLError, parse, validate } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

const schema = buildSchema(`
  type Query { notes: [String!]! }
  type Mutation { addNote(text: String!): Boolean! }
  type Subscription { noteAdded: Note! }
  type Note { text: String! }`);
const log = []; // The note at place 0 has the cursor n1; n0 is the cursor before it.
const waiting = new Set();
const rootValue = {
  notes: () => log,
  addNote({ text }) {
    log.push(text);
    for (const wake of waiting) wake();
    return true;
  },
};

/** What the client asks for, with the place to begin at; an old client asks for nothing. */
function asked(delivery) {
  if (delivery === undefined || delivery === null) return { at: log.length };
  const { version, guarantee, after } = { guarantee: 'AT_LEAST_ONCE', ...delivery };
  const at = after === undefined || after === null ? log.length : Number(/^n(\d{1,9})$/.exec(after)?.[1]);
  const isVersion = Number.isInteger(version) && version >= 1 && version < 2 ** 31;
  const isGuarantee = ['AT_LEAST_ONCE', 'BEST_EFFORT'].includes(guarantee);
  if (isVersion && isGuarantee && at <= log.length) return { at, guarantee };
  throw new GraphQLError('`delivery` is malformed', { extensions: { code: 'BAD_USER_INPUT' } });
}

/** The first frame, for a client that asked for it; then each event, with its cursor. */
function subscribe({ contextValue: { at, guarantee }, ...operation }) {
  let [isFirst, isOver, wake] = [guarantee !== undefined, false, () => {}];
  const withCursor = (response, more) => ({ ...response, extensions: { ...more, cursor: `n${at}` } });
  return {
    async next() {
      const delivery = { version: 1, asked: guarantee, kept: 'AT_LEAST_ONCE' };
      if (isFirst && !(isFirst = false)) return { value: withCursor({ data: null }, { delivery }) };
      while (at >= log.length && !isOver) await new Promise((resolve) => waiting.add((wake = resolve)));
      waiting.delete(wake);
      if (isOver) return { done: true };
      const event = await execute({ ...operation, rootValue: { noteAdded: { text: log[at++] } } });
      return { value: guarantee ? withCursor(event) : event };
    },
    async return() {
      isOver = true;
      wake();
      return { done: true };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The arguments of graphql-js, or errors. */
function prepare({ query, variables: variableValues, operationName, extensions }) {
  try {
    const document = parse(query);
    const errors = validate(schema, document);
    if (errors.length > 0) return errors;
    const isLive = document.definitions.some(({ operation }) => operation === 'subscription');
    const contextValue = isLive ? asked(extensions?.delivery) : {};
    return { schema, document, variableValues, operationName, rootValue, contextValue };
  } catch (error) {
    return [error];
  }
}

const server = createServer(async (request, response) => {
  const args = prepare(await json(request).catch(() => ({})));
  const result = Array.isArray(args) ? { errors: args } : await execute(args);
  response.setHeader('content-type', 'application/json').end(JSON.stringify(result));
});
const onSubscribe = (_context, _id, payload) => prepare(payload);
useServer({ onSubscribe, subscribe, execute }, new WebSocketServer({ server, path: '/graphql' }));
const port = Number(process.env.PORT ?? 4010);
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/graphql`));
