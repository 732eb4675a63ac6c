// The statistics page, and its reader of metrics.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { runsOf } from '../src/stats/Chart';
import { parseOpenMetrics } from '../src/stats/openMetrics';
import { closePage, launchBrowser, openPage, waitForState, waitForTexts } from './support/browser';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';
import { eventually, writeUntil } from './support/waiting';

let stack: Stack;
let browser: Browser;

before(async () => {
  [stack, browser] = await Promise.all([startStack(), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const plot = (page: Page, title: string) =>
  page.locator('.plot', { has: page.getByRole('heading', { name: title }) });

/** Waits until a plot's number of now fits. */
async function waitForNumber(page: Page, title: string, fitting: RegExp): Promise<void> {
  await plot(page, title).locator('.now', { hasText: fitting }).waitFor();
}

test('the text format is read, with labels and escapes', () => {
  const text =
    '# TYPE a counter\na_total{way="x\\"y",b="1, 2"} 3\nb 1.5 123456\nc_bucket{le="+Inf"} +Inf\n# EOF\n';
  assert.deepEqual(parseOpenMetrics(text), [
    { name: 'a_total', labels: { way: 'x"y', b: '1, 2' }, value: 3 },
    { name: 'b', labels: {}, value: 1.5 },
    { name: 'c_bucket', labels: { le: '+Inf' }, value: Number.POSITIVE_INFINITY },
  ]);
});

test('a line is broken where a number is missing', () => {
  assert.deepEqual(runsOf([undefined, 1, 2, undefined, undefined, 0]), [
    { start: 1, values: [1, 2] },
    { start: 5, values: [0] },
  ]);
});

test('requests, deliveries, live clients and the projection move the plots', async () => {
  const graph = new Graph(stack.url);
  const post = await graph.createPost('Much discussed');
  const reader = await openPage(browser, `${stack.url}posts/${post}`);
  await waitForState(reader, 'Live');
  const page = await openPage(browser, `${stack.url}stats.html`);
  const moved = async () => {
    for (const title of ['Requests', 'Live clients', 'Deliveries', 'Comments counted'])
      await waitForNumber(page, title, /^(0\.)?[1-9]/);
    await waitForNumber(page, 'Projection lag', /^\d.*ms$/);
    await plot(page, 'Projection lag').locator('polyline').first().waitFor({ state: 'attached' });
    await waitForTexts(page.getByRole('status'), ['']);
  };
  await writeUntil(moved(), () => graph.createComment(post, 'One more'));
  await closePage(page);
  await closePage(reader);
});

test('a plot has a scale with its unit, values under the pointer, and no time without a request', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`);
  const times = plot(page, 'Time to answer');
  await plot(page, 'Live clients').locator('polyline').first().waitFor({ state: 'attached' });
  await times.locator('.now', { hasText: '–' }).getByText('no requests').waitFor();
  assert.match((await times.locator('.scale').first().textContent()) ?? '', /^\d+ ms$/);
  assert.match((await plot(page, 'Requests').locator('.scale').first().textContent()) ?? '', /^\d+\/s$/);
  // A line of trouble, which may come and go above, moves the plot from under the pointer.
  await eventually(async () => {
    const clients = plot(page, 'Live clients');
    await clients.locator('svg').hover({ position: { x: 1, y: 20 } });
    assert.match((await clients.locator('figcaption').textContent()) ?? '', /^not known, 4 min 5\d s ago$/);
  });
  await closePage(page);
});

test('metrics that cannot be read leave a gap and a word', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`);
  const lines = plot(page, 'Projection lag').locator('polyline');
  await waitForNumber(page, 'Projection lag', /^\d/);
  await page.route('**/metrics/posts', (route) => route.fulfill({ status: 502, body: 'no connection' }));
  await page.getByText('The posts service’s metrics cannot be read. Trying again.').waitFor();
  await waitForNumber(page, 'Projection lag', /^–/);
  await waitForNumber(page, 'Live clients', /^\d/);
  await page.unroute('**/metrics/posts');
  await waitForNumber(page, 'Projection lag', /^\d/);
  // On a slow machine there may be more gaps.
  await lines.nth(1).waitFor({ state: 'attached' });
  await closePage(page);
});
