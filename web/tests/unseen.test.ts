// What came while the reader was elsewhere: counted in the tab's title, and marked in the list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForState,
  waitForTexts,
  waitForTitle,
} from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, PLAIN, type Stack, startStack } from './support/stack';
import { eventually } from './support/waiting';

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([startStack(PLAIN, OPEN_TO_ALL), launchBrowser()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const postUrl = (id: string) => `${stack.url}posts/${id}`;

/** A tab that can be hidden: a headless browser shows them all. */
function hideable(page: Page): Promise<unknown> {
  return page.addInitScript(() => {
    Object.assign(window, { isHidden: sessionStorage.getItem('hidden') === 'yes' });
    Object.defineProperty(document, 'visibilityState', {
      get() {
        return (window as unknown as { isHidden: boolean }).isHidden ? 'hidden' : 'visible';
      },
    });
  });
}

async function hide(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.assign(window, { isHidden: hidden });
    sessionStorage.setItem('hidden', hidden ? 'yes' : 'no');
    document.dispatchEvent(new Event('visibilitychange'));
  }, isHidden);
}

/** The page has kept how far the reader has seen the post's comments: it waits until they are in view. */
async function waitForSeen(page: Page, post: string): Promise<void> {
  await page.waitForFunction((id) => localStorage.getItem('rejoinder.seen')?.includes(id), post);
}

/** The list from top to bottom, with its line. */
function waitForList(page: Page, expected: string[]): Promise<void> {
  return eventually(async () => {
    const shown = await page
      .locator('.comment-list:not(.sending) > li')
      .evaluateAll((items) =>
        items.map(
          (item) => item.querySelector('.comment-body > .text')?.textContent ?? item.firstChild?.textContent,
        ),
      );
    assert.deepEqual(shown, expected);
  });
}

test('comments that come while the tab is hidden are counted in its title, and marked when it is shown', async () => {
  const post = await graph.createPost('Behind another tab');
  await graph.createComment(post, 'Seen');
  const page = await openPage(browser, postUrl(post), {}, hideable);
  await waitForState(page, 'Live');
  await waitForComments(page, ['Seen']);
  // Whoever looks on has seen it.
  await graph.createComment(post, 'Seen as it came');
  await waitForList(page, ['Seen as it came', 'Seen']);
  await waitForTitle(page, /^Behind another tab · Rejoinder$/);

  await page.getByLabel('Your comment').focus();
  await hide(page, true);
  await graph.createComment(post, 'First of the new');
  await graph.createComment(post, 'Second of the new');
  await waitForTitle(page, /^\(2\) Behind another tab · Rejoinder$/);
  const scrolled = await page.evaluate(() => scrollY);
  await hide(page, false);
  await waitForTitle(page, /^Behind another tab · Rejoinder$/);
  await waitForList(page, ['Second of the new', 'First of the new', '↑ New', 'Seen as it came', 'Seen']);
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'comment-text', 'the focus stays');
  assert.equal(await page.evaluate(() => scrollY), scrolled, 'the scroll stays');
  assert.deepEqual(await seriousFaults(page), []);

  // The line of the next absence takes its place; one's own comments are not new.
  await page.getByLabel('Your comment').fill('Mine');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await page.locator('.comment', { hasText: 'Mine' }).waitFor();
  await hide(page, true);
  await graph.createComment(post, 'Third of the new');
  await waitForTitle(page, /^\(1\)/);
  await hide(page, false);
  await waitForList(page, [
    'Third of the new',
    '↑ New',
    'Mine',
    'Second of the new',
    'First of the new',
    'Seen as it came',
    'Seen',
  ]);
  // Another post has its own title.
  await hide(page, true);
  await graph.createComment(post, 'Fourth');
  await waitForTitle(page, /^\(1\)/);
  await hide(page, false);
  await page.getByRole('link', { name: 'Rejoinder', exact: true }).click();
  await waitForTitle(page, /^[^(]/);
  await closePage(page);
});

test('a reader who comes back finds the line where the reading ended, and a first visit has none', async () => {
  const post = await graph.createPost('Read over days');
  await graph.createComment(post, 'Monday');
  const page = await openPage(browser, postUrl(post), {}, hideable);
  await waitForList(page, ['Monday']);
  await waitForSeen(page, post);
  await page.goto(`${stack.url}stats.html`);
  await graph.createComment(post, 'Tuesday');
  await graph.createComment(post, 'Wednesday');

  // It comes back behind another tab: nothing is seen yet, and a reload changes nothing.
  await page.evaluate(() => sessionStorage.setItem('hidden', 'yes'));
  await page.goto(postUrl(post));
  await waitForTitle(page, /^\(2\) Read over days/);
  await waitForList(page, ['Wednesday', 'Tuesday', '↑ New', 'Monday']);
  await page.reload();
  await waitForTitle(page, /^\(2\) Read over days/);
  await hide(page, false);
  await waitForTitle(page, /^Read over days/);
  await waitForList(page, ['Wednesday', 'Tuesday', '↑ New', 'Monday']);
  await page.reload();
  await waitForList(page, ['Wednesday', 'Tuesday', 'Monday']);
  await closePage(page);
});

