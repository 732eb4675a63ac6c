// Replies, the order of comments, and reactions, as readers meet them on the live page.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  launchBrowser,
  openPage,
  waitForComments,
  waitForFocus,
  waitForFocusOn,
  waitForState,
  waitForTexts,
  waitForValue,
  type WatchedPage,
} from './support/browser';
import { Graph } from './support/graph';
import { signIn } from './support/signIn';
import { type Stack, startStack } from './support/stack';
import { eventually } from './support/waiting';

const NARROW = { viewport: { width: 320, height: 640 } };

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

const open = (path: string, options = {}) => openPage(browser, new URL(path, stack.url).href, options);
const comment = (page: Page, text: string) => page.locator('.comment', { hasText: text });

/** Of who signed in: the issuer is on another host. */
async function close(page: WatchedPage): Promise<void> {
  await page.context().close();
  assert.deepEqual(page.faults, []);
}

async function reply(postId: string, parentId: string, text: string): Promise<string> {
  const mutation =
    'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';
  const input = { postId, parentId, text, author: 'Replier' };
  const data = await graph.run<{ createComment: { comment: { id: string } } }>(mutation, { input });
  return data.createComment.comment.id;
}

test('a reply is written below its comment, and stands there on every page', async () => {
  const post = await graph.createPost('Replies');
  await graph.createComment(post, 'First question');
  await graph.createComment(post, 'Second question');
  const [anna, ben] = await Promise.all([open(`/posts/${post}`), open(`/posts/${post}`)]);
  await Promise.all([waitForState(anna, 'Live'), waitForState(ben, 'Live')]);

  const first = comment(anna, 'First question');
  await first.hover();
  await first.getByRole('button', { name: /^Reply/ }).click();
  await first.getByLabel(/^Your reply/).fill('An ans');
  // Escape closes it; what was written stays, and so does the focus.
  await first.getByLabel(/^Your reply/).press('Escape');
  await waitForFocusOn(anna, 'Continue reply');
  await first.getByRole('button', { name: /^Continue reply/ }).click();
  await waitForValue(first.getByLabel(/^Your reply/), 'An ans');
  await waitForFocus(anna, '.reply-form textarea');
  await first.getByLabel('Your name').fill('Anna');
  await first.getByLabel(/^Your reply/).fill('An answer');
  await first.locator('form').getByRole('button', { name: 'Reply' }).click();

  const order = ['Second question', 'First question', 'An answer'];
  for (const page of [anna, ben]) await waitForComments(page, order);
  await waitForFocusOn(anna, 'Reply');
  for (const page of [anna, ben]) {
    await comment(page, 'First question').getByText('1 reply').waitFor();
    assert.equal(await page.locator('.comment[data-reply]').count(), 1);
    const answer = comment(page, 'An answer');
    assert.equal(await answer.getByRole('button', { name: /^Reply/ }).count(), 0);
    await answer.getByText('In reply to Elsewhere').waitFor({ state: 'attached' });
  }
  assert.deepEqual(await seriousFaults(anna), []);

  await graph.deleteComment(await graph.newestComment(post));
  for (const page of [anna, ben]) {
    await waitForComments(page, ['Second question', 'First question']);
    await page.getByText('1 reply').waitFor({ state: 'detached' });
  }
  await Promise.all([closePage(anna), closePage(ben)]);
});

test('where a reply is written, the help for Markdown shows how it will look', async () => {
  const post = await graph.createPost('Helped');
  await graph.createComment(post, 'A question');
  const page = await open(`/posts/${post}`, NARROW);
  await waitForState(page, 'Live');
  const question = comment(page, 'A question');
  await question.getByRole('button', { name: /^Reply/ }).click();
  await question.getByLabel(/^Your reply/).fill('An **answer**');
  await question.getByText('Markdown works').click();
  await question.getByRole('region', { name: 'Preview' }).locator('strong', { hasText: 'answer' }).waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  await question.getByLabel(/^Your reply/).press('Control+Enter');
  await page.locator('.comment[data-reply] strong', { hasText: 'answer' }).waitFor();
  await closePage(page);
});

