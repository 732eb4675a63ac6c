// Pictures of every page and state, for people to look at: `npm run gallery -- FOLDER`, after `npm run build` and
// `cargo build`. It starts a stack of its own and writes FOLDER/STATE-WIDTH-SCHEME.png, and for each state a sheet with
// all of its pictures beside each other.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Browser, BrowserContextOptions, Page } from 'playwright-core';

import { DESKTOP, launchBrowser, openPage, PHONE, waitForState } from '../tests/support/browser';
import { Graph } from '../tests/support/graph';
import { signIn } from '../tests/support/signIn';
import { type Stack, startStack } from '../tests/support/stack';
import { textKinds } from '../tests/support/texts';

const WINDOWS: Record<string, BrowserContextOptions> = {
  desktop: DESKTOP,
  390: PHONE,
  320: { ...PHONE, viewport: { width: 320, height: 640 } },
};
const SCHEMES = ['light', 'dark'] as const;
/** A longer page is cut. */
const HEIGHT_MAX = 1_800;
/** A state that does not come is reported, and left out. */
const COMES_WITHIN_MS = 20_000;
const MARKED = [
  'With **strong** words, *emphasis*, `code` and https://example.org/a-rather-long/address?of=a&page.',
  '> Somebody said this.',
  '- one\n- two\n  1. inner',
  '```js\nconst answer = 42; // as it was typed\n```',
].join('\n\n');

interface State {
  name: string;
  path: string;
  options?: BrowserContextOptions;
  prepare?: (page: Page) => Promise<unknown>;
  /** What is done on the page before its picture is taken. */
  act?: (page: Page) => Promise<unknown>;
}

const folder = process.argv[2];
if (!folder) throw new Error('usage: npm run gallery -- FOLDER');
await mkdir(folder, { recursive: true });
const wanted = process.argv[3];
const browser = await launchBrowser();
try {
  if (!wanted || 'empty'.includes(wanted)) {
    const empty = await startStack({}, ['--no-sample']).catch(() => undefined);
    if (empty) {
      await show({ name: 'empty', path: '' }, empty);
      await empty.stop();
    }
  }
  const stack = await startStack();
  try {
    const states = await prepareStates(new Graph(stack.url));
    for (const state of states) if (!wanted || state.name.includes(wanted)) await show(state, stack);
  } finally {
    await stack.stop();
  }
} finally {
  await browser.close();
}

async function prepareStates(graph: Graph): Promise<State[]> {
  for (const title of [
    'A short one',
    'A title that is much longer than a line of a phone can be, and goes on',
  ])
    await graph.createPost(title, 'Some words of the post. '.repeat(12), 'Margarethe Oberhuber-Lindqvist');
  const ideographs = textKinds().get('random ideographs');
  const paragraphs = Array.from({ length: 19 }, () => ideographs?.(1_000) ?? '').join('\n\n');
  const cut = await graph.createPost('A text that weighs too much', paragraphs, 'Ida');
  await graph.createComment(cut, 'Below the text.', 'Ada');
  const post = await graph.createPost('How we write', MARKED, 'Grace');
  const question = await graph.createComment(post, 'Is this *live*?', 'Ada');
  const reply = (parentId: string, text: string, author: string) =>
    graph.run('mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }', {
      input: { postId: post, parentId, text, author },
    });
  await reply(question, 'Yes, and **quickly**.', 'Ben');
  await reply(question, 'See https://example.org/how.', 'Theodora Papadopoulou-Konstantinidis');
  await graph.createComment(post, MARKED, 'Cleo');
  const odd = await graph.createComment(post, 'ThisWordIsMuchLongerThanAnyLineOfAPhone'.repeat(3), 'Dan');
  await graph.change(
    'mutation ($input: ReportCommentInput!) { reportComment(input: $input) { comment { id } } }',
    { id: odd, reason: 'It cannot be read' },
  );
  await graph.createComment(post, 'אבג: written from right to left', 'נועה');
  const quiet = await graph.createPost('Without comments', 'Nobody has written yet.', 'Eva');
  const long = await graph.createPost('Long discussion', 'Much was said.', 'Finn');
  for (let number = 1; number <= 25; number++)
    await graph.createComment(long, `Comment number ${number}.`, ['Ada', 'Ben', 'Cleo'][number % 3]);
  await graph.waitForCount(long, 25);
  const fail = (operations: string[]) => (page: Page) =>
    page.route('**/graphql', (route) => {
      const { operationName = '' } = route.request().postDataJSON() as { operationName?: string };
      return operations.includes(operationName) ? route.fulfill({ status: 503 }) : route.continue();
    });
  const plain = { javaScriptEnabled: false };
  return [
    { name: 'list', path: '?new-visit' },
    { name: 'post', path: `posts/${post}` },
    { name: 'post-rendered', path: `posts/${post}`, options: plain },
    { name: 'post-quiet', path: `posts/${quiet}` },
    { name: 'cut', path: `posts/${cut}`, act: showReadOn },
    { name: 'cut-rendered', path: `posts/${cut}`, options: plain, act: showReadOn },
    { name: 'most-replied', path: `posts/${post}?order=replies` },
    {
      name: 'older-part',
      path: `posts/${long}`,
      act: async (page) => {
        await page.goto(`${new URL(page.url()).origin}/posts/${long}?after=${await cursorOf(graph, long)}`);
        await page.locator('.comment').first().waitFor();
      },
    },
    { name: 'older-list', path: `?after=${encodeURIComponent(await firstCursor(graph))}` },
    {
      name: 'signed-in',
      path: `posts/${post}`,
      act: async (page) => {
        await signIn(page, 'Ada');
        const like = page.locator('.comment').nth(1).getByRole('button', { name: /Love/ });
        await like.click();
        await page.locator('.reaction-count').first().waitFor();
      },
    },
    {
      name: 'replying',
      path: `posts/${post}`,
      act: async (page) => {
        await waitForState(page, 'Live');
        const comment = page.locator('.comment', { hasText: 'Is this' }).first();
        await comment.hover();
        await comment.getByRole('button', { name: /^Reply/ }).click();
        await comment.getByLabel(/^Your reply/).fill('An **answer**');
        await comment.getByText('Markdown works').click();
      },
    },
    {
      name: 'found',
      path: '',
      act: async (page) => {
        await page.locator('.brand').click();
        await page.getByLabel('Search posts').first().fill('longer');
        await page.getByText('found').first().waitFor({ state: 'attached' });
      },
    },
    {
      name: 'not-found-words',
      path: '',
      act: async (page) => {
        await page.locator('.brand').click();
        await page.getByLabel('Search posts').first().fill('nothingofthisname');
        await page.getByText('No post has these words.').first().waitFor();
      },
    },
    { name: 'new-post', path: 'new' },
    { name: 'missing', path: 'posts/64b000000000000000000000' },
    {
      name: 'failed-comments',
      path: `posts/${post}?order=oldest`,
      prepare: fail(['PostComments', 'StartComments']),
      act: (page) => page.locator('main .failure').waitFor(),
    },
    {
      name: 'failed-send',
      path: `posts/${quiet}`,
      prepare: fail(['CreateComment']),
      act: async (page) => {
        await page.getByLabel('Your comment').fill('Words on their way');
        await page.getByRole('button', { name: 'Comment', exact: true }).click();
        await page.getByText('Not sent yet').waitFor();
      },
    },
    {
      name: 'moderation',
      path: `posts/${post}`,
      act: async (page) => {
        await signIn(page, 'Grace', true);
        await page.goto(new URL('/moderation', page.url()).href);
        await page.locator('.queued').first().waitFor();
      },
    },
    { name: 'graphiql', path: 'graphql', act: (page) => page.locator('.view-lines').first().waitFor() },
    { name: 'statistics', path: 'stats.html', act: (page) => page.locator('.plot').first().waitFor() },
    {
      name: 'embed-demo',
      path: `embed-demo.html?post=${post}`,
      act: (page) => page.locator('rejoinder-comments .comment').first().waitFor(),
    },
  ];
}

