// The live page, as two people see it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page, Route } from 'playwright-core';

import {
  closePage,
  DESKTOP,
  focused,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForFocus,
  waitForFocusOn,
  waitForState,
  waitForTitle,
  waitForValue,
} from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, PLAIN, type Stack, startStack } from './support/stack';
import { holdTimers, keepOffers, waitForAnswers } from './support/time';
import { eventually, gate } from './support/waiting';

/** Cumulative layout shift; up to 0.1 counts as good. Source: https://web.dev/articles/cls */
const LAYOUT_SHIFT_MAX = 0.02;

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

test('two browsers see each other’s comments as they are written, edited and deleted', async () => {
  const post = await graph.createPost('Two readers');
  const open = () => openPage(browser, postUrl(post), {}, keepOffers);
  const [anna, ben] = await Promise.all([open(), open()]);
  await Promise.all([waitForState(anna, 'Live'), waitForState(ben, 'Live')]);

  await anna.getByLabel('Your name').fill('Anna');
  await anna.getByLabel('Your comment').fill('Hello Ben');
  await anna.getByRole('button', { name: 'Comment', exact: true }).click();
  await ben.getByText('Hello Ben').waitFor();

  await ben.getByLabel('Your comment').fill('Hello Anna');
  await ben.getByRole('button', { name: 'Comment', exact: true }).click();
  for (const page of [anna, ben]) await waitForComments(page, ['Hello Anna', 'Hello Ben']);
  for (const page of [anna, ben]) await page.getByRole('heading', { name: '2 comments' }).waitFor();
  await anna.locator('.posts li:has(a[aria-current])', { hasText: '2 comments' }).waitFor();

  const hers = anna.locator('.comment').nth(1);
  await hers.hover();
  await hers.getByRole('button', { name: /^Edit/ }).click();
  await hers.getByRole('textbox').fill('Good morning Ben');
  await hers.getByRole('button', { name: 'Save' }).click();
  await waitForComments(ben, ['Hello Anna', 'Good morning Ben']);
  await ben.locator('.comment', { hasText: 'Good morning Ben' }).getByText('edited').waitFor();

  const his = ben.locator('.comment', { hasText: 'Hello Anna' });
  await his.hover();
  await his.getByRole('button', { name: /^Delete/ }).click();
  await ben.getByRole('button', { name: 'Delete now' }).click();
  for (const page of [anna, ben]) await waitForComments(page, ['Good morning Ben']);
  await anna.getByRole('heading', { name: '1 comment' }).waitFor();
  await Promise.all([closePage(anna), closePage(ben)]);
});

test('a post is written, seen elsewhere, edited and deleted', async () => {
  const open = () => openPage(browser, stack.url, {}, keepOffers);
  const [writer, reader] = await Promise.all([open(), open()]);
  await Promise.all([waitForState(writer, 'Live'), waitForState(reader, 'Live')]);

  await writer.getByRole('link', { name: 'New post' }).click();
  await writer.getByLabel('Title').fill('A post from the page');
  await writer.getByLabel('Text').fill('Its first paragraph.');
  await writer.getByRole('button', { name: 'Publish' }).click();
  await writer.getByRole('heading', { name: 'A post from the page' }).waitFor();
  await reader.getByRole('link', { name: /A post from the page/ }).click();
  await reader.getByRole('heading', { name: 'A post from the page' }).waitFor();

  await writer.getByRole('button', { name: 'Edit the post' }).click();
  await writer.getByLabel('Title').fill('A better title');
  await writer.getByRole('button', { name: 'Save' }).click();
  await reader.getByRole('heading', { name: 'A better title' }).waitFor();

  await writer.getByRole('button', { name: 'Delete the post' }).click();
  await writer.getByRole('button', { name: 'Really delete' }).click();
  await writer.getByRole('button', { name: 'Delete now' }).click();
  for (const page of [writer, reader])
    await page.getByRole('link', { name: /A better title/ }).waitFor({ state: 'detached' });
  await reader.getByRole('heading', { name: 'This post was deleted' }).waitFor();
  await Promise.all([closePage(writer), closePage(reader)]);
});

test('a comment between the page’s query and its subscription is shown, once', async () => {
  const post = await graph.createPost('A narrow gap');
  await graph.createComment(post, 'Before the query');
  // The page has read its comments, and its live connection is slow to come.
  const network = gate();
  const page = await openPage(browser, postUrl(post), {}, (page) =>
    page.routeWebSocket('**/graphql', async (socket) => {
      await network.opened;
      socket.connectToServer();
    }),
  );
  await page.getByText('Before the query').waitFor();
  await graph.createComment(post, 'In the gap');
  network.open();
  await page.getByText('In the gap').waitFor();
  await graph.createComment(post, 'After the gap');
  await waitForComments(page, ['After the gap', 'In the gap', 'Before the query']);
  await closePage(page);
});