test('a reply whose comment is not there stands alone', async () => {
  const post = await graph.createPost('Alone');
  const early = await graph.createComment(post, 'Early', 'Early bird');
  for (let n = 0; n < 20; n++) await graph.createComment(post, `Filler ${n}`);
  await reply(post, early, 'Late answer');
  const page = await open(`/posts/${post}`);
  await waitForState(page, 'Live');
  // Its comment is on the next page.
  const late = comment(page, 'Late answer');
  await late.getByText('In reply to Early bird').waitFor();
  const link = late.locator('.reply-to a');
  assert.equal(await link.getAttribute('href'), `#comment-${early}`);
  await link.click();
  await waitForFocus(page, `#comment-${early}`);
  assert.equal(await page.locator('.comment[data-reply]', { hasText: 'Late answer' }).count(), 1);

  await graph.deleteComment(early);
  await late.getByText('In reply to a comment that is gone').waitFor();
  await page.locator('.comment', { hasText: 'Early' }).waitFor({ state: 'detached' });
  await closePage(page);
});

test('the order of the comments is in the address', async () => {
  const post = await graph.createPost('Ordered');
  const first = await graph.createComment(post, 'First');
  await graph.createComment(post, 'Second');
  await graph.createComment(post, 'Third');
  await reply(post, first, 'Reply');
  const page = await open(`/posts/${post}`);
  await waitForState(page, 'Live');
  await waitForComments(page, ['Third', 'Second', 'First', 'Reply']);

  await page.getByLabel('Sort by').selectOption('Oldest');
  await waitForComments(page, ['First', 'Reply', 'Second', 'Third']);
  assert.equal(new URL(page.url()).search, '?order=oldest');
  // A new comment takes its place in the order that is shown.
  await graph.createComment(post, 'Fourth');
  await waitForComments(page, ['First', 'Reply', 'Second', 'Third', 'Fourth']);

  await page.getByLabel('Sort by').selectOption('Most replied');
  await waitForComments(page, ['First', 'Reply', 'Fourth', 'Third', 'Second']);
  await graph.createComment(post, 'Fifth');
  await waitForComments(page, ['First', 'Reply', 'Fifth', 'Fourth', 'Third', 'Second']);
  await page.reload();
  await waitForComments(page, ['First', 'Reply', 'Fifth', 'Fourth', 'Third', 'Second']);

  await page.getByLabel('Sort by').selectOption('Newest');
  await waitForComments(page, ['Fifth', 'Fourth', 'Third', 'Second', 'First', 'Reply']);
  assert.equal(new URL(page.url()).search, '');
  await closePage(page);
});

test('what is written in another order stays when the order changes', async () => {
  const post = await graph.createPost('Stays');
  await graph.createComment(post, 'First');
  await graph.createComment(post, 'Second');
  const page = await open(`/posts/${post}?order=oldest`);
  await waitForState(page, 'Live');
  await waitForComments(page, ['First', 'Second']);
  await page.getByLabel('Your comment').fill('Mine');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await waitForComments(page, ['First', 'Second', 'Mine']);
  // What the page asked for at its start does not have it: no later answer comes from there.
  let asked = 0;
  page.on('request', (request) => {
    if (request.postData()?.includes('"PostComments"')) asked++;
  });
  await page.getByLabel('Sort by').selectOption('Newest');
  await waitForComments(page, ['Mine', 'Second', 'First']);
  assert.equal(asked, 1);
  await closePage(page);
});

