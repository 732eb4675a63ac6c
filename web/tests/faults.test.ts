// The live page through interruptions: nothing is missed.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { closePage, commentTexts, launchBrowser, openPage, waitForState } from './support/browser';
import { Graph } from './support/graph';
import { Proxy } from './support/proxy';
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

/** Waits until the page shows exactly these comments, from top to bottom. */
async function waitForComments(page: Page, expected: string[]): Promise<void> {
  const shown = (texts: string[]) =>
    JSON.stringify([...document.querySelectorAll('.comment p.text')].map((each) => each.textContent)) ===
    JSON.stringify(texts);
  await page.waitForFunction(shown, expected).catch(async () => {
    assert.deepEqual(await commentTexts(page), expected);
  });
}

test('the network is cut and restored: additions, edits and deletions of the meantime arrive', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Cut off');
  const kept = await graph.createComment(post, 'Before the cut');
  const doomed = await graph.createComment(post, 'To be deleted');
  const page = await openPage(browser, `${proxy.url}?post=${post}`);
  await waitForState(page, 'Live');
  await waitForComments(page, ['To be deleted', 'Before the cut']);

  proxy.cut();
  await waitForState(page, 'Reconnecting');
  await graph.createComment(post, 'During the cut');
  await graph.updateComment(kept, 'Edited during the cut');
  await graph.deleteComment(doomed);
  proxy.restore();

  await waitForState(page, 'Live');
  await waitForComments(page, ['During the cut', 'Edited during the cut']);
  await graph.createComment(post, 'After the cut');
  await waitForComments(page, ['After the cut', 'During the cut', 'Edited during the cut']);
  await closePage(page);
});

test('a network that falls silent is noticed, and nothing is missed', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Silence');
  const page = await openPage(browser, `${proxy.url}?post=${post}`);
  await waitForState(page, 'Live');

  proxy.silence();
  await graph.createComment(post, 'Into the silence');
  await waitForState(page, 'Reconnecting');
  proxy.restore();
  await waitForComments(page, ['Into the silence']);
  await waitForState(page, 'Live');
  await closePage(page);
});

test('a device that goes offline says so, and catches up', async () => {
  const post = await graph.createPost('In a tunnel');
  const page = await openPage(browser, `${stack.url}?post=${post}`);
  await waitForState(page, 'Live');
  await page.context().setOffline(true);
  await waitForState(page, 'Offline');
  await graph.createComment(post, 'While in the tunnel');
  await page.context().setOffline(false);
  await waitForState(page, 'Live');
  await waitForComments(page, ['While in the tunnel']);
  await closePage(page);
});

test('many cuts in a row lose and double nothing', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('A bad line');
  const page = await openPage(browser, `${proxy.url}?post=${post}`);
  await waitForState(page, 'Live');
  const written: string[] = [];
  for (let round = 1; round <= 4; round++) {
    proxy.cut();
    await waitForState(page, 'Reconnecting');
    proxy.restore();
    for (let number = 1; number <= 3; number++) {
      await graph.createComment(post, `Round ${round}, number ${number}`);
      written.unshift(`Round ${round}, number ${number}`);
    }
    await waitForState(page, 'Live');
  }
  await waitForComments(page, written);
  await closePage(page);
});

test('a subscription that is refused for a while is live again without an event, and has no gap', async () => {
  let refusals = 2;
  const page = await openPage(browser, stack.url, {}, (opened) =>
    opened.routeWebSocket(/graphql/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((message) => {
        const { id, type, payload } = JSON.parse(String(message));
        if (type !== 'subscribe' || !payload.query.includes('postAdded') || refusals-- <= 0) {
          server.send(message);
          return;
        }
        const errors = [{ message: 'Not now.', extensions: { code: 'INTERNAL_SERVER_ERROR' } }];
        socket.send(JSON.stringify({ id, type: 'error', payload: errors }));
      });
    }),
  );
  await waitForState(page, 'Reconnecting');
  await graph.createPost('Written while nobody listened');
  await waitForState(page, 'Live');
  await page.getByRole('link', { name: /Written while nobody listened/ }).waitFor();
  await closePage(page);
});

test('a service is killed and started again: nothing is missed', async (context) => {
  for (const service of ['comments', 'posts', 'gateway'] as const) {
    const post = await graph.createPost(`Without ${service}`);
    const page = await openPage(browser, `${stack.url}?post=${post}`);
    await waitForState(page, 'Live');
    await graph.createComment(post, 'Before the fall');
    await waitForComments(page, ['Before the fall']);

    if (!(await stack.kill(service))) return context.skip('this stack is not ours to kill');
    await writeWhenItIsBack(post, 'After the fall');
    await waitForComments(page, ['After the fall', 'Before the fall']);
    await waitForState(page, 'Live');
    await page.getByRole('heading', { name: '2 comments' }).waitFor();
    await closePage(page);
  }
});

/** Tries the same comment, by its key, until a service takes it. */
async function writeWhenItIsBack(postId: string, text: string): Promise<void> {
  const mutation =
    'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';
  const input = { postId, text, idempotencyKey: `once-${postId}` };
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      await graph.run(mutation, { input });
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