/** Without most of the text before it. */
async function showReadOn(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Read on' }).waitFor();
  await page.addStyleTag({ content: '.content > :not(:first-child) { display: none }' });
}

async function firstCursor(graph: Graph): Promise<string> {
  const { posts } = await graph.run<{ posts: { pageInfo: { endCursor: string } } }>(
    '{ posts(first: 1) { pageInfo { endCursor } } }',
  );
  return posts.pageInfo.endCursor;
}

async function cursorOf(graph: Graph, post: string): Promise<string> {
  const { post: read } = await graph.run<{ post: { comments: { pageInfo: { endCursor: string } } } }>(
    'query ($id: ID!) { post(id: $id) { comments(first: 20) { pageInfo { endCursor } } } }',
    { id: post },
  );
  return encodeURIComponent(read.comments.pageInfo.endCursor);
}

async function show(state: State, stack: Stack): Promise<void> {
  const pictures: { label: string; png: Buffer; width: number }[] = [];
  for (const [label, window] of Object.entries(WINDOWS))
    for (const colorScheme of SCHEMES) {
      const options = { ...window, ...state.options, colorScheme, deviceScaleFactor: 1 };
      const page = await openPage(browser, stack.url + state.path, options, state.prepare);
      page.setDefaultTimeout(COMES_WITHIN_MS);
      try {
        if (state.act) await state.act(page);
        else await page.locator(':is(h1, h2):visible').first().waitFor();
        await page.waitForLoadState('networkidle');
        // What sticks to the window's top stands where a reader sees it first.
        await page.evaluate(() => scrollTo(0, 0));
        const width = page.viewportSize()?.width ?? 0;
        const height = await page.evaluate(() => document.documentElement.scrollHeight);
        const clip = { x: 0, y: 0, width, height: Math.min(height, HEIGHT_MAX) };
        const png = await page.screenshot({ fullPage: true, clip });
        await writeFile(join(folder ?? '', `${state.name}-${label}-${colorScheme}.png`), png);
        pictures.push({ label: `${label} ${colorScheme}`, png, width });
      } catch (error) {
        console.error(`${state.name}, ${label}, ${colorScheme}: ${String(error).split('\n')[0]}`);
      } finally {
        await page.context().close();
      }
    }
  await sheet(browser, state.name, pictures);
}

/** All pictures of a state beside each other. */
async function sheet(
  browser: Browser,
  name: string,
  pictures: { label: string; png: Buffer; width: number }[],
): Promise<void> {
  const width = pictures.reduce((sum, each) => sum + each.width + 20, 20);
  const page = await browser.newPage({ viewport: { width, height: 800 } });
  const figures = pictures.map(
    ({ label, png, width }) =>
      `<figure><figcaption>${label}</figcaption><img width="${width}" src="data:image/png;base64,${png.toString('base64')}"></figure>`,
  );
  await page.setContent(
    `<style>body{margin:10px;display:flex;align-items:start;gap:20px;background:#888;font:20px sans-serif}figure{margin:0}</style>${figures.join('')}`,
  );
  await page.screenshot({ path: join(folder ?? '', `sheet-${name}.png`), fullPage: true });
  await page.close();
  console.log(name);
}
