// Every example of ../examples against a real stack: each prints the comment that it wrote, as it
// came back live.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';

import type { Browser } from 'playwright-core';
import { preview } from 'vite';

import { launchBrowser, openPage, waitForTexts } from './support/browser';
import { Graph } from './support/graph';
import { Proxy } from './support/proxy';
import { type Stack, startStack } from './support/stack';
import { writeUntil } from './support/waiting';

const EXAMPLES = join(import.meta.dirname, '../../examples');
const RUST_CLIENT = process.env.RUST_CLIENT ?? join(EXAMPLES, '../target/debug/rust-client');
/** Of a program, and of a build. */
const TIME_LIMIT_MS = 180_000;

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([startStack(), launchBrowser()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** What a program prints, with the gateway's address in its environment. */
async function output(program: string, args: string[]): Promise<string> {
  const env = { ...process.env, GATEWAY: new URL('graphql', stack.url).href };
  const options = { cwd: EXAMPLES, env, timeout: TIME_LIMIT_MS };
  const { stdout } = await promisify(execFile)(program, args, options);
  return stdout;
}

/** Serves an example that was built, on a port of its own, and returns its address. */
async function served(example: string, context: TestContext): Promise<string> {
  const server = await preview({
    root: join(EXAMPLES, example),
    logLevel: 'error',
    // By its address: another program may have the port on the other `localhost`.
    preview: { host: '127.0.0.1', port: 0 },
  });
  context.after(() => server.close());
  return server.resolvedUrls?.local[0] ?? assert.fail('the example is not served');
}

const programs: [name: string, greeting: string, program: string, ...args: string[]][] = [
  ['Apollo Client', 'Hello from Apollo Client', process.execPath, 'apollo-client.js'],
  ['Apollo Client by multipart', 'Hello over multipart', process.execPath, 'apollo-multipart.js'],
  ['urql', 'Hello from urql', process.execPath, 'urql.js'],
  ['graphql-ws', 'Hello from graphql-ws', process.execPath, 'graphql-ws.js'],
  ['graphql-sse', 'Hello from graphql-sse', process.execPath, 'graphql-sse.js'],
  [
    'EventSource',
    'Hello from EventSource (id present)',
    process.execPath,
    '--experimental-eventsource',
    'event-source.js',
  ],
  ['curl', 'Hello from curl', 'sh', 'curl.sh'],
  ['Rust', 'Hello from Rust', RUST_CLIENT],
];

for (const [name, greeting, program, ...args] of programs) {
  test(`${name} reads, writes and sees its comment live`, async () => {
    const title = `For ${name}`;
    await graph.createPost(title);
    const printed = await output(program, args);
    assert.match(printed, new RegExp(`the newest post: ${title}`));
    assert.ok(printed.includes(`live: ${greeting}\n`), printed);
  });
}

test('each example is a page: at most 100 lines', async () => {
  const files = programs.map(([, , , ...args]) => args.at(-1) ?? 'rust/src/main.rs');
  for (const file of [...files, 'relay/main.jsx']) {
    const lines = (await readFile(join(EXAMPLES, file), 'utf8')).split('\n').length - 1;
    assert.ok(lines <= 100, `${file} has ${lines} lines`);
  }
});

test('Relay pages through comments and sees changes live', async (context) => {
  await output('npm', ['run', '--silent', 'relay:build']);
  const post = await graph.createPost('For Relay');
  const comments: string[] = [];
  for (let number = 1; number <= 5; number++)
    comments.push(await graph.createComment(post, `Number ${number}`));
  const doomed = comments[4] ?? assert.fail('five comments were written');

  // Its own server, with the gateway behind /graphql.
  process.env.GATEWAY = stack.url;
  const page = await openPage(browser, await served('relay', context));
  await page.getByRole('heading', { name: 'For Relay' }).waitFor();
  const shows = (numbers: string[]) =>
    waitForTexts(
      page.locator('li'),
      numbers.map((text) => `Elsewhere: ${text}`),
    );
  await shows(['Number 5', 'Number 4', 'Number 3']);

  await page.getByRole('button', { name: 'Older comments' }).click();
  await page.getByText('Number 1').waitFor();
  await graph.createComment(post, 'Live for Relay');
  await page.getByText('Live for Relay').waitFor();
  await shows(['Live for Relay', ...[5, 4, 3, 2, 1].map((number) => `Number ${number}`)]);

  await graph.updateComment(doomed, 'Edited for Relay');
  await page.getByText('Edited for Relay').waitFor();
  await graph.deleteComment(doomed);
  await page.getByText('Edited for Relay').waitFor({ state: 'detached' });

  // The fragment is fetched again, from its first page.
  await page.getByRole('button', { name: 'Reload' }).click();
  await shows(['Live for Relay', 'Number 4', 'Number 3']);
  await page.context().close();
});

/** What the lines with `rejoinder-client` replace in the program before them, in the order of docs/clients.md. */
const REPLACED = [
  /^const retries = .*\nconst socket = .*\n/m,
  /^const socket = [^]*?^const exchanges = .*\n/m,
  /^for await [^]*/m,
  /^for await [^]*/m,
  /^const parameters = [^]*/m,
];

/** Installs the package for the examples, as npm would from the file that it makes. */
async function installClient(): Promise<void> {
  const client = join(EXAMPLES, '../client');
  const folder = await mkdtemp(join(tmpdir(), 'rejoinder-client-'));
  try {
    await promisify(execFile)('npm', ['pack', '--pack-destination', folder], { cwd: client });
    const [file] = await readdir(folder);
    await promisify(execFile)('tar', ['-xf', join(folder, file ?? '')], { cwd: folder });
    const installed = join(EXAMPLES, 'node_modules/rejoinder-client');
    await rm(installed, { recursive: true, force: true });
    await cp(join(folder, 'package'), installed, { recursive: true });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The pages in docs/clients.md that are complete programs, and those with `rejoinder-client`. */
test('each client’s code in docs/clients.md prints comments as they are written', async () => {
  const docs = await readFile(join(EXAMPLES, '../docs/clients.md'), 'utf8');
  const all = [...docs.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code ?? '');
  // The others are parts of programs.
  const programs = all.filter((code) => code.includes('commentChanges('));
  assert.equal(programs.length, 5);
  const lines = all.filter((code) => code.includes('rejoinder-client'));
  assert.equal(lines.length, 5);
  await installClient();
  const resumed = programs.map((program, index) => {
    const adopted = lines[index] ?? '';
    assert.ok(adopted.split('\n').length - 1 <= 5, 'five lines at most');
    const replaced = program.replace(REPLACED[index] ?? '', adopted);
    assert.ok(replaced.includes(adopted), program);
    return replaced;
  });
  const blocks = [...programs, ...resumed];
  const post = await graph.createPost('For the documentation');
  await Promise.all(
    blocks.map(async (code, index) => {
      assert.ok(code.split('\n').length <= 20, `block ${index} is short`);
      const file = join(EXAMPLES, `docs-${process.pid}-${index}.mjs`);
      await writeFile(file, code.replaceAll('127.0.0.1:4000', new URL(stack.url).host));
      const flags = ['--no-warnings', '--experimental-websocket', '--experimental-eventsource'];
      const child = spawn(process.execPath, [...flags, file], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        let printed = '';
        child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
        const deadline = Date.now() + TIME_LIMIT_MS;
        // It prints nothing before the first comment: written until one has arrived.
        while (!printed.includes('For block')) {
          assert.equal(child.exitCode, null, `block ${index} has ended: ${code}`);
          assert.ok(Date.now() < deadline, `block ${index} prints nothing: ${code}`);
          await graph.createComment(post, 'For block');
          await new Promise((resolve) => setTimeout(resolve, 250));
        }
      } finally {
        child.kill();
        await rm(file);
      }
    }),
  );
});

test('the React hook follows comments from a page of another origin', async (context) => {
  await output('npm', ['run', '--silent', 'react:build']);
  const post = await graph.createPost('For React');
  await graph.createComment(post, 'Before');
  const address = await served('react', context);
  const gateway = new URL('graphql', stack.url).href;
  const page = await openPage(browser, `${address}?${new URLSearchParams({ post, gateway })}`);
  await page.getByText('Elsewhere: Before').waitFor();
  const comment = await graph.createComment(post, 'Live for React');
  await page.getByText('Elsewhere: Live for React').waitFor();
  await graph.updateComment(comment, 'Edited for React');
  await waitForTexts(page.locator('li'), ['Elsewhere: Edited for React', 'Elsewhere: Before']);
  await graph.deleteComment(comment);
  await page.getByText('Edited for React').waitFor({ state: 'detached' });

  // Requests of such a page are allowed too, in development.
  const title = await page.evaluate(
    async ([url, id]) => {
      const response = await fetch(url ?? '', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: `{ post(id: "${id}") { title } }` }),
      });
      return ((await response.json()) as { data: { post: { title: string } } }).data.post.title;
    },
    [gateway, post],
  );
  assert.equal(title, 'For React');
  await page.context().close();
});

test('EventSource goes on by itself after a lost connection', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('For EventSource, twice');
  const page = await openPage(browser, proxy.url);
  await page.evaluate((postId) => {
    const query =
      'subscription ($id: ID!) { commentChanges(postId: $id) { ... on CommentAdded { comment { text } } } }';
    const texts: string[] = [];
    const parameters = new URLSearchParams({ query, variables: JSON.stringify({ id: postId }) });
    const changes = new EventSource(`/graphql?${parameters}`);
    changes.addEventListener('next', (event) =>
      texts.push(JSON.parse(event.data).data.commentChanges.comment.text),
    );
    Object.assign(window, { texts });
    return new Promise((opened) => changes.addEventListener('open', opened));
  }, post);
  const texts = () => page.evaluate(() => (window as unknown as { texts: string[] }).texts);
  const waitForText = (wanted: string) =>
    page.waitForFunction((text) => (window as unknown as { texts: string[] }).texts.includes(text), wanted);

  const first = page.waitForFunction(() => (window as unknown as { texts: string[] }).texts.length > 0);
  await writeUntil(first, (number) => graph.createComment(post, `Warm-up ${number}`));
  const before = await texts();
  proxy.cut();
  await graph.createComment(post, 'During the cut');
  proxy.restore();
  await waitForText('During the cut');
  await graph.createComment(post, 'After the cut');
  await waitForText('After the cut');
  assert.deepEqual((await texts()).slice(-2), ['During the cut', 'After the cut']);
  assert.equal(new Set(await texts()).size, (await texts()).length, 'none came twice');
  assert.ok((await texts()).length >= before.length + 2);
  await page.context().close();
});
