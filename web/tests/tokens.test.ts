// The documentation's code about tokens, as it is written there.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { Graph } from './support/graph';
import { startStack } from './support/stack';

const DOCS = join(import.meta.dirname, '../../docs');
const EXAMPLES = join(import.meta.dirname, '../../examples');
const TIME_LIMIT_MS = 60_000;
const TOKEN_SECONDS = 10;
const own = { skip: process.env.BASE_URL !== undefined && 'a stack that others started' };

/** The code with another time. */
function inTime(code: string, written: string, time: string): string {
  assert.ok(code.includes(written), code);
  return code.replaceAll(written, time);
}

/** The code of a page's section, block by block. */
async function codeOf(page: string, section: string): Promise<string[]> {
  const text = (await readFile(join(DOCS, page), 'utf8'))
    .split('\n## ')
    .find((each) => each.startsWith(section));
  return [...(text ?? '').matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code ?? '');
}

test('a socket as in docs/clients.md outlives its tokens', own, async () => {
  const stack = await startStack({ ISSUER_TOKEN_LIFETIME: `${TOKEN_SECONDS}s`, JWT_LEEWAY: '0s' }, [
    '--no-web',
  ]);
  // Below this folder, so that it finds the packages.
  const file = join(import.meta.dirname, `tokens-${process.pid}.mjs`);
  try {
    const graph = new Graph(stack.url);
    const post = await graph.createPost('For a socket');
    const [token, socket] = await codeOf('clients.md', 'Tokens');
    assert.ok(token && socket);
    const issuer = (await stack.setting('gateway', 'JWT_ISSUER')) ?? assert.fail('no issuer');
    const program = [
      "import { createClient } from 'graphql-ws';",
      // A shorter life, in the same proportions.
      inTime(token, '120_000', '5_000').replace('http://127.0.0.1:4003', issuer),
      inTime(socket, '60_000', '500').replace('127.0.0.1:4000', new URL(stack.url).host),
      "client.on('message', ({ type, payload }) => type === 'pong' && console.log(JSON.stringify(payload ?? {})));",
      "client.on('connected', () => console.log('connected'));",
      `const query = 'subscription { commentAdded(postId: ${JSON.stringify(post)}) { text } }';`,
      'for await (const { data, errors } of client.iterate({ query })) console.log(errors ?? data.commentAdded.text);',
    ];
    await writeFile(file, program.join('\n'));
    const child = spawn(process.execPath, ['--no-warnings', '--experimental-websocket', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      let printed = '';
      child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
      const began = Date.now();
      const lines = () => printed.split('\n');
      for (let number = 0; ; number++) {
        assert.ok(Date.now() - began < TIME_LIMIT_MS, printed);
        assert.equal(child.exitCode, null, printed);
        await graph.createComment(post, `Number ${number}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
        const isLong = Date.now() - began > 2.2 * TOKEN_SECONDS * 1_000;
        if (isLong && printed.includes('"renewed":true') && printed.includes(`Number ${number}`)) break;
      }
      assert.equal(lines().filter((line) => line === 'connected').length, 1, printed);
      const numbers = lines()
        .map((line) => /^Number (\d+)$/.exec(line)?.[1])
        .filter((number) => number !== undefined)
        .map(Number);
      const first = numbers[0] ?? 0;
      assert.deepEqual(
        numbers,
        numbers.map((_, index) => first + index),
      );
    } finally {
      child.kill();
    }
  } finally {
    await rm(file, { force: true });
    await stack.stop();
  }
});

test('each client of docs/clients.md sends its token with queries', own, async () => {
  const stack = await startStack({}, ['--no-web']);
  const [token, , apollo, urql, relay] = await codeOf('clients.md', 'Tokens');
  assert.ok(token && apollo && urql && relay);
  const issuer = (await stack.setting('gateway', 'JWT_ISSUER')) ?? assert.fail('no issuer');
  const query = '{ viewer { id name } }';
  const clients = {
    apollo: [
      "import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client';",
      apollo,
      'const client = new ApolloClient({ link: http, cache: new InMemoryCache() });',
      'const { data } = await client.query({ query: gql(query) });',
    ],
    urql: [
      "import { Client, fetchExchange } from '@urql/core';",
      urql,
      'const client = new Client({ url, preferGetMethod: false, exchanges: [authorized, fetchExchange] });',
      'const { data } = await client.query(query, {}).toPromise();',
    ],
    relay: [
      "import relay from 'relay-runtime';",
      relay,
      'const network = relay.Network.create(fetchQuery);',
      "const parameters = { name: 'Viewer', operationKind: 'query', text: query };",
      'const { data } = await network.execute(parameters, {}, { force: true }).toPromise();',
    ],
  };
  try {
    for (const [client, code] of Object.entries(clients)) {
      // Where the packages of all clients are.
      const file = join(EXAMPLES, `tokens-${process.pid}-${client}.mjs`);
      const program = [
        token.replace('http://127.0.0.1:4003', issuer),
        `const url = ${JSON.stringify(new URL('/graphql', stack.url).href)};`,
        `const query = ${JSON.stringify(query)};`,
        ...code,
        'console.log(JSON.stringify(data));',
      ];
      try {
        await writeFile(file, program.join('\n'));
        const options = { timeout: TIME_LIMIT_MS };
        const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', file], options);
        const { viewer } = JSON.parse(stdout) as { viewer: Record<string, unknown> | null };
        assert.deepEqual([viewer?.id, viewer?.name], ['dev:ada', 'Ada'], `${client}: ${stdout}`);
      } finally {
        await rm(file, { force: true });
      }
    }
  } finally {
    await stack.stop();
  }
});

test('the set and the token of docs/identity-providers.md fit', own, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rejoinder-keys-'));
  try {
    const [program] = await codeOf('identity-providers.md', 'A file with keys');
    await writeFile(join(folder, 'keys.mjs'), program ?? '');
    const { stdout } = await promisify(execFile)(process.execPath, ['keys.mjs'], { cwd: folder });
    const settings = { JWT_JWKS: join(folder, 'jwks.json'), JWT_ISSUER: 'https://shop.example/' };
    const stack = await startStack({ ...settings, SUBGRAPH_CLAIMS: 'sub, name, scope' }, ['--no-web']);
    try {
      for (const [token, status] of [
        [stdout.trim(), 200],
        [`${stdout.trim().slice(0, -4)}AAAA`, 401],
      ] as const) {
        const response = await fetch(new URL('/graphql', stack.url), {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
          body: JSON.stringify({ query: '{ posts(first: 1) { edges { node { id } } } }' }),
        });
        assert.equal(response.status, status, await response.text());
      }
    } finally {
      await stack.stop();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
