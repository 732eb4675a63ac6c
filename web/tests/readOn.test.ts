// Texts of which the page shows the beginning at first, because a first visit would weigh too much with all of them: the way
// to the rest, with a script and without one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  DESKTOP,
  launchBrowser,
  openPage,
  PHONE,
  waitForState,
  waitForTexts,
  waitForValue,
} from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { AUTHOR_CHARS, COMMENT_CHARS, textKinds, TITLE_CHARS } from './support/texts';
import { eventually, gate } from './support/waiting';

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([startStack({}, OPEN_TO_ALL), launchBrowser()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const postUrl = (id: string) => `${stack.url}posts/${id}`;
const kinds = textKinds();
const random = kinds.get('random characters of four bytes') ?? (() => '');
const prose = kinds.get('prose') ?? (() => '');
/** Nothing compresses it, so that a page shows its beginning alone: some paragraphs with a construct at each end. */
const HEAVY = Array.from({ length: 18 }, (_, index) => `**${index}** ${random(1_000)} \`${index}\``);

const shownText = (page: Page) => page.locator('.content');

/** The operations that the page asks for over HTTP, with their variables. */
function asked(page: Page): { operationName: string; variables: Record<string, unknown> }[] {
  const operations: { operationName: string; variables: Record<string, unknown> }[] = [];
  page.on('request', (request) => {
    const body = request.url().endsWith('/graphql') ? request.postData() : null;
    if (body) operations.push(JSON.parse(body) as (typeof operations)[number]);
  });
  return operations;
}

test('without a script a heavy text ends between two paragraphs, and a link leads to all of it', async () => {
  const post = await graph.createPost('Heavy', HEAVY.join('\n\n'));
  await graph.createComment(post, 'Below');
  for (const device of [DESKTOP, PHONE]) {
    const page = await openPage(browser, postUrl(post), { ...device, javaScriptEnabled: false });
    const parts = await shownText(page).locator('> p').count();
    assert.ok(parts > 0 && parts < HEAVY.length, `${parts} paragraphs`);
    assert.equal(await shownText(page).locator('strong').count(), parts);
    assert.equal(await shownText(page).locator('code').count(), parts);
    await page.getByText('Below').waitFor();
    await page.getByRole('link', { name: 'Read on' }).click();
    await page.waitForURL(`${postUrl(post)}?whole`);
    assert.equal(await shownText(page).locator('code').count(), HEAVY.length);
    assert.equal(await page.getByRole('link', { name: 'Read on' }).count(), 0);
    assert.equal(await page.locator('h1').textContent(), 'Heavy');
    await closePage(page);
  }
});

test('the live page takes over the beginning of a text as it is, and goes on in its place', async () => {
  const post = await graph.createPost('Heavy and live', HEAVY.join('\n\n'));
  await graph.createComment(post, 'Below');
  for (const device of [DESKTOP, PHONE]) {
    const loaded = gate();
    let operations: ReturnType<typeof asked> = [];
    const page = await openPage(browser, postUrl(post), device, async (opened) => {
      operations = asked(opened);
      await opened.route('**/assets/main-*.js', async (route) => {
        await loaded.opened;
        await route.continue();
      });
    });
    const link = page.getByRole('link', { name: 'Read on' });
    const rendered = await shownText(page).innerHTML();
    const top = async () => (await link.boundingBox())?.y ?? 0;
    await link.scrollIntoViewIfNeeded();
    const before = await top();
    loaded.open();
    await waitForState(page, 'Live');
    assert.ok(Math.abs((await top()) - before) < 2, `${await top()} after ${before}`);
    const order = (html: string) => html.replace(/ (?:rel|href|dir)="[^"]*"/g, '').length;
    assert.equal(order(await shownText(page).innerHTML()), order(rendered));
    assert.deepEqual(await seriousFaults(page), []);

    // The reader stays where they are, and so does the focus, where the text goes on.
    const parts = await shownText(page).locator('> p').count();
    const { y } = await page.evaluate(() => ({ y: scrollY }));
    await link.focus();
    await page.keyboard.press('Enter');
    await eventually(async () => assert.equal(await shownText(page).locator('code').count(), HEAVY.length));
    await link.waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => scrollY), y);
    const goesOn = shownText(page).locator(`> p >> nth=${parts}`);
    await eventually(async () =>
      assert.ok(await goesOn.evaluate((element) => element === document.activeElement), 'the focus goes on'),
    );
    const names = operations.map(({ operationName }) => operationName);
    assert.equal(names.filter((name) => name === 'Post').length, 1, names.join());
    assert.ok(!names.includes('Start'), names.join());

    // A reload keeps what was read, and the place.
    const last = shownText(page).locator('strong').last();
    await last.scrollIntoViewIfNeeded();
    await page.waitForFunction(() => {
      const { place } = (history.state ?? {}) as { place?: { y: number; isWhole?: boolean } };
      return place?.isWhole === true && Math.abs(place.y - scrollY) < 1;
    });
    const place = await page.evaluate(() => scrollY);
    await page.reload();
    await waitForState(page, 'Live');
    await eventually(async () => {
      assert.equal(await shownText(page).locator('code').count(), HEAVY.length);
      const y = await page.evaluate(() => scrollY);
      assert.ok(Math.abs(y - place) < 8, `${y} after ${place}`);
    });
    await closePage(page);
  }
});

