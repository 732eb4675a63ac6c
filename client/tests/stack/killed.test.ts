// Every adapter against the real stack, whose gateway and comments service are killed at random while comments are
// written: nothing lost, nothing doubled, nothing out of order.
//
// Over a gateway of another kind: `STACK` names the stack's program.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { ApolloClient, gql, InMemoryCache } from '@apollo/client';
import { Client as UrqlClient } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Graph } from '../../../web/tests/support/graph.js';
import { type Stack, startStack } from '../../../web/tests/support/stack.js';
import { resumingLink } from '../../src/apollo.js';
import { collection } from '../../src/collection.js';
import { graphqlWs } from '../../src/graphqlWs.js';
import { type Options, subscribe, type Transport } from '../../src/index.js';
import { eventSource, fetchEvents } from '../../src/sse.js';
import { resumingExchange } from '../../src/urql.js';
import { until } from '../support/reader.js';

/** Of writing; the kills fall into it. */
const WRITES_FOR_MS = 20_000;
const KILLS = 5;
/** The times of the kills, and what is killed. */
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const OPTIONS: Options = { longestRetryMs: 2_000 };

const CHANGES = `subscription ($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) { ... on CommentAdded { cursor comment { id text } } }
}`;
const NO_CURSOR = `subscription ($postId: ID!) {
  commentChanges(postId: $postId) { ... on CommentAdded { comment { id text } } }
}`;
const WRITE = `mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id text } } }`;
const READ = `query ($id: ID!) {
  post(id: $id) { commentChangesCursor comments(first: 100) { edges { node { id text } } } }
}`;

interface Comment {
  id: string;
  text: string;
}
interface Changes {
  commentChanges?: { comment?: Comment } | null;
}

let stack: Stack;
let graph: Graph;
let url: string;
const stops: (() => unknown)[] = [];

before(async () => {
  stack = await startStack();
  graph = new Graph(stack.url);
  url = new URL('graphql', stack.url).href;
});

after(async () => {
  for (const stop of stops) await stop();
  await stack?.stop();
});

function overSocket(): Transport {
  const client = createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: () => sleep(100 + Math.random() * 400),
  });
  stops.push(() => client.dispose());
  return graphqlWs(client);
}

/** Follows a post's comments after a cursor; tells the texts of those that are added. */
type Follow = (postId: string, after: string, told: (text: string | undefined) => void) => void;

function bare(transport: Transport): Follow {
  return (postId, after, told) => {
    const failed = (why: unknown) => told(`failed: ${String(why)}`);
    stops.push(
      subscribe<Changes>(
        transport,
        { query: CHANGES, variables: { postId, after } },
        {
          next: ({ data }) => told(data?.commentChanges?.comment?.text),
          gap: () => told('gap'),
          error: failed,
          complete: () => failed('complete'),
        },
        OPTIONS,
      ),
    );
  };
}

const adapters: Record<string, Follow> = {
  'graphql-ws': (...all) => bare(overSocket())(...all),
  EventSource: (...all) => bare(eventSource(url))(...all),
  fetch: (...all) => bare(fetchEvents(url))(...all),
  'Apollo Client': (postId, after, told) => {
    const client = new ApolloClient({
      link: resumingLink(overSocket(), OPTIONS),
      cache: new InMemoryCache(),
    });
    const subscription = client
      .subscribe<Changes>({ query: gql(CHANGES), variables: { postId, after } })
      .subscribe({
        next: ({ data, error }) =>
          told(error ? `failed: ${String(error)}` : data?.commentChanges?.comment?.text),
        complete: () => told('failed: complete'),
      });
    stops.push(() => {
      subscription.unsubscribe();
      client.stop();
    });
  },
  urql: (postId, after, told) => {
    const exchanges = [resumingExchange(fetchEvents(url), OPTIONS)];
    const client = new UrqlClient({ url, preferGetMethod: false, exchanges });
    const { unsubscribe } = client
      .subscription<Changes>(CHANGES, { postId, after })
      .subscribe(({ data, error }) =>
        told(error ? `failed: ${String(error)}` : data?.commentChanges?.comment?.text),
      );
    stops.push(unsubscribe);
  },
};

/** Writes comments, each until it is written, for a time; gives their texts. */
async function write(postId: string, isOver: () => boolean): Promise<string[]> {
  const texts: string[] = [];
  while (!isOver()) {
    const text = `Number ${texts.length}`;
    texts.push(text);
    const input = { postId, text, author: 'Elsewhere', idempotencyKey: text };
    await patiently(() => graph.run(WRITE, { input }));
    await sleep(20);
  }
  return texts;
}

async function patiently<Result>(run: () => Promise<Result>): Promise<Result> {
  for (const deadline = Date.now() + 60_000; ; await sleep(100)) {
    try {
      return await run();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Numbers from 0 to 1 that are the same for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('every adapter through kills of the gateway and of comments', async (context) => {
  context.diagnostic(`SEED=${SEED}`);
  const postId = await graph.createPost('Killed at random');
  const start = await graph.run<{ post: { commentChangesCursor: string } }>(READ, { id: postId });
  const after = start.post.commentChangesCursor;
  const told = new Map<string, string[]>();
  for (const [name, follow] of Object.entries(adapters)) {
    const texts: string[] = [];
    told.set(name, texts);
    follow(postId, after, (text) => {
      if (text !== undefined) texts.push(text);
    });
  }
  // Two lists: one has a cursor that was read with it, the other must read again whenever it stands.
  const lists = [CHANGES, NO_CURSOR].map((query) =>
    collection<Comment, Changes>({
      follow: (listener, after) =>
        subscribe(overSocket(), { query, variables: { postId } }, listener, { ...OPTIONS, after }),
      read: async () => {
        const { post } = await graph.run<{
          post: { commentChangesCursor: string; comments: { edges: { node: Comment }[] } };
        }>(READ, { id: postId });
        return { items: post.comments.edges.map(({ node }) => node), cursor: post.commentChangesCursor };
      },
      changeOf: ({ commentChanges }) =>
        commentChanges?.comment ? { put: commentChanges.comment } : undefined,
      itemsMax: 100,
    }),
  );
  lists.forEach((list) => stops.push(list.subscribe(() => {})));

  let isOver = false;
  const writing = write(postId, () => isOver);
  const next = random(SEED);
  const began = Date.now();
  const times = Array.from({ length: KILLS }, () => next() * WRITES_FOR_MS).sort((one, other) => one - other);
  for (const time of times) {
    await sleep(Math.max(0, began + time - Date.now()));
    const service = next() < 0.5 ? 'gateway' : 'comments';
    // It may be starting again.
    await patiently(() => stack.kill(service));
    context.diagnostic(`${service} was killed after ${Math.round((Date.now() - began) / 1_000)} s`);
  }
  await sleep(Math.max(0, began + WRITES_FOR_MS - Date.now()));
  isOver = true;
  const written = await writing;
  // The last one is told when all are.
  const last = 'The last one';
  await patiently(() =>
    graph.run(WRITE, { input: { postId, text: last, author: 'Elsewhere', idempotencyKey: last } }),
  );
  written.push(last);
  for (const [name, texts] of told) {
    await until(`${name} has the last one`, () => texts.includes(last));
    assert.deepEqual(texts, written, name);
  }
  for (const list of lists) {
    const texts = () => list.getSnapshot().items.map(({ text }) => text);
    await until('the list has all', () => texts().includes(last));
    assert.deepEqual(texts(), written.slice(-100).reverse());
  }
  context.diagnostic(`${written.length} comments, ${told.size} adapters: 0 lost, 0 doubled, 0 out of order`);
});