test('to choose an order moves neither the focus nor the page, also at a post that the page opened', async () => {
  const post = await graph.createPost('Opened by itself', 'A paragraph.\n\n'.repeat(60));
  await graph.createComment(post, 'First');
  await graph.createComment(post, 'Second');
  await graph.waitForCount(post, 2);
  const page = await open('/');
  await waitForComments(page, ['Second', 'First']);
  const sort = page.getByLabel('Sort by');
  await sort.focus();
  const scrolled = await page.evaluate(() => scrollY);
  assert.ok(scrolled > 0, 'the order is further down');
  await sort.selectOption('Oldest');
  await waitForComments(page, ['First', 'Second']);
  await waitForFocus(page, '.sort select');
  assert.equal(await page.evaluate(() => scrollY), scrolled);
  await closePage(page);
});

test('where the newest comes last, what one writes is found, and a reply stands below its comment', async () => {
  const post = await graph.createPost('Long');
  for (let n = 1; n <= 25; n++) await graph.createComment(post, `Comment ${n}.`);
  const page = await open(`/posts/${post}?order=oldest`);
  await waitForState(page, 'Live');
  const loaded = Array.from({ length: 20 }, (_, index) => `Comment ${index + 1}.`);
  await waitForComments(page, loaded);

  const last = comment(page, 'Comment 20.');
  await last.hover();
  await last.getByRole('button', { name: /^Reply/ }).click();
  await last.getByLabel(/^Your reply/).fill('My answer');
  await last.getByLabel(/^Your reply/).press('Control+Enter');
  await waitForComments(page, [...loaded, 'My answer']);

  await page.getByLabel('Your comment', { exact: true }).fill('My comment');
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  const status = page.getByRole('status').filter({ hasText: 'Your comment is at the end.' });
  await status.waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  await status.getByRole('link', { name: 'Show it' }).click();
  await page.locator('.comment:focus', { hasText: 'My comment' }).waitFor();
  await status.waitFor({ state: 'detached' });
  // Each once, though the answer has come with its own page, too.
  const rest = Array.from({ length: 5 }, (_, index) => `Comment ${index + 21}.`);
  await waitForComments(page, [...loaded, 'My answer', ...rest, 'My comment']);
  await closePage(page);
});

test('replies that cannot be counted are not asked for again and again', async () => {
  const post = await graph.createPost('Too many');
  await graph.createComment(post, 'First');
  await graph.createComment(post, 'Second');
  await graph.waitForCount(post, 2);
  const extensions = { code: 'OVERLOADED', reason: 'TOO_MANY_REPLIES' };
  let asked = 0;
  const page = await openPage(browser, `${stack.url}posts/${post}?order=replies`, {}, (opened) =>
    opened.route('**/graphql', async (route) => {
      const body = route.request().postDataJSON() as {
        operationName?: string;
        variables?: { orderBy?: string };
      };
      if (body.operationName !== 'PostComments' || body.variables?.orderBy !== 'MOST_REPLIED')
        return route.fallback();
      asked++;
      await route.fulfill({ json: { data: { post: null }, errors: [{ message: 'secret', extensions }] } });
    }),
  );
  const failure = page.locator('.failure');
  await failure.getByText('There are too many replies to count.').waitFor();
  assert.doesNotMatch((await failure.textContent()) ?? '', /by itself|secret/);
  const before = asked;
  await failure.getByRole('button', { name: 'Try again' }).click();
  await eventually(async () => assert.equal(asked, before + 1));
  await page.getByLabel('Sort by').selectOption('Newest');
  await waitForComments(page, ['Second', 'First']);
  await closePage(page);
});