test('older comments come page by page, without a gap and without a double', async () => {
  const post = await graph.createPost('A long conversation');
  const written: string[] = [];
  for (let number = 1; number <= 45; number++) {
    await graph.createComment(post, `Comment ${number}`);
    written.unshift(`Comment ${number}`);
  }
  const page = await openPage(browser, postUrl(post));
  await waitForComments(page, written.slice(0, 20));

  // Written between two pages: it joins at the top and moves no page.
  await waitForState(page, 'Live');
  await graph.createComment(post, 'In between');
  await page.getByText('In between').waitFor();
  const older = page.getByRole('button', { name: 'Older comments' });
  // The first try fails: that is told, and there is another.
  await page.route('**/graphql', (route) => route.fulfill({ status: 503 }));
  await older.click();
  const again = page.locator('main').getByRole('button', { name: 'Try again' });
  await again.waitFor();
  await page.unroute('**/graphql');
  await again.click();
  await waitForComments(page, ['In between', ...written.slice(0, 40)]);
  await older.click();
  await waitForComments(page, ['In between', ...written]);
  await older.waitFor({ state: 'detached' });
  await closePage(page);
});

test('what arrives does not move what is being read', async () => {
  const post = await graph.createPost('Read in peace');
  for (let number = 1; number <= 20; number++) await graph.createComment(post, `Line ${number}`);
  const page = await openPage(browser, postUrl(post), PHONE);
  await page.locator('.comment').first().waitFor();
  await waitForState(page, 'Live');

  const read = page.getByText('Line 5', { exact: true });
  await read.evaluate((element) => element.scrollIntoView({ block: 'center' }));
  await waitUntilOutOfView(page, '.comments-head');
  const top = () => read.evaluate((element) => element.getBoundingClientRect().top);
  const before = await top();
  await graph.createComment(post, 'News from above');
  await page.getByRole('button', { name: '1 new comment' }).waitFor();
  await eventually(async () => {
    const moved = (await top()) - before;
    assert.ok(Math.abs(moved) < 2, `moved by ${moved} px`);
  });

  await page.getByRole('button', { name: '1 new comment' }).click();
  await page.getByRole('button', { name: '1 new comment' }).waitFor({ state: 'detached' });
  await page.locator('.comment').first().getByText('News from above').waitFor();
  await closePage(page);
});

/** Waits until the page knows that an element is out of view: the browser tells its observers together. */
async function waitUntilOutOfView(page: Page, selector: string): Promise<void> {
  await page.locator(selector).evaluate(
    (element) =>
      new Promise<void>((resolve) => {
        const observer = new IntersectionObserver((entries) => {
          if (entries.at(-1)?.isIntersecting) return;
          observer.disconnect();
          resolve();
        });
        observer.observe(element);
      }),
  );
}

test('nothing jumps while a page loads, on a desk and on a phone', async () => {
  const post = await graph.createPost('Stands still');
  await graph.createComment(post, 'Here before you');
  const pages: [url: string, settled: (page: Page) => Promise<unknown>][] = [
    [postUrl(post), (page) => page.getByText('Here before you').waitFor()],
    [stack.url, (page) => page.locator('.posts li').first().waitFor()],
    [`${stack.url}stats.html`, (page) => page.locator('polyline').nth(4).waitFor({ state: 'attached' })],
  ];
  for (const device of [DESKTOP, PHONE]) {
    for (const [url, settled] of pages) {
      const page = await openPage(browser, url, device, async (page) => {
        await page.addInitScript(sumLayoutShifts);
        await answerAfterPlaceholders(page);
      });
      await settled(page);
      if (!url.endsWith('stats.html')) await waitForState(page, 'Live');
      const shifted = await page.evaluate(() => (window as unknown as { shifted: number }).shifted);
      assert.ok(shifted < LAYOUT_SHIFT_MAX, `${url} at ${device.viewport.width} px: shifted by ${shifted}`);
      await closePage(page);
    }
  }
});

/** The first answer of the graph comes when the page has drawn what stands in for it. */
async function answerAfterPlaceholders(page: Page): Promise<void> {
  const answer = async (route: Route) => {
    await page.locator('.skeleton:visible').first().waitFor();
    await route.continue();
  };
  await page.route('**/graphql', answer, { times: 1 });
}

function sumLayoutShifts(): void {
  Object.assign(window, { shifted: 0 });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      (window as unknown as { shifted: number }).shifted += (entry as unknown as { value: number }).value;
  }).observe({ type: 'layout-shift', buffered: true });
}

