// The protocols, as their own clients and their own audit see them.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import {
  type ASTNode,
  buildASTSchema,
  buildClientSchema,
  getIntrospectionQuery,
  type IntrospectionQuery,
  parse,
  printSchema,
  visit,
} from 'graphql';
import { auditServer } from 'graphql-http';
import { createClient as createSseClient } from 'graphql-sse';
import { type Client, CloseCode, createClient as createWsClient } from 'graphql-ws';
import WebSocket, { type CloseEvent } from 'ws';

import { Graph } from './support/graph';
import { Proxy } from './support/proxy';
import { type Stack, startStack } from './support/stack';

const AUDITS = 61;
const GREETING = '{ __typename }';
const UNKNOWN = 'subscription { nothing }';
const CHANGES = `subscription ($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) {
    ... on CommentAdded { cursor comment { text } }
  }
}`;

interface Change {
  commentChanges: { cursor: string; comment: { text: string } };
}

let stack: Stack;
let graph: Graph;
let url: string;

before(async () => {
  // Read by the stack's gateway: a client without `connection_init` is told so soon, one header is
  // forwarded, and documents are known by their hashes.
  process.env.WS_INIT_TIMEOUT = '10s';
  process.env.FORWARD_HEADERS = 'authorization';
  process.env.AUTOMATIC_PERSISTED_QUERIES = 'true';
  stack = await startStack({ SUBGRAPH_SECRET: '' });
  graph = new Graph(stack.url);
  url = new URL('graphql', stack.url).href;
});

after(() => stack?.stop());

/** A post, and the variables that follow its comments from its beginning on. */
async function followed(title: string): Promise<{ postId: string; after: string }> {
  const postId = await graph.createPost(title);
  const query = 'query ($id: ID!) { post(id: $id) { commentChangesCursor } }';
  const { post } = await graph.run<{ post: { commentChangesCursor: string } }>(query, { id: postId });
  return { postId, after: post.commentChangesCursor };
}

async function audit(url: string) {
  const results = await auditServer({ url });
  const failed = results.filter(({ status }) => status !== 'ok');
  assert.deepEqual(
    failed.map(({ id, name, status }) => ({ id, name, status })),
    [],
  );
  assert.equal(results.length, AUDITS);
}

test('the audit of GraphQL over HTTP finds nothing', () => audit(url));

for (const service of ['posts', 'comments'] as const)
  test(`the audit of GraphQL over HTTP finds nothing at ${service}`, async (context) => {
    const address = await stack.subgraph(service);
    if (address === undefined) return context.skip('a stack that others started');
    await audit(address);
  });

test('introspection gives a client the whole schema, and nothing of the federation', async () => {
  const isMachinery = (node: ASTNode) =>
    'name' in node && /^((join|link)(__|$)|(cost|listSize|tag)$)/.test(node.name?.value ?? '');
  const supergraph = parse(
    await readFile(join(import.meta.dirname, '../../schema/supergraph.graphql'), 'utf8'),
  );
  const api = visit(supergraph, { enter: (node) => (isMachinery(node) ? null : undefined) });
  for (const oneOf of [true, false]) {
    const query = getIntrospectionQuery({
      descriptions: true,
      directiveIsRepeatable: true,
      inputValueDeprecation: true,
      oneOf,
      schemaDescription: true,
      specifiedByUrl: true,
    });
    const introspection = await graph.run<IntrospectionQuery>(query);
    assert.equal(printSchema(buildClientSchema(introspection)), printSchema(buildASTSchema(api)));
  }
});

