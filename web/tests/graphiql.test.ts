// GraphiQL, with nothing but the gateway to load from.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { closePage, launchBrowser, openPage, type WatchedPage } from './support/browser';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';

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

async function openGraphiql(): Promise<WatchedPage> {
  const page = await openPage(browser, `${stack.url}graphql`);
  await page.locator('.graphiql-query-editor .view-line', { hasText: 'posts' }).first().waitFor();
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

test('loads from its own host alone, and runs the first query and a subscription', async () => {
  await graph.createPost('For GraphiQL');
  const page = await openGraphiql();
  const run = page.getByRole('button', { name: /^Execute query/ });
  await run.click();
  await waitForResponse(page, 'For GraphiQL');

  assert.notEqual(page.workers().length, 0, 'the editor’s workers run');

  const socketOpened = page.waitForEvent('websocket');
  await page.getByRole('tab', { name: /NewPosts/ }).click();
  await runOperation(page, 'NewPosts');
  await page.getByRole('button', { name: /^Stop query/ }).waitFor();
  assert.match((await socketOpened).url(), /^ws:.*\/graphql$/);
  // No event tells when the subscription stands: posts are written until one arrives.
  const writing = setInterval(() => void graph.createPost('Arrived live').catch(() => {}), 250);
  try {
    await waitForResponse(page, 'Arrived live');
  } finally {
    clearInterval(writing);
  }
  await page.getByRole('button', { name: /^Stop query/ }).click();
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
