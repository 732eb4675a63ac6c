// axe-core on every page, in both colour schemes, on a desk and on a phone. With SCREENSHOTS set to
// a folder, a picture of each is left there.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { AxeResults } from 'axe-core';
import type { Browser, Page } from 'playwright-core';

import { DESKTOP, launchBrowser, openPage, PHONE, waitForState } from './support/browser';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';

let stack: Stack;
let browser: Browser;
let axe: string;
let post: string;

before(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  [stack, browser] = await Promise.all([startStack(), launchBrowser()]);
  const graph = new Graph(stack.url);
  post = await graph.createPost('Read by everyone');
  for (const text of ['The first of three.', 'The second,\nwith two lines.', 'The third.'])
    await graph.createComment(post, text);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const views: { name: string; path: () => string; ready: (page: Page) => Promise<unknown> }[] = [
  { name: 'list', path: () => '', ready: (page) => page.locator('.posts li').first().waitFor() },
  {
    name: 'post',
    path: () => `?post=${post}`,
    ready: async (page) => {
      await page.locator('.comment').nth(2).waitFor();
      await waitForState(page, 'Live');
    },
  },
  {
    name: 'editing',
    path: () => `?post=${post}`,
    ready: async (page) => {
      await page.locator('.comment').first().hover();
      await page
        .getByRole('button', { name: /^Edit the comment/ })
        .first()
        .click();
    },
  },
  { name: 'new', path: () => '?new', ready: (page) => page.getByLabel('Title').waitFor() },
  {
    name: 'stats',
    path: () => 'stats.html',
    ready: (page) => page.locator('.chart polyline').nth(2).waitFor({ state: 'attached' }),
  },
];

for (const colorScheme of ['light', 'dark'] as const) {
  for (const [width, viewport] of [
    ['desktop', DESKTOP],
    ['phone', PHONE],
  ] as const) {
    test(`no serious fault for ${width} in ${colorScheme}`, async () => {
      for (const view of views) {
        const page = await openPage(browser, new URL(view.path(), stack.url).href, {
          viewport,
          colorScheme,
          reducedMotion: 'reduce',
        });
        await view.ready(page);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${view.name} is ${overflow} px too wide`);
        if (process.env.SCREENSHOTS) {
          await page.screenshot({
            path: join(process.env.SCREENSHOTS, `${view.name}-${width}-${colorScheme}.png`),
          });
        }
        await page.evaluate(axe);
        const results = await page.evaluate(() =>
          (window as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
        );
        const serious = results.violations.filter(
          ({ impact }) => impact === 'serious' || impact === 'critical',
        );
        const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`);
        assert.deepEqual(told, [], view.name);
        await page.context().close();
      }
    });
  }
}