describe('graphql-ws', () => {
  function client(options: Partial<Parameters<typeof createWsClient>[0]> = {}): Client {
    return createWsClient({
      url: url.replace(/^http/, 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      ...options,
    });
  }

  function closed(of: Client): Promise<CloseEvent> {
    return new Promise((resolve) => of.on('closed', (event) => resolve(event as CloseEvent)));
  }

  test('queries, errors and subscriptions', async () => {
    const ws = client();
    for await (const { data } of ws.iterate({ query: GREETING }))
      assert.deepEqual(data, { __typename: 'Query' });
    await assert.rejects(
      ws.iterate({ query: UNKNOWN }).next(),
      (errors: { extensions: { code: string } }[]) => {
        return errors[0]?.extensions.code === 'GRAPHQL_VALIDATION_FAILED';
      },
    );
    const variables = await followed('By graphql-ws');
    const changes = ws.iterate<Change>({ query: CHANGES, variables });
    await graph.createComment(variables.postId, 'one');
    const { value } = await changes.next();
    assert.equal(value?.data?.commentChanges.comment.text, 'one');
    await ws.dispose();
  });

  test('a client that never says who it is sees 4408', async () => {
    const ws = client({
      lazy: false,
      onNonLazyError: () => {},
      connectionParams: () => new Promise(() => {}),
    });
    assert.equal((await closed(ws)).code, CloseCode.ConnectionInitialisationTimeout);
    await ws.dispose();
  });

  test('a client with a header that cannot be one sees 4403', async () => {
    const ws = client({ lazy: false, onNonLazyError: () => {}, connectionParams: { authorization: 'a\nb' } });
    const { code, reason } = await closed(ws);
    assert.equal(code, CloseCode.Forbidden);
    assert.match(reason, /^Forbidden: /);
    await ws.dispose();
  });

  test('at a restart a client sees 1012, comes back, and misses nothing', async (context) => {
    const variables = await followed('Through a restart');
    const ws = client({ retryAttempts: Infinity, shouldRetry: () => true });
    const changes = ws.iterate<Change>({ query: CHANGES, variables });
    await graph.createComment(variables.postId, 'before');
    const { value } = await changes.next();
    assert.equal(value?.data?.commentChanges.comment.text, 'before');
    variables.after = value?.data?.commentChanges.cursor ?? assert.fail('no cursor');

    const close = closed(ws);
    if (!(await stack.kill('gateway', 'SIGTERM'))) return context.skip('not our own stack');
    assert.equal((await close).code, 1012);
    // Until the gateway has read its supergraph, it refuses: then another try is due.
    const nextOf = (from: typeof changes): ReturnType<typeof changes.next> =>
      from.next().catch(async (errors: { extensions?: { code: string } }[]) => {
        assert.equal(errors[0]?.extensions?.code, 'SUPERGRAPH_UNAVAILABLE');
        await new Promise((resolve) => setTimeout(resolve, 50));
        return nextOf(ws.iterate<Change>({ query: CHANGES, variables }));
      });
    const next = nextOf(changes);
    await graph.createCommentWhenItIsBack(variables.postId, 'after');
    assert.equal((await next).value?.data?.commentChanges.comment.text, 'after');
    await ws.dispose();
  });
});

describe('graphql-sse', () => {
  test('queries, errors and subscriptions', async () => {
    const sse = createSseClient({ url, retryAttempts: 0 });
    for await (const { data } of sse.iterate({ query: GREETING }))
      assert.deepEqual(data, { __typename: 'Query' });
    for await (const { errors } of sse.iterate({ query: UNKNOWN }))
      assert.equal(errors?.[0]?.extensions?.code, 'GRAPHQL_VALIDATION_FAILED');
    const variables = await followed('By graphql-sse');
    const changes = sse.iterate<Change>({ query: CHANGES, variables });
    await graph.createComment(variables.postId, 'one');
    const { value } = await changes.next();
    assert.equal(value?.data?.commentChanges.comment.text, 'one');
    sse.dispose();
  });

  test('a lost connection is followed by the variables of then, and nothing is missed', async (context) => {
    const proxy = await Proxy.start(stack.url);
    context.after(() => proxy.stop());
    const sse = createSseClient({
      url: new URL('graphql', proxy.url).href,
      retryAttempts: Infinity,
      retry: () => new Promise((resolve) => setTimeout(resolve, 50)),
    });
    const variables = await followed('By graphql-sse, twice');
    const changes = sse.iterate<Change>({ query: CHANGES, variables });
    await graph.createComment(variables.postId, 'before');
    const { value } = await changes.next();
    assert.equal(value?.data?.commentChanges.comment.text, 'before');
    variables.after = value?.data?.commentChanges.cursor ?? assert.fail('no cursor');
    const next = changes.next();
    proxy.cut();
    await graph.createComment(variables.postId, 'during the cut');
    proxy.restore();
    assert.equal((await next).value?.data?.commentChanges.comment.text, 'during the cut');
    sse.dispose();
  });
});

describe('Apollo Client', () => {
  test('automatic persisted queries, by hash and by GET', async () => {
    const requests: string[] = [];
    const fetched: typeof fetch = (input, init) => {
      requests.push(
        `${init?.method ?? 'GET'} ${String(input).includes('query=') ? 'with' : 'without'} document`,
      );
      return fetch(input, init);
    };
    const sha256 = (document: string) => createHash('sha256').update(document).digest('hex');
    const link = new PersistedQueryLink({ sha256, useGETForHashedQueries: true });
    const client = new ApolloClient({
      link: link.concat(new HttpLink({ uri: url, fetch: fetched })),
      cache: new InMemoryCache(),
    });
    const query = gql('query Persisted { __typename }');
    for (let round = 0; round < 2; round++) {
      const { data } = await client.query({ query, fetchPolicy: 'network-only' });
      assert.deepEqual(data, { __typename: 'Query' });
    }
    assert.deepEqual(requests, ['GET without document', 'POST without document', 'GET without document']);
    client.stop();
  });

  test('errors and subscriptions by multipart', async () => {
    const client = new ApolloClient({ link: new HttpLink({ uri: url }), cache: new InMemoryCache() });
    const first = (query: string, variables = {}) =>
      new Promise<{ data?: unknown; error?: { message: string } }>((resolve, reject) => {
        const subscription = client.subscribe({ query: gql(query), variables }).subscribe({
          next(result) {
            resolve(result);
            queueMicrotask(() => subscription.unsubscribe());
          },
          error: reject,
        });
      });
    const refused = await first(UNKNOWN);
    assert.match(refused.error?.message ?? '', /nothing/);
    const variables = await followed('By multipart');
    const change = first(CHANGES, variables);
    await graph.createComment(variables.postId, 'one');
    assert.equal(((await change).data as Change).commentChanges.comment.text, 'one');
    client.stop();
  });
});