/** Presses Tab until the focus is on something that begins with these words. */
async function tabTo(page: Page, words: string): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    if ((await focused(page)).startsWith(words)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`"${words}" is not reached with the Tab key`);
}

test('a comment is written, edited and deleted by keyboard alone', async () => {
  const post = await graph.createPost('No mouse here');
  for (let number = 1; number <= 21; number++) await graph.createComment(post, `Comment ${number}`);
  const page = await openPage(browser, stack.url, {}, keepOffers);
  await waitForState(page, 'Live');
  await page.getByRole('link', { name: /No mouse here/ }).waitFor();

  await tabTo(page, 'No mouse here');
  await page.keyboard.press('Enter');
  await page.waitForURL(postUrl(post));
  await waitForFocus(page, 'h1');
  await tabTo(page, 'Your comment');
  await page.keyboard.type('Typed, not clicked');
  await page.keyboard.press('Control+Enter');
  await page.locator('.comment', { hasText: 'Typed, not clicked' }).waitFor();
  // The comment may arrive before the answer.
  await waitForValue(page.getByLabel('Your comment'), '');
  await waitForFocus(page, '#comment-text');

  await tabTo(page, 'Edit the comment');
  await page.keyboard.press('Enter');
  await waitForFocus(page, '.comment textarea');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('Typed twice');
  await page.keyboard.press('Control+Enter');
  await page.locator('p.text', { hasText: 'Typed twice' }).waitFor();

  await waitForFocusOn(page, 'Edit the comment');
  await page.keyboard.press('Enter');
  await waitForFocus(page, '.comment textarea');
  await page.keyboard.press('Escape');
  await waitForFocusOn(page, 'Edit the comment');
  await tabTo(page, 'Delete the comment');
  await page.keyboard.press('Enter');
  await waitForFocusOn(page, 'Undo');
  await page.keyboard.press('Enter');
  await page.locator('p.text', { hasText: 'Typed twice' }).waitFor();
  await tabTo(page, 'Delete the comment');
  await page.keyboard.press('Enter');
  await waitForFocusOn(page, 'Undo');
  await tabTo(page, 'Delete now');
  await page.keyboard.press('Enter');
  await page.getByText('Typed twice').waitFor({ state: 'detached' });
  await waitForFocus(page, '.comment:first-child');
  assert.match(await focused(page), /Comment 21/);

  // The focus stays where the reading goes on.
  await page.getByRole('button', { name: 'Older comments' }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('Comment 1', { exact: true }).waitFor();
  await waitForFocus(page, '.comment:last-child');
  await closePage(page);
});

test('a post is written, edited and deleted by keyboard alone', async () => {
  const page = await openPage(browser, stack.url, {}, keepOffers);
  await waitForState(page, 'Live');
  await tabTo(page, 'New post');
  await page.keyboard.press('Enter');
  await waitForFocus(page, 'form input');
  await page.keyboard.type('Written by hand');
  await tabTo(page, 'Text');
  await page.keyboard.type('One key at a time.');
  await page.keyboard.press('Control+Enter');
  await page.getByRole('heading', { name: 'Written by hand' }).waitFor();
  await waitForFocus(page, 'h1');

  await tabTo(page, 'Edit the post');
  await page.keyboard.press('Enter');
  await waitForFocus(page, 'form input');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('Written by ten fingers');
  await page.keyboard.press('Control+Enter');
  await page.getByRole('heading', { name: 'Written by ten fingers' }).waitFor();

  await waitForFocusOn(page, 'Edit the post');
  await tabTo(page, 'Delete the post');
  await page.keyboard.press('Enter');
  await waitForFocusOn(page, 'Really delete');
  await page.keyboard.press('Escape');
  await waitForFocusOn(page, 'Delete the post');
  await page.keyboard.press('Enter');
  await waitForFocusOn(page, 'Really delete');
  await page.keyboard.press('Enter');
  await waitForFocusOn(page, 'Undo');
  await tabTo(page, 'Delete now');
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: /Written by ten fingers/ }).waitFor({ state: 'detached' });
  await waitForFocus(page, 'h1');
  await closePage(page);
});

