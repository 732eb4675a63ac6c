// The README's quick start, as written: from `ready:` to a comment seen live, step by step, and each curl
// command of the README and of docs/getting-started.md. The stack is new.

import assert from 'node:assert/strict';
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import type { Browser } from 'playwright-core';

import { closePage, launchBrowser, openPage, type WatchedPage } from './support/browser';
import { type Stack, startStack } from './support/stack';
import { WAIT_MS, writeUntil } from './support/waiting';

const README = join(import.meta.dirname, '../../README.md');
const GETTING_STARTED = join(import.meta.dirname, '../../docs/getting-started.md');
/** Where the pages say that the stack is. */
const WRITTEN_URL = 'http://127.0.0.1:4000/';
/** Where its issuer is. */
const WRITTEN_ISSUER = 'http://127.0.0.1:4003/';
const STEPS_MAX = 3;

let stack: Stack;
let browser: Browser;

before(async () => {
  browser = await launchBrowser();
  stack = await startStack();
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

async function stepsOfReadme(): Promise<string[]> {
  const section = (await readFile(README, 'utf8'))
    .split('\n## ')
    .find((each) => each.startsWith('See it live'));
  return (section ?? '').split('\n').filter((line) => /^\d+\. /.test(line));
}

test('three steps lead from ready: to the first live comment', async (context) => {
  const windows: WatchedPage[] = [];
  const steps: [readme: RegExp, step: () => Promise<unknown>][] = [
    [/Open <http/, async () => windows.push(await openPage(browser, stack.url))],
    [/second window/, async () => windows.push(await openPage(browser, stack.url))],
    [
      /Write a comment/,
      async () => {
        await windows[0]?.getByLabel('Your comment').fill('The first of many');
        await windows[0]?.getByRole('button', { name: 'Comment', exact: true }).click();
        await windows[1]?.locator('.comment', { hasText: 'The first of many' }).waitFor();
      },
    ],
  ];

  const told = await stepsOfReadme();
  assert.ok(told.length <= STEPS_MAX, `the README has ${told.length} steps`);
  assert.equal(told.length, steps.length);
  const began = performance.now();
  for (const [index, [readme, step]] of steps.entries()) {
    assert.match(told[index] ?? '', readme);
    await step();
  }
  context.diagnostic(
    `${steps.length} steps, ${(performance.now() - began).toFixed(0)} ms after ready: (with hands as quick as a test's)`,
  );
  await Promise.all(windows.map((page) => closePage(page)));
});

/** The page's commands that begin with curl, asking this test's stack. */
async function curlCommands(page: string): Promise<string[]> {
  const told = (await (await fetch(new URL('/sign-in.json', stack.url))).json()) as { tokenUrl: string };
  const issuer = new URL('/', told.tokenUrl).href;
  const blocks = (await readFile(page, 'utf8')).matchAll(/^```sh\n(.*?)^```$/gms);
  return [...blocks]
    .map(([, block]) => block ?? '')
    .filter((block) => block.startsWith('curl '))
    .map((block) => block.replaceAll(WRITTEN_URL, stack.url).replaceAll(WRITTEN_ISSUER, issuer));
}

/** Runs a command as a shell does, and returns the `data` of the response. */
async function dataOf<T>(command: string): Promise<T> {
  const { stdout } = await promisify(execFile)('sh', ['-c', command], { timeout: WAIT_MS });
  const { data, errors } = JSON.parse(stdout) as { data: T; errors?: unknown };
  assert.equal(errors, undefined, stdout);
  return data;
}

test('the curl commands of the README return posts with their comments, and write one with a token', async () => {
  const commands = await curlCommands(README);
  assert.equal(commands.length, 2);
  const { posts } = await dataOf<{ posts: { edges: { node: { title: string; commentCount: number } }[] } }>(
    commands[0] ?? '',
  );
  const titles = posts.edges.map(({ node }) => node.title);
  assert.ok(titles.includes('Welcome to Rejoinder'), titles.join());
  const { createPost } = await dataOf<{ createPost: { post: { author: string } } }>(commands[1] ?? '');
  assert.equal(createPost.post.author, 'Ada');
});

test('the curl commands of the first page lead from a post to a comment that arrives', async () => {
  const [create, listen, comment, read, ...others] = await curlCommands(GETTING_STARTED);
  assert.ok(create && listen && comment && read && others.length === 0, 'four commands');
  const { createPost } = await dataOf<{ createPost: { post: { id: string } } }>(create);
  const about = (command: string) => command.replaceAll('POST_ID', createPost.post.id);

  const listener = spawn('sh', ['-c', `exec ${about(listen)}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const arrived = await writeUntil(firstEvent(listener), () => dataOf(about(comment)));
    assert.match(arrived, /"text":"Nice post\."/);
  } finally {
    listener.kill();
  }

  const { posts } = await dataOf<{ posts: { edges: { node: { title: string } }[] } }>(read);
  assert.ok(posts.edges.some(({ node }) => node.title === 'Hello'));
});

/** The data of the first event in an event stream. */
function firstEvent(listener: ChildProcessByStdio<null, Readable, null>): Promise<string> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no event came in time')), WAIT_MS).unref();
    listener.once('exit', (code) => reject(new Error(`curl ended with ${code}`)));
    createInterface(listener.stdout).on('line', (line) => {
      if (line.startsWith('data: {')) resolve(line);
    });
  });
}