test('whoever edits a post has all of its text', async () => {
  const text = HEAVY.join('\n\n');
  const post = await graph.createPost('Heavy to edit', text);
  const page = await openPage(browser, postUrl(post));
  await waitForState(page, 'Live');
  await page.getByRole('link', { name: 'Read on' }).waitFor();
  await page.getByRole('button', { name: 'Edit the post' }).click();
  await waitForValue(page.getByLabel('Text', { exact: true }), text);
  await closePage(page);
});

test('beside the list the newest post has its beginning, and all of it once it is chosen', async () => {
  const paragraphs = Array.from({ length: 30 }, (_, index) => `Part ${index + 1}: ${prose(500)}`);
  const post = await graph.createPost('Beside the list', paragraphs.join('\n\n'));
  const shown = shownText;
  const read = async (page: Page) => (await shown(page).locator('> p').allTextContents()).length;
  for (const choose of [
    (page: Page) => page.locator('.posts a', { hasText: 'Beside the list' }).click(),
    (page: Page) => page.getByRole('link', { name: 'Read on' }).click(),
  ]) {
    let operations: ReturnType<typeof asked> = [];
    const page = await openPage(browser, stack.url, {}, async (opened) => {
      operations = asked(opened);
    });
    await page.waitForURL(postUrl(post));
    await page.getByRole('link', { name: 'Read on' }).waitFor();
    const parts = await read(page);
    assert.ok(parts > 8 && parts < 17, `${parts} paragraphs`);
    await waitForState(page, 'Live');
    assert.deepEqual(operations.filter(({ operationName }) => operationName === 'Post').length, 0);
    await choose(page);
    await eventually(async () => assert.equal(await read(page), paragraphs.length));
    assert.equal(await page.getByRole('link', { name: 'Read on' }).count(), 0);
    await closePage(page);
  }
  // Its own page has all of it.
  const own = await openPage(browser, postUrl(post));
  await waitForState(own, 'Live');
  assert.equal(await read(own), paragraphs.length);
  await closePage(own);
});

test('a text that cannot be read on says so, and can be tried again', async () => {
  const post = await graph.createPost('Heavy and refused', HEAVY.join('\n\n'));
  let isRefused = true;
  const page = await openPage(browser, postUrl(post), {}, (opened) =>
    opened.route('**/graphql', (route) => {
      const { operationName } = route.request().postDataJSON() as { operationName?: string };
      return isRefused && operationName === 'Post' ? route.fulfill({ status: 503 }) : route.continue();
    }),
  );
  await waitForState(page, 'Live');
  await page.getByRole('link', { name: 'Read on' }).click();
  await page.getByText('The rest of the text cannot be shown.').waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  isRefused = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  await eventually(async () => assert.equal(await shownText(page).locator('code').count(), HEAVY.length));
  await closePage(page);
});

