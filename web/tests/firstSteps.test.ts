// The README's way from `ready:` to a comment seen live, step by step, on a stack that nobody used
// before.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { Browser } from 'playwright-core';

import { closePage, launchBrowser, openPage, type WatchedPage } from './support/browser';
import { type Stack, startStack } from './support/stack';

const README = join(import.meta.dirname, '../../README.md');
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
