// Posts are found by their words, in the list's place.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser } from 'playwright-core';

import { seriousFaults } from './support/axe';
import { closePage, launchBrowser, openPage, waitForState, waitForTexts } from './support/browser';
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

test('posts are found while one types, and the list comes back', async () => {
  for (let number = 1; number <= 25; number++) await graph.createPost(`Gull ${number}`, 'Of birds.');
  await graph.createPost('Heron', 'Of one gull, and of herons.');
  const last = await graph.createPost('Last', 'Of a bittern.');
  const page = await openPage(browser, stack.url);
  await waitForState(page, 'Live');
  const titles = page.locator('.row-title');
  const field = page.getByRole('searchbox', { name: 'Search posts' });

  await field.fill('heron');
  await waitForTexts(titles, ['Heron']);
  assert.deepEqual(await seriousFaults(page), []);
  // It is a list as any other: counts follow, and a choice opens.
  const heron = await titles.first().getAttribute('href');
  await graph.createComment(heron?.split('/').at(-1) ?? '', 'Seen one');
  await page.locator('.posts li', { hasText: 'Heron' }).getByText('1 comment').waitFor();

  // A title counts more than a text.
  await field.fill('gull');
  await page.locator('.posts li').nth(19).waitFor();
  assert.equal(await page.locator('.posts li').count(), 20);
  await page.getByRole('button', { name: 'More posts' }).click();
  await page.locator('.posts li').nth(25).waitFor();
  assert.equal(await titles.last().innerText(), 'Heron');
  assert.equal(await page.getByRole('button', { name: 'More posts' }).count(), 0);

  await field.fill('BITTERN pelican');
  await waitForTexts(titles, ['Last']);
  await field.fill('pelican');
  await page.getByText('No post has these words.').waitFor();
  await field.press('Escape');
  await titles.filter({ hasText: 'Last' }).first().waitFor();
  assert.equal(await titles.first().getAttribute('href'), `/posts/${last}`);
  await closePage(page);
});

test('what the server refuses is said in words', async () => {
  const page = await openPage(browser, stack.url, {}, async (opened) => {
    await opened.route('**/graphql', async (route) => {
      if (!route.request().postData()?.includes('SearchPosts')) return route.fallback();
      await route.fulfill({
        json: { errors: [{ message: 'no index', extensions: { code: 'SEARCH_UNAVAILABLE' } }] },
      });
    });
  });
  await page.getByRole('searchbox', { name: 'Search posts' }).fill('heron');
  await page.getByText('The server is still getting ready to search.').waitFor();
  await page.unroute('**/graphql');
  await page.getByRole('button', { name: 'Try again' }).click();
  await waitForTexts(page.locator('.row-title'), ['Heron']);
  await closePage(page);
});
