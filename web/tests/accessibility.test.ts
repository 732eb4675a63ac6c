// axe-core on every page and in every state, in both colour schemes, on a desk and on a phone. With
// SCREENSHOTS set to a folder, a picture of each is left there.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import { DESKTOP, launchBrowser, openPage, PHONE, waitForState } from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, PLAIN, type Stack, startStack } from './support/stack';
import { keepOffers } from './support/time';
import { eventually } from './support/waiting';

let stack: Stack;
let browser: Browser;
let silent: string;
let discussed: string;
let marked: string;

before(async () => {
  [stack, browser] = await Promise.all([startStack(PLAIN, OPEN_TO_ALL), launchBrowser()]);
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
  const text = [
    'Some *emphasis*, some **more**, `code` and https://example.org/an/address/that/is/rather/long/for/a/phone?and=so',
    '> What somebody said,\n> on two lines',
    '- one thing\n- another\n  1. in it\n  2. and again',
    '```\nconst answer = await fetch("/graphql", { method: "POST" });\n```',
    '# A heading that is none',
  ].join('\n\n');
  marked = await graph.createPost('With a little Markdown', text, 'Ada');
  await graph.createComment(marked, text, 'Grace');
  await graph.createComment(marked, 'سلام **دنيا** https://example.org', 'Leila');
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
  /** What happens to comments that are sent. */
  sending?: 'never' | 'refused' | 'cut';
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
  {
    name: 'markdown',
    path: () => `posts/${marked}`,
    ready: async (page) => {
      await page.locator('.content blockquote').waitFor();
      await page.getByLabel('Your comment').fill('A **bold** preview\n\n- of a list');
      await page.locator('.composer').getByText('Markdown works').click();
      await page.getByRole('region', { name: 'Preview' }).locator('strong').waitFor();
    },
    leave: (page) => page.getByLabel('Your comment').fill(''),
  },
  {
    name: 'sending',
    path: () => `posts/${discussed}`,
    sending: 'never',
    ready: async (page) => {
      await write(page, 'On its way, with **some** words');
      await page.getByText('Sending…').waitFor();
      await write(page, 'And the next one');
      await page.locator('.sending > li').nth(1).waitFor();
    },
    leave: forgetDrafts,
  },
  {
    name: 'sending-again',
    path: () => `posts/${discussed}`,
    sending: 'cut',
    ready: async (page) => {
      await write(page, 'On its way, once more');
      await page.getByText('Trying again by itself.').waitFor();
    },
    leave: forgetDrafts,
  },
  {
    name: 'not-sent',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      const after = { createdAt: '', id: '' };
      const draft = { after, text: 'Left behind', author: 'Ada', shownAs: 'Ada', person: '', at: 0 };
      await page.evaluate(
        (kept) =>
          localStorage.setItem('rejoinder.draft.outgoing.left', JSON.stringify({ at: 0, draft: kept })),
        { ...draft, postId: discussed },
      );
      await page.reload();
      await page.getByText('Not sent: the page was closed before.').waitFor();
    },
    leave: forgetDrafts,
  },
  {
    name: 'refused',
    path: () => `posts/${discussed}`,
    sending: 'refused',
    ready: async (page) => {
      await write(page, 'Too much of it');
      await page.getByText('You have written a lot in a short time.').waitFor();
    },
    leave: forgetDrafts,
  },
  {
    name: 'new-line',
    path: () => `posts/${discussed}`,
    ready: async (page) => {
      await page.locator('.comment').nth(4).waitFor();
      // The page keeps what was seen in a moment, and would write over what follows.
      await page.waitForFunction((id) => localStorage.getItem('rejoinder.seen')?.includes(id), discussed);
      const place = await page.evaluate((id) => {
        const kept = JSON.parse(localStorage.getItem('rejoinder.seen') ?? '[]') as string[][];
        return kept.find(([post]) => post === id);
      }, discussed);
      // As it was when there were three.
      const { post } = await new Graph(stack.url).run<{
        post: { comments: { edges: { node: { id: string; createdAt: string } }[] } };
      }>('query ($id: ID!) { post(id: $id) { comments(first: 3) { edges { node { id createdAt } } } } }', {
        id: discussed,
      });
      const { id = '', createdAt = '' } = post.comments.edges.at(-1)?.node ?? {};
      await page.evaluate(
        (kept) => localStorage.setItem('rejoinder.seen', JSON.stringify([kept])),
        [place?.[0] ?? discussed, createdAt, id],
      );
      await page.reload();
      await page.locator('#comments-title').scrollIntoViewIfNeeded();
      await page.locator('.new-line').waitFor();
    },
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
        await answerWith(page, view);
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

async function write(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your comment').fill(text);
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
}

/** What is being sent is given up. */
async function forgetDrafts(page: Page): Promise<void> {
  await page.evaluate(() =>
    Object.keys(localStorage)
      .filter((key) => key.includes('draft'))
      .forEach((key) => localStorage.removeItem(key)),
  );
  await page.goto('about:blank');
}

async function answerWith(page: Page, { answer, sending }: View): Promise<void> {
  await page.unrouteAll();
  if (sending !== undefined)
    await page.route('**/graphql', async (route) => {
      if (!route.request().postData()?.includes('createComment')) return route.continue();
      const extensions = { code: 'TOO_MANY_COMMENTS', retryAfter: 40 };
      if (sending === 'refused')
        await route.fulfill({ json: { data: null, errors: [{ message: '', extensions }] } });
      if (sending === 'cut') await route.abort();
    });
  if (answer === undefined) return;
  await page.route('**/graphql', async (route) => {
    if (answer !== 'never') await route.fulfill({ ...answer, contentType: 'application/json' });
  });
}