test('on paper the beginning of a text says that it is one', async () => {
  const post = await graph.createPost('Heavy on paper', HEAVY.join('\n\n'));
  for (const javaScriptEnabled of [true, false]) {
    const page = await openPage(browser, postUrl(post), { javaScriptEnabled });
    if (javaScriptEnabled) await waitForState(page, 'Live');
    await page.emulateMedia({ media: 'print' });
    const words = await page
      .getByRole('link', { name: 'Read on' })
      .evaluate((link) => (link.textContent ?? '') + getComputedStyle(link, '::after').content);
    assert.equal(words, 'Read on" before you print: this is the beginning of the text."');
    assert.ok(await page.getByRole('link', { name: 'Read on' }).isVisible());
    await closePage(page);
  }
});

test('a list of long titles and names ends early, goes on when it is asked to, and is read once', async () => {
  const titles: string[] = [];
  for (let number = 1; number <= 32; number++) {
    titles.unshift(`${number} ${random(TITLE_CHARS - 5)}`);
    await graph.createPost(titles[0] ?? '', random(COMMENT_CHARS), random(AUTHOR_CHARS));
  }
  const rows = (page: Page) => page.locator('.posts .row-title');
  const plain = await openPage(browser, stack.url, { javaScriptEnabled: false });
  const first = await rows(plain).count();
  assert.ok(first > 4 && first < 20, `${first} posts`);
  await waitForTexts(rows(plain), titles.slice(0, first));
  await plain.getByRole('link', { name: 'Older posts' }).click();
  await plain.waitForURL(/after=/);
  const second = await rows(plain).count();
  await waitForTexts(rows(plain), titles.slice(first, first + second));
  await closePage(plain);

  for (const device of [DESKTOP, PHONE]) {
    let operations: ReturnType<typeof asked> = [];
    let isComplete: Promise<unknown> | undefined;
    const page = await openPage(browser, stack.url, device, async (opened) => {
      operations = asked(opened);
      isComplete = opened.waitForResponse(
        (response) => response.request().postData()?.includes('PostVersions') ?? false,
      );
    });
    await waitForState(page, 'Live');
    await isComplete;
    await waitForTexts(rows(page), titles.slice(0, first));
    // What may have been missed is asked for, and nothing of it is read again.
    const versions = operations.filter(({ operationName }) => operationName === 'PostVersions');
    assert.deepEqual([...new Set(versions.map(({ variables }) => variables.first))], [first]);
    assert.ok(!operations.some(({ operationName }) => operationName === 'Posts'));
    await page.getByRole('button', { name: 'Older posts' }).click();
    await waitForTexts(rows(page), titles.slice(0, first + 20));
    if (device === DESKTOP) {
      await closePage(page);
      continue;
    }
    // As far as it was loaded.
    await page.mouse.wheel(0, 300);
    await page.waitForFunction(
      (count) => (history.state as { place?: { posts: number } } | null)?.place?.posts === count,
      titles.slice(0, first + 20).length,
    );
    await page.reload();
    await waitForState(page, 'Live');
    await waitForTexts(rows(page), titles.slice(0, first + 20));
    await closePage(page);
  }
});

test('a post that is not in the list is loaded once', async () => {
  const post = await graph.createPost('Not in the list', prose(6_000));
  for (let number = 1; number <= 21; number++) await graph.createPost(`Newer ${number}`);
  let operations: ReturnType<typeof asked> = [];
  let isComplete: Promise<unknown> | undefined;
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    operations = asked(opened);
    isComplete = opened.waitForResponse(
      (response) => response.request().postData()?.includes('query PostVersion(') ?? false,
    );
  });
  await waitForState(page, 'Live');
  await isComplete;
  await page.waitForLoadState('networkidle');
  const names = operations.map(({ operationName }) => operationName);
  assert.ok(!names.some((name) => /^(Start|Post$|Posts$|PostComments$)/.test(name)), names.join());
  // What was changed meanwhile is read all the same.
  await graph.change('mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }', {
    id: post,
    content: 'Now short.',
  });
  await shownText(page).getByText('Now short.').waitFor();
  await closePage(page);
});
