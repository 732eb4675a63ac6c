// GraphiQL, with nothing but the gateway to load from.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { closePage, launchBrowser, openPage, PHONE, type WatchedPage } from './support/browser';
import { Graph } from './support/graph';
import { picture } from './support/picture';
import { type Stack, startStack } from './support/stack';
import { waitForAnswers } from './support/time';
import { eventually, writeUntil } from './support/waiting';

/** Compressed, without the fonts. */
const STYLE_BYTES_MAX = 60_000;
/** Compressed, of everything that is loaded before somebody uses the page. */
const LOADED_BYTES_MAX = 1_000_000;

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

async function openGraphiql(query = '', options = {}): Promise<WatchedPage> {
  // GraphiQL does not wait long for the id that stands in its first tabs.
  const page = await openPage(browser, `${stack.url}graphql${query}`, options, waitForAnswers);
  await page.locator('.graphiql-query-editor .view-line', { hasText: 'posts' }).first().waitFor();
  // Until all of its editors stand, GraphiQL does nothing when an operation is to run.
  for (const editor of ['.graphiql-query-editor', '.graphiql-editor-tool', '.result-window']) {
    await page.locator(`${editor} .monaco-editor`).first().waitFor({ state: 'attached' });
  }
  return page;
}

async function waitForResponse(page: Page, text: string): Promise<void> {
  // The editor writes spaces as no-break spaces.
  await page.waitForFunction(
    (wanted) =>
      document.querySelector('.result-window')?.textContent?.replaceAll('\u00a0', ' ').includes(wanted),
    text,
  );
}

// The button offers the operations of a tab once the editor has read them.
async function runOperation(page: Page, name: string): Promise<void> {
  const run = page.getByRole('button', { name: /^Execute query/ });
  await run.and(page.locator('[aria-haspopup="menu"]')).click();
  await page.getByRole('menuitem', { name }).click();
}

test('before somebody uses the page, no worker is loaded, and no more than a megabyte', async (context) => {
  const page = await openGraphiql();
  const bytes = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .reduce((sum, entry) => sum + (entry as PerformanceResourceTiming).encodedBodySize, 0),
  );
  context.diagnostic(`${bytes} bytes`);
  assert.equal(page.workers().length, 0);
  assert.ok(bytes > 0 && bytes < LOADED_BYTES_MAX, `${bytes} bytes`);
  // Then they are there: what is wrong is underlined.
  await page.locator('.graphiql-query-editor .view-line').first().click();
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type('query Wrong { nothingOfThisName ');
  await page.locator('.graphiql-query-editor .squiggly-error').first().waitFor({ state: 'attached' });
  await eventually(async () => assert.notEqual(page.workers().length, 0, 'the editor’s workers run'));
  await closePage(page);
});

test('loads from its own host alone, and runs the first query and a subscription', async () => {
  await graph.createPost('For GraphiQL');
  const page = await openGraphiql();
  const run = page.getByRole('button', { name: /^Execute query/ });
  await run.click();
  await waitForResponse(page, 'For GraphiQL');
  const fetched = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .filter((entry) => (entry as PerformanceResourceTiming).name.endsWith('.css'))
      .reduce((sum, entry) => sum + (entry as PerformanceResourceTiming).encodedBodySize, 0),
  );
  assert.ok(fetched > 0 && fetched < STYLE_BYTES_MAX, `${fetched} bytes of style sheets`);

  await eventually(async () => assert.notEqual(page.workers().length, 0, 'the editor’s workers run'));

  await picture(page, 'graphiql');
  const socketOpened = page.waitForEvent('websocket');
  await page.getByRole('tab', { name: /NewPosts/ }).click();
  await runOperation(page, 'NewPosts');
  await page.getByRole('button', { name: /^Stop query/ }).waitFor();
  assert.match((await socketOpened).url(), /^ws:.*\/graphql$/);
  await writeUntil(waitForResponse(page, 'Arrived live'), () => graph.createPost('Arrived live'));
  await page.getByRole('button', { name: /^Stop query/ }).click();
  await closePage(page);
});

test('it wears the brand of the other pages, and the fonts of the device', async () => {
  const page = await openGraphiql();
  assert.equal(await page.title(), 'GraphiQL · Rejoinder');
  const home = page.getByRole('link', { name: /Rejoinder/ });
  assert.equal(await home.getAttribute('href'), '/');
  assert.doesNotMatch(await page.locator('body').innerText(), /GraphiQL 5|GraphiQL Explorer/);
  const live = await openPage(browser, stack.url);
  // The live page replaces what was rendered for it: an element that is gone has no style.
  const font = async (shown: Page, selector: string) => {
    const first = (text: string) => {
      const element = document.querySelector(text);
      return element && getComputedStyle(element).fontFamily.split(',')[0];
    };
    return (await shown.waitForFunction(first, selector)).jsonValue();
  };
  assert.equal(await font(page, '.home'), await font(live, '.brand-name'));
  assert.match((await font(page, '.graphiql-container')) ?? '', /system-ui/);
  // The editor's signs are a font of their own; no text font is loaded.
  const fonts = await page.evaluate(async () => {
    await document.fonts.ready;
    return [...document.fonts].filter(({ status }) => status === 'loaded').map(({ family }) => family);
  });
  assert.deepEqual(
    fonts.filter((family) => !/codicon/i.test(family)),
    [],
  );
  await closePage(page);
  await closePage(live);
});

