// axe-core on every page and in every state, in both colour schemes, on a desk and on a phone. With
// SCREENSHOTS set to a folder, a picture of each is left there.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import { DESKTOP, launchBrowser, openPage, PHONE, waitForState } from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { keepOffers } from './support/time';
import { eventually } from './support/waiting';

let stack: Stack;
let browser: Browser;
let silent: string;
let discussed: string;

before(async () => {
  [stack, browser] = await Promise.all([startStack({}, OPEN_TO_ALL), launchBrowser()]);
  const graph = new Graph(stack.url);
  silent = await graph.createPost('A question nobody has answered yet', 'Is there anybody out there?', 'Pia');
  discussed = await graph.createPost(
    'What changes when comments arrive live',
    'A page that waits to be reloaded is always a little wrong. You read, you answer, and somebody else ' +
      'has already said it.\n\nWhen what others write simply appears, a list of remarks becomes a ' +
      'conversation. It asks for some care: nothing may jump while you read.',
    'Margarethe Oberhuber-Lindqvist',
  );
  for (const [author, text] of [
    ['Ada', 'The first thing I noticed: I stopped reloading.'],
    ['Tomás', 'And after a tunnel?\nDoes it know what I have missed?'],
    ['Grace', 'It does. It says “Reconnecting”, and then the missed ones are there, in their order.'],
    [
      'Ada',
      'https://example.org/a-very-long-address-without-any-place-to-break-it-that-has-to-fit-all-the-same',
    ],
    ['Linus', 'Nothing jumped.'],
  ] as const)
    await graph.createComment(discussed, text, author);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

interface View {
  name: string;
  path: () => string;
  ready: (page: Page) => Promise<unknown>;
  /** Before the next view. */
  leave?: (page: Page) => Promise<unknown>;
  /** How the answers of the graph are withheld or replaced. */
  answer?: { status: number; body: string } | 'never';
  /** The live connection is refused. */
  socket?: 'never';
}

const NO_POSTS = JSON.stringify({
  data: {
    posts: {
      __typename: 'PostConnection',
      edges: [],
      pageInfo: { __typename: 'PageInfo', hasNextPage: false, endCursor: null },
    },
  },
});

const views: View[] = [
  {
    name: 'list',
    path: () => '',
    ready: async (page) => {
      await page.locator('.posts li').first().waitFor();
      await waitForState(page, 'Live');
    },
  },
  {
    name: 'post',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').nth(4).waitFor();
      await waitForState(page, 'Live');
    },
  },
  {
    name: 'editing',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').first().hover();
      await page
        .getByRole('button', { name: /^Edit the comment/ })
        .first()
        .click();
      await page.locator('.comment textarea').waitFor();
    },
  },
  {
    name: 'no-comments',
    path: () => `posts/${silent}`,
    ready: (page) => page.getByText('No comments yet').waitFor(),
  },
  { name: 'new', path: () => 'new', ready: (page) => page.getByLabel('Title').waitFor() },
  {
    name: 'offline',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').nth(4).waitFor();
      await page.context().setOffline(true);
      await waitForState(page, 'Offline');
    },
  },
  {
    name: 'waiting',
    path: () => `posts/${discussed}`,
    socket: 'never',
    ready: async (page) => {
      await page.locator('.comment').nth(4).waitFor();
      await waitForState(page, 'Reconnecting');
    },
  },
  {
    name: 'loading',
    path: () => `posts/${discussed}`,
    answer: 'never',
    ready: (page) => page.locator('.skeleton-post').waitFor(),
  },
  {
    name: 'empty',
    path: () => '',
    answer: { status: 200, body: NO_POSTS },
    ready: (page) => page.getByText('Write the first post.').waitFor(),
  },
  {
    name: 'failure',
    path: () => `posts/${discussed}`,
    answer: { status: 503, body: 'gone' },
    ready: (page) => page.locator('main').getByText('The server has too much to do right now.').waitFor(),
  },
  {
    name: 'not-found',
    path: () => 'posts/abc',
    ready: (page) => page.getByRole('heading', { name: 'Not found' }).waitFor(),
  },
  {
    name: 'undo',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').first().hover();
      await page
        .getByRole('button', { name: /^Delete the comment/ })
        .first()
        .click();
      await page.getByRole('button', { name: 'Undo' }).waitFor();
    },
    // What waits to be deleted would be, when the page is left.
    leave: (page) => page.getByRole('button', { name: 'Undo' }).click(),
  },
  {
    name: 'conflict',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').last().hover();
      await page
        .getByRole('button', { name: /^Edit the comment/ })
        .last()
        .click();
      await page.locator('.comment textarea').fill('My own words, which are too long. '.repeat(160));
      const id = (await page.locator('.comment').last().getAttribute('id'))?.replace('comment-', '') ?? '';
      await new Graph(stack.url).updateComment(id, `Somebody else’s words, ${Math.random()}`);
      await page.getByText('Somebody else changed this').waitFor();
      await page.getByText('characters too many').waitFor();
    },
    leave: (page) => page.getByRole('button', { name: 'Discard my changes' }).click(),
  },
  {
    name: 'stats',
    path: () => 'stats.html',
    ready: (page) => page.locator('.chart polyline').nth(4).waitFor({ state: 'attached' }),
  },
];

for (const colorScheme of ['light', 'dark'] as const) {
  for (const [width, device] of [
    ['desktop', DESKTOP],
    ['phone', PHONE],
    ['narrow', { ...PHONE, viewport: { width: 320, height: 640 } }],
  ] as const) {
    // One scheme is enough for what does not fit.
    if (width === 'narrow' && colorScheme === 'dark') continue;
    test(`no serious fault for ${width} in ${colorScheme}`, async () => {
      const options = { ...device, colorScheme, reducedMotion: 'reduce' } as const;
      let refusesSockets = false;
      const page = await openPage(browser, 'about:blank', options, async (page) => {
        await keepOffers(page);
        await page.routeWebSocket('**/graphql', (socket) =>
          refusesSockets ? socket.close({ code: 1013 }) : void socket.connectToServer(),
        );
      });
      for (const view of views) {
        await page.context().setOffline(false);
        await answerWith(page, view.answer);
        refusesSockets = view.socket === 'never';
        await page.goto(new URL(view.path(), stack.url).href);
        await view.ready(page);
        await eventually(async () => assert.deepEqual(await tooWide(page), [], view.name));
        if (process.env.SCREENSHOTS) {
          await page.screenshot({
            path: join(process.env.SCREENSHOTS, `${view.name}-${width}-${colorScheme}.png`),
          });
        }
        assert.deepEqual(await seriousFaults(page), [], view.name);
        await eventually(async () => assert.equal(await runningAnimations(page), 0, view.name));
        await view.leave?.(page);
      }
      await page.context().close();
    });
  }
}

/** The parts of the page that would have to be scrolled sideways. */
function tooWide(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll('html, .side, main')]
      .filter((part) => part.scrollWidth > part.clientWidth)
      .map((part) => part.className || part.tagName),
  );
}

/** Nothing moves for those who want it so. */
function runningAnimations(page: Page): Promise<number> {
  return page.evaluate(() => document.getAnimations().length);
}

async function answerWith(page: Page, answer: View['answer']): Promise<void> {
  await page.unrouteAll();
  if (answer === undefined) return;
  await page.route('**/graphql', async (route) => {
    if (answer !== 'never') await route.fulfill({ ...answer, contentType: 'application/json' });
  });
}
