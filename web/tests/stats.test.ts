// The statistics page, and its reader of metrics.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser } from 'playwright-core';

import { parseOpenMetrics } from '../src/stats/openMetrics';
import { closePage, launchBrowser, openPage } from './support/browser';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';

let stack: Stack;
let browser: Browser;

before(async () => {
  [stack, browser] = await Promise.all([startStack(), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

test('the text format is read, with labels and escapes', () => {
  const text =
    '# TYPE a counter\na_total{way="x\\"y",b="1, 2"} 3\nb 1.5 123456\nc_bucket{le="+Inf"} +Inf\n# EOF\n';
  assert.deepEqual(parseOpenMetrics(text), [
    { name: 'a_total', labels: { way: 'x"y', b: '1, 2' }, value: 3 },
    { name: 'b', labels: {}, value: 1.5 },
    { name: 'c_bucket', labels: { le: '+Inf' }, value: Number.POSITIVE_INFINITY },
  ]);
});

test('requests and live clients move the plots', async () => {
  const graph = new Graph(stack.url);
  const reader = await openPage(browser, stack.url);
  await reader.locator('.badge[data-state=live]').waitFor();
  const page = await openPage(browser, `${stack.url}stats.html`);
  const writing = setInterval(() => void graph.run('{ __typename }').catch(() => {}), 100);
  try {
    const number = (title: string) =>
      page.locator('.plot', { has: page.getByRole('heading', { name: title }) }).locator('.now');
    await page.waitForFunction(() => document.querySelectorAll('.chart polyline').length >= 5);
    assert.match((await number('Requests').textContent()) ?? '', /^[1-9]/);
    assert.match((await number('Live clients').textContent()) ?? '', /^[1-9]/);
  } finally {
    clearInterval(writing);
  }
  await closePage(page);
  await closePage(reader);
});
