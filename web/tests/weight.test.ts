// What a first visit weighs, with the longest texts that the graph takes: their kinds are those of `support/texts.ts`.

import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';

import type { Browser } from 'playwright-core';

import { closePage, launchBrowser, openPage, waitForState } from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { COMMENT_CHARS, textKinds } from './support/texts';
import {
  bytesOf,
  DESKTOP_VISITOR,
  fillLongest,
  fillReplies,
  measureVisit,
  QUICK_PHONE_VISITOR,
} from './support/vitals';
import { gate } from './support/waiting';

/** As sent: compressed, with headers. */
const VISIT_BYTES_MAX = 170_000;

let stack: Stack;
let browser: Browser;

before(async () => {
  [stack, browser] = await Promise.all([startStack({}, OPEN_TO_ALL), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** Measures first visits to the list and to some posts, on a desktop and on a phone. */
async function visits(context: TestContext, posts: Record<string, string>): Promise<void> {
  for (const visitor of [DESKTOP_VISITOR, QUICK_PHONE_VISITOR]) {
    const pages = [
      ['list', stack.url, '.posts li'] as const,
      ...Object.entries(posts).map(([name, id]) => [name, `${stack.url}posts/${id}`, '.comment'] as const),
    ];
    for (const [name, url, shown] of pages) {
      const visit = await measureVisit(browser, url, visitor, shown, '.badge[data-state="live"]');
      const bytes = bytesOf(visit);
      const kinds = [...visit.bytes].map(([kind, each]) => `${kind} ${(each / 1_000).toFixed(1)}`);
      context.diagnostic(`${visitor.name}, ${name}: ${(bytes / 1_000).toFixed(1)} kB: ${kinds.join(', ')}`);
      assert.ok(bytes > 50_000 && bytes < VISIT_BYTES_MAX, `${visitor.name}, ${name}: ${bytes} bytes`);
    }
  }
}

for (const [kind, write] of textKinds())
  test(`a first visit weighs less than 170 kB with the longest texts: ${kind}`, async (context) => {
    const { newest, oldest } = await fillLongest(new Graph(stack.url), write);
    await visits(context, { post: newest, 'older post': oldest });
  });

test('the list and a post are painted when the document and its styles have come, whatever else is on its way', async () => {
  const graph = new Graph(stack.url);
  const post = await graph.createPost('Painted at once');
  await graph.createComment(post, 'This one, too');
  await graph.waitForCount(post, 1);
  for (const [url, shown] of [
    [stack.url, '.posts li'],
    [`${stack.url}posts/${post}`, '.comment'],
  ] as const) {
    const others = gate();
    const isPainted = () => performance.getEntriesByName('first-contentful-paint').length > 0;
    const page = await openPage(browser, url, {}, async (opened) => {
      await opened.route('**', async (route) => {
        if (!['document', 'stylesheet'].includes(route.request().resourceType())) await others.opened;
        await route.continue();
      });
      // The page is not loaded before.
      void (async () => {
        await opened.locator(shown).first().waitFor();
        await opened.waitForFunction(isPainted);
        others.open();
      })();
    });
    await waitForState(page, 'Live');
    await closePage(page);
  }
});

test('a first visit weighs less than 170 kB with many short replies of people with long names', async (context) => {
  const write = textKinds().get('random characters of four bytes');
  assert.ok(write);
  await visits(context, { post: await fillReplies(new Graph(stack.url), write) });
});

test('long comments come when they are asked for, also without JavaScript, and stay after a reload', async () => {
  const graph = new Graph(stack.url);
  const post = await graph.createPost('Long answers');
  const texts: string[] = [];
  for (let number = 1; number <= 6; number++) {
    texts.unshift(`${number} ${'x'.repeat(COMMENT_CHARS - 2)}`);
    await graph.createComment(post, texts[0] ?? '');
  }
  await graph.waitForCount(post, texts.length);
  for (const javaScriptEnabled of [false, true]) {
    const page = await openPage(browser, `${stack.url}posts/${post}`, { javaScriptEnabled });
    const shown = page.locator('.comment-body > .text');
    if (javaScriptEnabled) await waitForState(page, 'Live');
    assert.deepEqual(await shown.allTextContents(), texts.slice(0, 3));
    await page.getByText('Older comments').click();
    await page.getByText(texts[4] ?? '').waitFor();
    const all = javaScriptEnabled ? texts : texts.slice(3);
    await shown.nth(all.length - 1).waitFor();
    assert.deepEqual(await shown.allTextContents(), all);
    if (javaScriptEnabled) {
      await page.mouse.wheel(0, 200);
      const isKept = (count: number) =>
        (history.state as { place?: { comments: number } } | null)?.place?.comments === count;
      await page.waitForFunction(isKept, all.length);
      await page.reload();
      await waitForState(page, 'Live');
      await shown.nth(all.length - 1).waitFor();
      assert.deepEqual(await shown.allTextContents(), all);
    }
    await closePage(page);
  }
});
