// The contract of ../docs/resumable-subscriptions.md: the script that checks any server, with the servers of this
// repository, and with a server that breaks one rule after the other.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';

import { Graph } from './support/graph';
import { OPEN_TO_ALL, startStack } from './support/stack';

const EXAMPLES = join(import.meta.dirname, '../../examples');
const TARGET = process.env.CARGO_TARGET_DIR ?? join(EXAMPLES, '../target');
const GATEWAY = process.env.GATEWAY_PROGRAM ?? join(TARGET, 'debug/gateway');
const NOTES = {
  subscription: 'subscription { noteAdded { text } }',
  write: 'mutation { addNote(text: "note {n}") }',
};

interface Checked {
  code: number;
  printed: string;
}

interface Operations {
  subscription: string;
  write: string;
}

/** What the script prints about a server, and with which code it exits. */
function check(url: string, { subscription, write }: Operations, ...more: string[]): Promise<Checked> {
  const args = ['conformance/conformance.js', url, '--subscription', subscription, '--write', write, ...more];
  return new Promise((resolve) => {
    const ended = execFile(process.execPath, args, { cwd: EXAMPLES }, (_error, printed, errors) =>
      resolve({ code: ended.exitCode ?? -1, printed: printed + errors }),
    );
  });
}

async function keeps(url: string, operations: Operations, ...more: string[]): Promise<void> {
  const { code, printed } = await check(url, operations, ...more);
  assert.equal(code, 0, printed);
  assert.match(printed, /the contract is kept\n$/);
}

/** Starts a program that prints its address, which is returned. */
async function started(context: TestContext, program: string, args: string[]): Promise<string> {
  const env = { ...process.env, PORT: '0' };
  const child = spawn(program, args, { cwd: EXAMPLES, env, stdio: ['ignore', 'pipe', 'inherit'] });
  context.after(async () => {
    const ended = once(child, 'exit');
    if (child.exitCode === null && child.kill()) await ended;
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /http:\S+/.exec(line)?.[0];
    if (url) return url;
  }
  return assert.fail(`${program} has ended`);
}

/** The Node subgraph, or a variant of it. */
async function notes(context: TestContext, change?: [from: string, to: string]): Promise<string> {
  if (!change) return started(context, process.execPath, ['node-subgraph/server.js']);
  const code = await readFile(join(EXAMPLES, 'node-subgraph/server.js'), 'utf8');
  assert.ok(code.includes(change[0]), `the server has no ${change[0]}`);
  const args = ['--input-type=module', '-e', code.replace(change[0], change[1])];
  return started(context, process.execPath, args);
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  assert.ok(address && typeof address === 'object');
  return String(address.port);
}

test('the Node subgraph keeps the contract, alone and behind the gateway', async (context) => {
  const url = await notes(context);
  await keeps(url, NOTES, '--transports', 'ws');
  const supergraph = ['--supergraph', 'node-subgraph/supergraph.graphql', '--subgraph-url', `notes=${url}`];
  const port = await freePort();
  const address = await started(context, GATEWAY, [...supergraph, '--host', '127.0.0.1', '--port', port]);
  await keeps(new URL('graphql', `${address}/`).href, NOTES);
});

test('the gateway and the comments service keep the contract', async (context) => {
  // Without a secret, a subgraph answers everybody.
  const stack = await startStack({ SUBGRAPH_SECRET: '', ANONYMOUS_WRITES: 'create' }, OPEN_TO_ALL);
  context.after(() => stack.stop());
  const post = await new Graph(stack.url).createPost('For the contract');
  const url = new URL('graphql', stack.url).href;
  const changes = `commentChanges(postId: "${post}") { ... on CommentAdded { cursor comment { text } } }`;
  const added = `commentAdded(postId: "${post}") { text }`;
  const input = `{ postId: "${post}", text: "comment {n}", author: "Conformance" }`;
  const write = `mutation { createComment(input: ${input}) { comment { id } } }`;
  await keeps(url, { subscription: `subscription { ${changes} }`, write });
  // A field without a cursor in the schema.
  await keeps(url, { subscription: `subscription { ${added} }`, write }, '--transports', 'ws');
  const comments = await stack.subgraph('comments');
  if (comments)
    await keeps(comments, { subscription: `subscription { ${changes} }`, write }, '--write-url', url);
});

const breaches: [rule: string, from: string, to: string][] = [
  ['the first frame comes before any event', 'guarantee !== undefined, false', 'false, false'],
  ['in order', 'log[at++]', 'log[log.length - ++at]'],
  ['nothing is missing', 'return { at, guarantee };', 'return { at: log.length, guarantee };'],
  ['`after` excludes', '?.[1])', '?.[1]) - 1'],
  ['an old client', 'guarantee ? withCursor(event) : event', 'withCursor(event)'],
  ['no cursor in `extensions`', 'guarantee ? withCursor(event) : event', 'event'],
  ['what is malformed', 'isVersion && isGuarantee &&', ''],
  ['not the server’s own', '&& at <= log.length)', '&& !(at > log.length))'],
  ['queries ignore', 'isLive ? asked(extensions?.delivery) : {}', 'asked(extensions?.delivery)'],
];

for (const [rule, from, to] of breaches) {
  test(`a server that breaks a rule is found: ${rule}`, async (context) => {
    const url = await notes(context, [from, to]);
    const { code, printed } = await check(url, NOTES, '--transports', 'ws', '--patience', '1');
    assert.equal(code, 1, printed);
    const broken = printed.split('\n').filter((line) => /^(BROKEN| {8})/.test(line));
    assert.ok(broken.join('\n').includes(rule), printed);
  });
}

test('a server that is not there breaks the rules', async () => {
  const { code, printed } = await check(
    `http://127.0.0.1:${await freePort()}/graphql`,
    NOTES,
    '--transports',
    'ws',
  );
  assert.equal(code, 1, printed);
});