test('a new post takes nobody’s reading or writing away', async () => {
  const first = await graph.createPost('Open beside the list');
  const page = await openPage(browser, stack.url);
  await waitForState(page, 'Live');
  await page.getByRole('heading', { name: 'Open beside the list' }).waitFor();
  await page.getByLabel('Your comment').fill('Half a thought');
  await graph.createPost('Newer than the open one');
  await page.getByRole('link', { name: /Newer than the open one/ }).waitFor();
  await page.getByRole('heading', { name: 'Open beside the list' }).waitFor();
  assert.equal(await page.getByLabel('Your comment').inputValue(), 'Half a thought');

  // When it is gone, what was not sent is still there.
  await graph.deletePost(first);
  await page.getByRole('heading', { name: 'This post was deleted' }).waitFor();
  assert.equal(await page.getByLabel('Your text').inputValue(), 'Half a thought');
  await page.getByRole('link', { name: 'See all posts.' }).click();

  // Of a post that the page has opened by itself, and about which nothing was written, another takes the place.
  await page.getByRole('heading', { name: 'Newer than the open one' }).waitFor();
  const last = await graph.createPost('The last of all');
  await page.getByRole('link', { name: /The last of all/ }).waitFor();
  await page.getByRole('link', { name: 'Rejoinder', exact: true }).click();
  await page.getByRole('heading', { name: 'The last of all' }).waitFor();
  await waitForState(page, 'Live');
  await graph.deletePost(last);
  await page.getByRole('heading', { name: 'Newer than the open one' }).waitFor();
  await closePage(page);
});

test('a post that is opened again shows what was written meanwhile, and keeps what arrives', async () => {
  const [post, other] = [await graph.createPost('Left and come back'), await graph.createPost('Elsewhere')];
  await graph.createComment(post, 'At first');
  const page = await openPage(browser, postUrl(post), {}, waitForAnswers);
  await waitForState(page, 'Live');
  await waitForComments(page, ['At first']);
  await page.getByRole('link', { name: 'Elsewhere', exact: true }).click();
  await page.waitForURL(postUrl(other));
  await page.getByRole('heading', { name: 'Elsewhere' }).waitFor();
  await graph.createComment(post, 'Meanwhile');

  // An answer of the server from before the next comment, if there is one, comes after it.
  const server = gate();
  const answered: Promise<void>[] = [];
  await page.route('**/graphql', async (route) => {
    const response = await route.fetch();
    const answer = server.opened.then(() => route.fulfill({ response }));
    answered.push(answer);
    await answer;
  });
  await page.getByRole('link', { name: /Left and come back/ }).click();
  await waitForComments(page, ['Meanwhile', 'At first']);
  await graph.createComment(post, 'While it is read');
  await waitForComments(page, ['While it is read', 'Meanwhile', 'At first']);
  server.open();
  await Promise.all(answered);
  await graph.createComment(post, 'At last');
  await waitForComments(page, ['At last', 'While it is read', 'Meanwhile', 'At first']);
  await closePage(page);
});

test('comments are written where the browser keeps nothing and the page came over plain HTTP', async () => {
  const post = await graph.createPost('From another device');
  const page = await openPage(browser, postUrl(post), {}, (page) =>
    page.addInitScript(() => {
      Object.defineProperty(crypto, 'randomUUID', { value: undefined });
      Object.defineProperty(window, 'localStorage', {
        get() {
          throw new DOMException('denied', 'SecurityError');
        },
      });
    }),
  );
  await page.getByLabel('Your name').fill('Pia');
  await page.getByLabel('Your comment').fill('From my phone');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await waitForComments(page, ['From my phone']);
  await closePage(page);
});

test('an empty graph and a server that fails say so in words', async () => {
  // It does not try again by itself: what comes after a click comes of the click.
  const page = await openPage(browser, 'about:blank', {}, (opened) => holdTimers(opened, 300));
  const empty = {
    data: {
      posts: {
        __typename: 'PostConnection',
        edges: [],
        pageInfo: { __typename: 'PageInfo', hasNextPage: false, endCursor: null },
      },
    },
  };
  let server: 'empty' | 'gone' | 'back' = 'empty';
  // A subscription that stands would make it read the list again.
  await page.routeWebSocket(/graphql/, () => {});
  await page.route('**/graphql', (route) => {
    if (server === 'empty') return route.fulfill({ json: empty });
    return server === 'gone' ? route.fulfill({ status: 503, body: 'gone' }) : route.continue();
  });
  await page.goto(stack.url);
  await page.getByText('Write the first post.').waitFor();

  server = 'gone';
  await page.reload();
  await page.getByText('The server has too much to do right now.').waitFor();
  server = 'back';
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.posts li').first().waitFor();
  await page.context().close();
});

test('a post that is not there is told, with a way back', async () => {
  const page = await openPage(browser, postUrl('64b000000000000000000000'));
  await page.getByRole('heading', { name: 'Not found' }).waitFor();
  await waitForTitle(page, /^Not found/);
  await page.getByRole('link', { name: 'See all posts.' }).click();
  await page.locator('.content').waitFor();
  await closePage(page);
});