test('the first tabs do what they say: what is written in one arrives in the other', async () => {
  const post = await graph.createPost('Newest of all');
  const page = await openGraphiql();
  await page.getByRole('tab', { name: /NewPosts/ }).click();
  await runOperation(page, 'CommentChanges');
  const log = page.getByRole('region', { name: 'Live events' });
  await page.getByRole('button', { name: /^Stop query/ }).waitFor();
  await page.getByRole('tab', { name: /WritePost/ }).click();
  await runOperation(page, 'WriteComment');
  await waitForResponse(page, 'Hello from GraphiQL');
  // The log opens by itself at the first event.
  const arrived = log.getByText('From elsewhere').first().waitFor();
  await writeUntil(arrived, () => graph.createComment(post, 'From elsewhere'));
  await log.getByText('running').waitFor();

  // The tab that is opened again shows the last of them, and the log has all.
  await page.getByRole('tab', { name: /CommentChanges/ }).click();
  await waitForResponse(page, 'From elsewhere');
  await graph.createComment(post, 'And one more');
  await log.getByText('And one more').waitFor();
  await log.getByText('From elsewhere').first().waitFor();
  await log.getByRole('button', { name: 'Stop CommentChanges' }).click();
  await log.getByText('ended', { exact: true }).waitFor();
  assert.equal(await log.locator('.run').count(), 1, 'a mutation has no events');
  await closePage(page);
});

test('an address with a query opens GraphiQL with it', async () => {
  const query = 'query Shared($first: Int) { posts(first: $first) { edges { node { title } } } }';
  const parameters = new URLSearchParams({ query, variables: '{"first": 1}' });
  await graph.createPost('Shown from an address');
  const page = await openGraphiql(`?${parameters}`);
  await page.getByRole('tab', { name: /Shared/ }).waitFor();
  await page.getByRole('button', { name: /^Execute query/ }).click();
  await waitForResponse(page, 'Shown from an address');
  await closePage(page);
});

for (const width of [390, 320])
  test(`on a phone of ${width} pixels the editors have the whole width, and all tools are seen`, async () => {
    const page = await openGraphiql('', { ...PHONE, viewport: { width, height: 844 } });
    const editor = page.locator('.graphiql-query-editor');
    for (const part of [editor, page.locator('.graphiql-response')]) {
      await eventually(async () => {
        const box = await part.boundingBox();
        assert.ok(box && box.width > width * 0.7 && box.x + box.width <= width, JSON.stringify(box));
        assert.ok(box.height > 200, JSON.stringify(box));
      });
    }
    for (const tool of await page.locator('.graphiql-sidebar > button').all()) {
      const box = await tool.boundingBox();
      assert.ok(box && box.width >= 24 && box.x + box.width <= width, JSON.stringify(box));
    }
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await page.getByRole('button', { name: /^Execute query/ }).click();
    await waitForResponse(page, '"posts"');
    await picture(page, `graphiql-${width}`);
    await closePage(page);
  });

test('the mutation is ready to run', async () => {
  const page = await openGraphiql();
  await page.getByRole('tab', { name: /WritePost/ }).click();
  await runOperation(page, 'WritePost');
  await waitForResponse(page, 'Written in GraphiQL');
  await closePage(page);
});

test('the docs panel and the explorer know the graph', async () => {
  const page = await openGraphiql();
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.getByRole('link', { name: 'Query', exact: true }).first().click();
  await page.getByText('All posts, in pages.', { exact: false }).first().waitFor();
  await page.getByRole('button', { name: 'Show GraphiQL Explorer' }).click();
  await page.locator('.graphiql-explorer-root', { hasText: 'posts' }).first().waitFor();
  await closePage(page);
});

test('the plan of the query that ran last is a picture', async () => {
  const post = await graph.createPost('For the plan');
  await graph.createComment(post, 'Asked for in a second fetch');
  const page = await openGraphiql();
  await page.getByRole('button', { name: 'Show Query plan' }).click();
  const tab = page.getByRole('region', { name: 'Query plan' });
  await tab.getByText('Run a query or a mutation').waitFor();
  await page.getByRole('button', { name: /^Execute query/ }).click();
  await waitForResponse(page, 'For the plan');

  const picture = tab.getByRole('img');
  const fetches = /^1\. posts: [\d.]+ ms, \d+ bytes; 2\. comments, after 1: [\d.]+ ms, \d+ bytes$/;
  assert.match((await picture.getAttribute('aria-label')) ?? '', fetches);
  assert.equal(await picture.locator('rect').count(), 2);
  assert.equal(await picture.locator('.plan-line').count(), 1);
  const [first, second] = await picture
    .locator('rect')
    .evaluateAll((bars) =>
      bars.map((bar) => ({ x: Number(bar.getAttribute('x')), width: Number(bar.getAttribute('width')) })),
    );
  assert.ok(first && second && second.x >= first.x + first.width - 1, 'the second begins after the first');
  await tab.getByText(/^2\. comments, after 1/).click();
  await tab.getByText('posts.edges.node').waitFor();
  await tab.locator('pre', { hasText: '_entities' }).waitFor();
  await closePage(page);
});