test('what comes out of view is counted until the reader scrolls there', async () => {
  const post = await graph.createPost('Far down', 'A paragraph.\n\n'.repeat(60));
  for (let number = 1; number <= 25; number++) await graph.createComment(post, `Line ${number}`);
  const page = await openPage(browser, postUrl(post), PHONE);
  await page.locator('.comment').first().waitFor();
  await waitForState(page, 'Live');
  await graph.createComment(post, 'Line 26');
  await waitForTitle(page, /^\(1\) Far down/);
  await page.locator('#comments-title').scrollIntoViewIfNeeded();
  await waitForTitle(page, /^Far down/);
  await page.locator('.new-line').waitFor();

  // Older comments join below the line, and the focus goes on with them.
  const older = page.getByRole('button', { name: 'Older comments' });
  await older.focus();
  await page.keyboard.press('Enter');
  await page.locator('.comment:focus', { hasText: 'Line 5' }).waitFor();

  // More than a page came: the count says that it is not all.
  await page.goto(`${stack.url}stats.html`);
  for (let number = 27; number <= 50; number++) await graph.createComment(post, `Line ${number}`);
  await page.goto(postUrl(post));
  await waitForTitle(page, /^\(20\+\) Far down/);
  assert.equal(await page.locator('.new-line').count(), 0);
  await closePage(page);
});

test('another order is no absence, and the oldest comments do not tell what was seen', async () => {
  const post = await graph.createPost('Oldest first');
  for (let number = 1; number <= 25; number++) await graph.createComment(post, `Line ${number}`);
  const page = await openPage(browser, `${postUrl(post)}?order=oldest`, {}, hideable);
  await waitForState(page, 'Live');
  await waitForComments(
    page,
    Array.from({ length: 20 }, (_, index) => `Line ${index + 1}`),
  );
  const newest = Array.from({ length: 20 }, (_, index) => `Line ${25 - index}`);
  await page.getByLabel('Sort by').selectOption('Newest');
  await waitForList(page, newest);
  await waitForTitle(page, /^Oldest first/);

  // Who was away meanwhile finds the line, also by a way round.
  await waitForSeen(page, post);
  await page.goto(`${stack.url}stats.html`);
  await graph.createComment(post, 'Line 26');
  await page.goto(`${postUrl(post)}?order=oldest`);
  await page.locator('.comment').first().waitFor();
  await waitForTitle(page, /^Oldest first/);
  await page.getByLabel('Sort by').selectOption('Newest');
  await waitForList(page, ['Line 26', '↑ New', ...newest.slice(0, 19)]);
  await closePage(page);
});

test('among replies the line stands between new and seen comments, and new replies to seen ones are marked', async () => {
  const post = await graph.createPost('Answered meanwhile');
  const reply = (parentId: string, text: string) =>
    graph.run('mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }', {
      input: { postId: post, parentId, text, author: 'Replier' },
    });
  const first = await graph.createComment(post, 'First question');
  const second = await graph.createComment(post, 'Second question');
  await reply(first, 'Answer that was seen');
  const page = await openPage(browser, postUrl(post), {}, hideable);
  await waitForState(page, 'Live');
  await waitForList(page, ['Second question', 'First question', 'Answer that was seen']);
  const marked = page.locator('.comment:has(> .comment-body > .meta .new-mark) > .comment-body > .text');

  await hide(page, true);
  await reply(second, 'New answer to the second');
  const third = await graph.createComment(post, 'Third question');
  await reply(third, 'Answer to a new one');
  await reply(first, 'New answer to the first');
  await waitForTitle(page, /^\(4\)/);
  await hide(page, false);
  await waitForList(page, [
    'Third question',
    'Answer to a new one',
    '↑ New',
    'Second question',
    'New answer to the second',
    'First question',
    'Answer that was seen',
    'New answer to the first',
  ]);
  await waitForTexts(marked, ['New answer to the second', 'New answer to the first']);
  assert.deepEqual(await seriousFaults(page), []);

  // Only replies came: there is no line, and they are marked.
  await page.goto(`${stack.url}stats.html`);
  await reply(first, 'Another answer');
  await page.goto(postUrl(post));
  await waitForTexts(marked, ['Another answer']);
  assert.equal(await page.locator('.new-line').count(), 0);
  await closePage(page);
});

test('what is kept of what was seen is bounded, and what is broken in it does no harm', async () => {
  const post = await graph.createPost('One of many');
  await graph.createComment(post, 'Here');
  const page = await openPage(browser, `${stack.url}stats.html`);
  const kept = () =>
    page.evaluate(
      () => JSON.parse(localStorage.getItem('rejoinder.seen') ?? 'null') as [string, string, string][],
    );
  await page.evaluate(() => {
    const many = Array.from({ length: 250 }, (_, index) => [
      `post ${index}`,
      '2020-01-01T00:00:00.000Z',
      'id',
    ]);
    localStorage.setItem('rejoinder.seen', JSON.stringify([5, null, ['x'], ...many]));
  });
  await page.goto(postUrl(post));
  await eventually(async () => assert.equal((await kept()).at(-1)?.[0], post));
  assert.equal((await kept()).length, 200);

  await page.evaluate(() => localStorage.setItem('rejoinder.seen', '{"half'));
  await page.reload();
  await eventually(async () =>
    assert.deepEqual(
      (await kept()).map(([id]) => id),
      [post],
    ),
  );
  await closePage(page);
});
