// The statistics page, and its reader of metrics.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Locator, Page } from 'playwright-core';

import { runsOf } from '../src/stats/Chart';
import { parseOpenMetrics } from '../src/stats/openMetrics';
import { bucketsOf, quantile } from '../src/stats/quantiles';
import { seriousFaults } from './support/axe';
import { closePage, launchBrowser, openPage, PHONE, waitForState, waitForTexts } from './support/browser';
import { Graph } from './support/graph';
import { picture } from './support/picture';
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

const service = (page: Page, name: string) => page.getByRole('region', { name, exact: true });
/** On the page, or in one of its parts. */
function plot(within: Page | Locator, title: string): Locator {
  const page = 'page' in within ? within.page() : within;
  const heading = page.getByRole('heading', { name: title, exact: true });
  return within.locator('.plot').filter({ has: heading }).first();
}

/** Waits until a plot's number of now fits. */
async function waitForNumber(page: Page | Locator, title: string, fitting: RegExp): Promise<void> {
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

test('quantiles are of what came between two looks', () => {
  const at = (...counts: number[]): Map<number, number> =>
    new Map(
      [0.001, 0.002, 0.004, Number.POSITIVE_INFINITY].map((bound, index) => [bound, counts[index] ?? 0]),
    );
  const before = at(10, 10, 10, 10);
  // Fifty up to 1 ms, fifty up to 2 ms.
  assert.equal(quantile(0.5, before, at(60, 110, 110, 110)), 0.001);
  assert.equal(quantile(0.75, before, at(60, 110, 110, 110)), 0.0015);
  assert.equal(quantile(0.5, before, at(10, 10, 10, 12)), 0.004, 'above the highest bound');
  assert.equal(quantile(0.5, before, before), undefined, 'no request');
  assert.equal(quantile(0.5, before, at(1, 1, 1, 1)), undefined, 'started again');
  const samples = parseOpenMetrics(
    't_bucket{le="0.1",way="a"} 1\nt_bucket{le="0.1",way="b"} 2\nt_bucket{le="+Inf"} 4\n',
  );
  assert.deepEqual(
    bucketsOf(samples, 't'),
    new Map([
      [0.1, 3],
      [Number.POSITIVE_INFINITY, 4],
    ]),
  );
  assert.equal(bucketsOf(samples, 'other'), undefined);
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
    for (const name of ['Gateway', 'Comments service', 'Posts service']) {
      await waitForNumber(service(page, name), 'Requests', /^(0\.)?[1-9]/);
      await waitForNumber(
        service(page, name),
        'Time to answer',
        /^p50[\d.,]+ms\s*p95[\d.,]+ms\s*p99[\d.,]+ms$/,
      );
    }
    await waitForNumber(service(page, 'Comments service'), 'Feed lag', /^\d.*ms$/);
    await waitForNumber(service(page, 'Comments service'), 'Changes', /^(0\.)?[1-9]/);
    await waitForNumber(service(page, 'Comments service'), 'Subscribers', /^[1-9]/);
    await plot(page, 'Projection lag').locator('polyline').first().waitFor({ state: 'attached' });
    await waitForTexts(page.getByRole('status'), ['', '', '']);
  };
  await writeUntil(moved(), async () => {
    await graph.createComment(post, 'One more');
    // Comments are written without the posts service.
    await graph.run('query ($id: ID!) { post(id: $id) { title } }', { id: post });
  });
  await closePage(page);
  await closePage(reader);
});