test('where replies cannot be counted any more, the comments stay, with a word, and nobody asks again and again', async () => {
  const post = await graph.createPost('Too many by now');
  await graph.createComment(post, 'First');
  await graph.createComment(post, 'Second');
  const extensions = { code: 'OVERLOADED', reason: 'TOO_MANY_REPLIES' };
  let [asked, isTooMuch] = [0, false];
  let refuse = () => {};
  const page = await openPage(browser, `${stack.url}posts/${post}?order=replies`, {}, async (opened) => {
    await opened.routeWebSocket(/graphql/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((text) => {
        const { id, type, payload } = JSON.parse(String(text)) as {
          id?: string;
          type: string;
          payload?: { query?: string };
        };
        const errors = [{ message: 'Too old.', extensions: { code: 'RESYNC_REQUIRED' } }];
        if (type === 'subscribe' && payload?.query?.includes('commentChanges'))
          refuse = () => socket.send(JSON.stringify({ id, type: 'error', payload: errors }));
        server.send(text);
      });
    });
    await opened.route('**/graphql', async (route) => {
      const { operationName } = route.request().postDataJSON() as { operationName?: string };
      if (!isTooMuch || operationName !== 'PostComments') return route.fallback();
      asked++;
      await route.fulfill({ json: { data: { post: null }, errors: [{ message: 'secret', extensions }] } });
    });
  });
  await waitForState(page, 'Live');
  await waitForComments(page, ['Second', 'First']);
  isTooMuch = true;
  refuse();
  const failure = page.locator('main .failure');
  await failure.getByText('What is new cannot be shown. There are too many replies to count.').waitFor();
  assert.doesNotMatch((await failure.textContent()) ?? '', /by itself|secret/);
  await waitForComments(page, ['Second', 'First']);
  // The rest of the page goes on.
  await graph.updatePost(post, 'Still live');
  await page.getByRole('heading', { level: 1, name: 'Still live' }).waitFor();
  assert.equal(asked, 1);

  isTooMuch = false;
  await failure.getByRole('button', { name: 'Try again' }).click();
  await graph.createComment(post, 'Third');
  await waitForComments(page, ['Third', 'Second', 'First']);
  await failure.waitFor({ state: 'detached' });
  await closePage(page);
});

test('reactions are set, counted and removed, live', async () => {
  const post = await graph.createPost('Reactions');
  await graph.createComment(post, 'Nice');
  const [anna, guest] = await Promise.all([open(`/posts/${post}`), open(`/posts/${post}`)]);
  await signIn(anna, 'Anna');
  await Promise.all([waitForState(anna, 'Live'), waitForState(guest, 'Live')]);
  // Who is not signed in sees what others chose, and no buttons.
  assert.equal(await guest.locator('.reaction').count(), 0);

  const like = anna.getByRole('button', { name: /Like/ });
  const love = anna.getByRole('button', { name: /Love/ });
  const pressed = (button: typeof like, wanted: string) =>
    eventually(async () => assert.equal(await button.getAttribute('aria-pressed'), wanted));
  await pressed(like, 'false');
  await like.click();
  await pressed(like, 'true');
  await waitForTexts(guest.locator('.reaction'), ['👍Like1']);
  assert.deepEqual(await seriousFaults(anna), []);
  assert.deepEqual(await seriousFaults(guest), []);
  await love.click();
  await pressed(love, 'true');
  await pressed(like, 'false');
  await waitForTexts(guest.locator('.reaction'), ['❤️Love1']);
  assert.equal(await guest.locator('button.reaction').count(), 0);

  await anna.reload();
  await pressed(love, 'true');
  await love.click();
  await pressed(love, 'false');
  await waitForTexts(guest.locator('.reaction'), []);
  // None of it is an edit.
  assert.equal(await guest.getByText('edited').count(), 0);
  await close(anna);
  await closePage(guest);
});

test('all of it fits a narrow page', async () => {
  const post = await graph.createPost('Narrow');
  const parent = await graph.createComment(
    post,
    'A question of some length, as people ask them',
    'X'.repeat(40),
  );
  await reply(post, parent, 'An answer');
  const page = await open(`/posts/${post}`, NARROW);
  await signIn(page, 'Anna');
  await waitForComments(page, ['A question of some length, as people ask them', 'An answer']);
  await comment(page, 'A question').hover();
  await page.getByRole('button', { name: /^Reply/ }).click();
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.ok(overflow <= 0, `${overflow}`);
  assert.deepEqual(await seriousFaults(page), []);
  await close(page);
});
