// What the live page weighs, and when its first comments are painted. Run with nothing beside it:
// the time tells of the machine's other work too.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser } from 'playwright-core';

import { closePage, launchBrowser, openPage } from '../support/browser';
import { Graph } from '../support/graph';
import { type Stack, startStack } from '../support/stack';

const PAGE_BYTES_MAX = 170_000;
const PAINTED_MS_MAX = 1_000;
/** The first loads meet services that have not answered this query before. */
const LOADS = 5;

let stack: Stack;
let browser: Browser;

before(async () => {
  [stack, browser] = await Promise.all([startStack(), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** Notes the first frame that has a comment in it, in milliseconds since the navigation began. */
function notePaint(): void {
  const noted = new Promise<number>((resolve) => {
    new MutationObserver((_, observer) => {
      if (!document.querySelector('.comment')) return;
      observer.disconnect();
      // The frame after the next one begins once the comment's own is painted.
      requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now())));
    }).observe(document, { childList: true, subtree: true });
  });
  Object.assign(window, { firstCommentPainted: noted });
}

test('the page weighs less than 170 KB, and its first comments are painted within a second', async (context) => {
  const graph = new Graph(stack.url);
  await graph.createComment(await graph.createPost('Something to list'), 'Something to read');
  const times: number[] = [];
  for (let load = 1; load <= LOADS; load++) {
    const page = await openPage(browser, stack.url, {}, (page) => page.addInitScript(notePaint));
    times.push(
      await page.evaluate(
        () => (window as unknown as { firstCommentPainted: Promise<number> }).firstCommentPainted,
      ),
    );
    const bytes = await page.evaluate(() =>
      performance
        .getEntries()
        .filter((entry) => entry instanceof PerformanceResourceTiming)
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
    );
    if (load === 1) context.diagnostic(`${(bytes / 1000).toFixed(1)} KB, compressed`);
    assert.ok(bytes > 10_000 && bytes < PAGE_BYTES_MAX, `${bytes} bytes`);
    await closePage(page);
  }
  context.diagnostic(`first comments painted after ${times.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  assert.ok(
    Math.min(...times) < PAINTED_MS_MAX,
    `none of ${LOADS} loads took less than ${PAINTED_MS_MAX} ms`,
  );
});