test('a plot has a scale with its unit, values under the pointer, and no time without a request', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`);
  const times = plot(page, 'Time to answer');
  await plot(page, 'Live clients').locator('polyline').first().waitFor({ state: 'attached' });
  // The page itself asks nothing of the graph.
  await times.locator('.now', { hasText: '–' }).getByText('no requests yet').waitFor();
  assert.match((await times.locator('.scale').first().textContent()) ?? '', /^\d+ ms$/);
  assert.match((await plot(page, 'Requests').locator('.scale').first().textContent()) ?? '', /^\d+\/s$/);
  // A line of trouble, which may come and go above, moves the plot from under the pointer.
  await eventually(async () => {
    const clients = plot(page, 'Live clients');
    await clients.getByRole('slider').hover({ position: { x: 1, y: 20 } });
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

test('the arrow keys tell the values, too', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`);
  const clients = plot(page, 'Live clients');
  await clients.locator('polyline').first().waitFor({ state: 'attached' });
  const reader = clients.getByRole('slider', { name: /^Gateway: Live clients over the last minutes/ });
  await reader.press('Home');
  await clients.getByText('not known, 4 min 58 s ago').waitFor();
  await reader.press('End');
  await clients.getByText(/^\d+, now$/).waitFor();
  assert.match((await reader.getAttribute('aria-valuetext')) ?? '', /^\d+, now$/);
  await reader.press('ArrowLeft');
  await clients.getByText(/ 2 s ago$/).waitFor();
  await reader.press('Escape');
  await clients.getByText('5 minutes ago').waitFor();
  await closePage(page);
});

test('errors are told by their code, for each service', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`);
  await page.getByRole('region', { name: 'Gateway', exact: true }).waitFor();
  await plot(page, 'Live clients').locator('polyline').first().waitFor({ state: 'attached' });
  await fetch(new URL('graphql', stack.url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ nothing }' }),
  });
  const row = page.getByRole('row', { name: /^GRAPHQL_VALIDATION_FAILED/ });
  await row.getByText('+1', { exact: true }).waitFor();
  assert.match((await row.getByRole('cell').first().textContent()) ?? '', /^[1-9]/);
  await closePage(page);
});

test('metrics that are elsewhere: the page says where, and works there', async (context) => {
  const hidden = await startStack({ DEVELOPMENT: 'false', OPERATIONS_PORT: '0' });
  context.after(() => hidden.stop());
  const port = await hidden.setting('gateway', 'OPERATIONS_PORT');
  if (port === undefined) return context.skip('a stack that others started');
  const page = await openPage(browser, `${hidden.url}stats.html`);
  await page.getByText('There are no metrics at this address').waitFor();
  await page.getByText('OPERATIONS_PORT').first().waitFor();
  assert.equal(await page.locator('.plot').count(), 0, 'no empty plots');
  await picture(page, 'stats-elsewhere');
  await closePage(page);

  const there = await openPage(browser, `http://127.0.0.1:${port}/`);
  await waitForNumber(service(there, 'Gateway'), 'Live clients', /^\d/);
  await waitForNumber(service(there, 'Comments service'), 'Feed lag', /^\d/);
  // The other pages are not on this port.
  await there.getByRole('link', { name: 'GraphiQL' }).waitFor({ state: 'detached' });
  await closePage(there);
});

test('a service that the gateway is not told of is named with its setting', async () => {
  const page = await openPage(browser, `${stack.url}stats.html`, {}, (opened) =>
    opened.route('**/metrics/comments', (route) => route.fulfill({ status: 404, body: 'no such page' })),
  );
  await page.getByText('There is no /metrics/comments: METRICS_PAGES of the gateway has to name').waitFor();
  assert.equal(await service(page, 'Comments service').locator('.plot').count(), 0);
  await closePage(page);
});

test('axe finds nothing serious on the statistics, and nothing is cut on a phone', async () => {
  const graph = new Graph(stack.url);
  const post = await graph.createPost('For the picture');
  const narrow = { ...PHONE, viewport: { width: 320, height: 640 } };
  for (const colorScheme of ['light', 'dark'] as const)
    for (const [device, options] of [
      ['desktop', {}],
      ['390', PHONE],
      ['320', narrow],
    ] as const) {
      const page = await openPage(browser, `${stack.url}stats.html`, { ...options, colorScheme });
      const shown = waitForNumber(service(page, 'Gateway'), 'Time to answer', /^p50/);
      await writeUntil(shown, () => graph.createComment(post, 'One more'));
      assert.deepEqual(await seriousFaults(page), [], `${colorScheme}, ${device}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), device);
      await picture(page, `stats-${colorScheme}-${device}`);
      await closePage(page);
    }
});
