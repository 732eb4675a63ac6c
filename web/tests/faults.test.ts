// The live page through interruptions: nothing is missed.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page, WebSocketRoute } from 'playwright-core';

import {
  closePage,
  launchBrowser,
  openPage,
  waitForComments,
  waitForCount,
  waitForState,
} from './support/browser';
import { Frames } from './support/frames';
import { Graph } from './support/graph';
import { Proxy } from './support/proxy';
import { PLAIN, type Stack, startStack } from './support/stack';
import { waitForAnswers } from './support/time';
import { eventually, gate, writeUntil } from './support/waiting';

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([startStack(PLAIN), launchBrowser()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

test('the network is cut and restored: additions, edits and deletions of the meantime arrive', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Cut off');
  const kept = await graph.createComment(post, 'Before the cut');
  const doomed = await graph.createComment(post, 'To be deleted');
  let frames!: Frames;
  const page = await openPage(browser, `${proxy.url}posts/${post}`, {}, async (page) => {
    frames = new Frames(page);
  });
  // Whatever is written before it subscribes, it may read with the post.
  await frames.waitFor(
    ({ type, payload }) => type === 'subscribe' && !!payload?.query?.includes('commentChanges'),
  );
  await graph.createComment(post, 'Just before the cut');
  const heard = await frames.waitFor(({ payload }) => !!payload?.data?.commentChanges);
  await waitForComments(page, ['Just before the cut', 'To be deleted', 'Before the cut']);

  proxy.cut();
  await waitForState(page, 'Reconnecting');
  await graph.createComment(post, 'During the cut');
  await graph.updateComment(kept, 'Edited during the cut');
  await graph.deleteComment(doomed);
  proxy.restore();

  await waitForState(page, 'Live');
  const expected = ['During the cut', 'Just before the cut', 'Edited during the cut'];
  await waitForComments(page, expected);
  const { cursor } = heard.payload?.data?.commentChanges as { cursor: string };
  assert.equal(frames.subscribes('commentChanges').at(-1)?.payload?.variables?.after, cursor);
  await graph.createComment(post, 'After the cut');
  await waitForComments(page, ['After the cut', ...expected]);
  await closePage(page);
});

test('a network that falls silent is noticed, and nothing is missed', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Silence');
  const page = await openPage(browser, `${proxy.url}posts/${post}`);
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
  const page = await openPage(browser, `${stack.url}posts/${post}`);
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
  const page = await openPage(browser, `${proxy.url}posts/${post}`);
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

interface Message {
  id: string;
  type: string;
  payload: { query: string; variables: Record<string, unknown> };
}

/** Hands each subscription to `answer` first; where it gives no messages, the server answers. */
async function interceptSubscriptions(
  page: Page,
  answer: (query: string) => { type: string; payload: unknown }[],
): Promise<void> {
  await page.routeWebSocket(/graphql/, (socket: WebSocketRoute) => {
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const { id, type, payload } = JSON.parse(String(text)) as Message;
      const answers = type === 'subscribe' ? answer(payload.query) : [];
      for (const each of answers) socket.send(JSON.stringify({ id, ...each }));
      if (answers.length === 0) server.send(text);
    });
  });
}

test('a subscription above the rate limit is sent again when the server says, and not before', async () => {
  const post = await graph.createPost('Limited');
  await graph.createComment(post, 'Before');
  const SECONDS = 3;
  const errors = [{ message: 'Wait.', extensions: { code: 'RATE_LIMITED', retryAfter: SECONDS } }];
  const sentAt: number[] = [];
  const page = await openPage(browser, new URL(`posts/${post}`, stack.url).href, {}, (opened) =>
    interceptSubscriptions(opened, (query) => {
      if (!query.includes('commentChanges')) return [];
      sentAt.push(performance.now());
      return sentAt.length === 1 ? [{ type: 'error', payload: errors }] : [];
    }),
  );
  await waitForState(page, 'Reconnecting');
  await graph.createComment(post, 'Meanwhile');
  await waitForComments(page, ['Meanwhile', 'Before']);
  const [first = 0, second = 0] = sentAt;
  assert.ok(second - first >= SECONDS * 1_000, `sent again after ${second - first} ms`);
  await closePage(page);
});

test('a subscription that is refused for a while is live again without an event, and has no gap', async () => {
  const errors = [{ message: 'Not now.', extensions: { code: 'INTERNAL_SERVER_ERROR' } }];
  const refusals = [
    { type: 'error', payload: errors },
    { type: 'next', payload: { data: null, errors } },
  ];
  let refused = 0;
  let isRefused = true;
  const page = await openPage(browser, stack.url, {}, (opened) =>
    interceptSubscriptions(opened, (query) => {
      const refusal = refusals[refused % refusals.length];
      if (!isRefused || !refusal || !query.includes('postAdded')) return [];
      refused++;
      return [refusal];
    }),
  );
  await waitForState(page, 'Reconnecting');
  await eventually(async () => assert.ok(refused >= refusals.length, `refused ${refused} times`));
  await graph.createPost('Written while nobody listened');
  isRefused = false;
  await waitForState(page, 'Live');
  await page.getByRole('link', { name: /Written while nobody listened/ }).waitFor();
  await graph.createPost('Written for those who listen again');
  await page.getByRole('link', { name: /Written for those who listen again/ }).waitFor();
  await closePage(page);
});

test('a history that does not reach back: the comments are read again, and followed on', async () => {
  const post = await graph.createPost('Away for long');
  await graph.createComment(post, 'Before');
  const errors = [{ message: 'Too old.', extensions: { code: 'RESYNC_REQUIRED' } }];
  const refusals = [{ type: 'error', payload: errors }];
  let isDown = true;
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, async (opened) => {
    await interceptSubscriptions(opened, (query) =>
      query.includes('commentChanges') ? refusals.splice(0, 1) : [],
    );
    await opened.route('**/graphql', (route) => {
      const { operationName } = route.request().postDataJSON() as { operationName?: string };
      return isDown && operationName === 'PostComments' ? route.fulfill({ status: 503 }) : route.continue();
    });
  });
  await waitForState(page, 'Reconnecting');
  await graph.createComment(post, 'Beyond the history');
  isDown = false;
  await waitForComments(page, ['Beyond the history', 'Before']);
  await waitForState(page, 'Live');
  await graph.createComment(post, 'Followed again');
  await waitForComments(page, ['Followed again', 'Beyond the history', 'Before']);
  await closePage(page);
});

interface Held {
  /** Done when there is an answer to hold. */
  held: Promise<void>;
  letGo: () => void;
}

/** Keeps the answers to operations from the page until they are let go. */
async function holdAnswers(page: Page, ...operations: string[]): Promise<Held> {
  const [held, gone] = [gate(), gate()];
  await waitForAnswers(page);
  await page.route('**/graphql', async (route) => {
    const { operationName = '' } = route.request().postDataJSON() as { operationName?: string };
    if (!operations.includes(operationName)) return route.fallback();
    // The page may be closed by then.
    const response = await route.fetch().catch(() => undefined);
    held.open();
    await gone.opened;
    if (response) await route.fulfill({ response }).catch(() => {});
  });
  return { held: held.opened, letGo: gone.open };
}

/** Gives what ends the subscription of the page, once there is one, with these errors, as the server would. */
async function refuseAtWill(page: Page, field: string): Promise<(errors: unknown[]) => Promise<void>> {
  let refuse: ((errors: unknown[]) => void) | undefined;
  await page.routeWebSocket(/graphql/, (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const { id, type, payload } = JSON.parse(String(text)) as Message;
      if (type === 'subscribe' && payload.query.includes(field)) {
        refuse = (errors) => socket.send(JSON.stringify({ id, type: 'error', payload: errors }));
      }
      server.send(text);
    });
  });
  return (errors) =>
    eventually(async () => {
      assert.ok(refuse, `the page subscribes to ${field}`);
      refuse(errors);
    });
}

test('comments that are read again do not put an older count over a newer one', async () => {
  const post = await graph.createPost('Read and written at once');
  await graph.createComment(post, 'Before');
  await graph.waitForCount(post, 1);
  let answers: Held | undefined;
  let frames!: Frames;
  let refuse!: Awaited<ReturnType<typeof refuseAtWill>>;
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, async (opened) => {
    answers = await holdAnswers(opened, 'PostComments');
    // What the page reads at its start would mend what this is about.
    await holdAnswers(opened, 'Posts', 'PostVersions', 'Post', 'PostSummary');
    refuse = await refuseAtWill(opened, 'commentChanges');
    frames = new Frames(opened);
  });
  await waitForState(page, 'Live');
  await waitForCount(page, '1 comment');
  // What happens before the post is followed is not told.
  const told = frames.waitFor(({ payload }) => !!payload?.data?.postUpdated);
  await writeUntil(told, (number) => graph.updatePost(post, `Read and written at once, ${number}`));
  await refuse([{ message: 'Too old.', extensions: { code: 'RESYNC_REQUIRED' } }]);
  await answers?.held;
  await graph.createComment(post, 'Meanwhile');
  await waitForCount(page, '2 comments');
  answers?.letGo();
  await waitForComments(page, ['Meanwhile', 'Before']);
  await waitForCount(page, '2 comments');
  await closePage(page);
});

test('what happens while older comments are awaited is shown', async () => {
  const post = await graph.createPost('Paged back');
  for (let number = 1; number <= 21; number++) await graph.createComment(post, `Number ${number}`);
  let answers: Held | undefined;
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, async (opened) => {
    answers = await holdAnswers(opened, 'OlderComments');
  });
  await waitForCount(page, '21 comments');
  await page.getByRole('button', { name: 'Older comments' }).click();
  await answers?.held;
  await graph.createComment(post, 'Meanwhile');
  await waitForCount(page, '22 comments');
  answers?.letGo();
  await page.getByText('Number 1', { exact: true }).waitFor();
  await waitForCount(page, '22 comments');
  await closePage(page);
});

test('a subscription that the server completes is opened again', async () => {
  const completions = [{ type: 'complete', payload: undefined }];
  const page = await openPage(browser, stack.url, {}, (opened) =>
    interceptSubscriptions(opened, (query) => (query.includes('postAdded') ? completions.splice(0, 1) : [])),
  );
  await waitForState(page, 'Live');
  await graph.createPost('After the end');
  await page.getByRole('link', { name: /After the end/ }).waitFor();
  await closePage(page);
});

test('what happens between the list’s query and its subscriptions is shown', async () => {
  const post = await graph.createPost('Listed already');
  const network = gate();
  const page = await openPage(browser, stack.url, {}, (page) =>
    page.routeWebSocket('**/graphql', async (socket) => {
      await network.opened;
      socket.connectToServer();
    }),
  );
  const row = page.locator('.posts li', { hasText: 'Listed already' });
  await row.getByText('0 comments').waitFor();
  await graph.createComment(post, 'Counted');
  await graph.createPost('Not listed yet');
  network.open();
  await page.getByRole('link', { name: /Not listed yet/ }).waitFor();
  await row.getByText('1 comment').waitFor();
  await closePage(page);
});

test('a row that comes back into view shows what happened while it was out of it', async () => {
  const post = await graph.createPost('At the very top');
  // Its list alone fills the picture several times.
  for (let number = 1; number <= 19; number++) await graph.createPost(`Between ${number}`);
  let frames: Frames | undefined;
  const page = await openPage(browser, stack.url, {}, async (page) => {
    frames = new Frames(page);
  });
  const row = page.locator('.posts li', { hasText: 'At the very top' });
  const first = page.locator('.posts li').first();
  await row.scrollIntoViewIfNeeded();
  await row.getByText('0 comments').waitFor();
  const followed = await frames?.waitFor(({ payload }) => payload?.variables?.id === post);
  await first.scrollIntoViewIfNeeded();
  await frames?.waitFor(({ id, type }) => id === followed?.id && type === 'complete');
  await graph.createComment(post, 'Out of sight');
  await row.scrollIntoViewIfNeeded();
  await row.getByText('1 comment').waitFor();
  await closePage(page);
});

test('while the comments service hangs the post is there, and its comments follow by themselves', async (context) => {
  const post = await graph.createPost('Half a page', 'The text comes from another service.');
  await graph.createComment(post, 'From a service that slept');
  if (!(await stack.kill('comments', 'SIGSTOP'))) return context.skip('this stack is not ours to stop');
  context.after(() => stack.kill('comments', 'SIGCONT'));
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, waitForAnswers);
  await page.locator('main').getByText('The text comes from another service.').waitFor();
  await page.locator('.posts li', { hasText: 'Half a page' }).waitFor();
  await page.getByText('The comments take longer than usual.').waitFor();
  await waitForState(page, 'Reconnecting');
  await stack.kill('comments', 'SIGCONT');
  await waitForComments(page, ['From a service that slept']);
  await waitForState(page, 'Live');
  await closePage(page);
});

test('a page that is open says when the comments service hangs, and misses nothing', async (context) => {
  // The subscriptions do not end meanwhile: it is the status that says so.
  const quick = { SUBSCRIPTION_UPSTREAM_SILENCE_MAX: '1s' };
  const stack = await startStack({ ...PLAIN, ...quick });
  context.after(() => stack.stop());
  const graph = new Graph(stack.url);
  const post = await graph.createPost('Hung in the middle');
  await graph.createComment(post, 'Before');
  const page = await openPage(browser, `${stack.url}posts/${post}`);
  await waitForComments(page, ['Before']);
  await waitForState(page, 'Live');
  if (!(await stack.kill('comments', 'SIGSTOP'))) return context.skip('this stack is not ours to stop');
  try {
    await waitForState(page, 'Reconnecting');
    await waitForComments(page, ['Before']);
  } finally {
    await stack.kill('comments', 'SIGCONT');
  }
  await waitForState(page, 'Live');
  await graph.createCommentWhenItIsBack(post, 'After');
  await waitForComments(page, ['After', 'Before']);
  await waitForState(page, 'Live');
  await closePage(page);
});

test('while the posts service hangs the page says so, does not claim to be live, and follows by itself', async (context) => {
  const post = await graph.createPost('Behind a hung service');
  await graph.createComment(post, 'There after all');
  if (!(await stack.kill('posts', 'SIGSTOP'))) return context.skip('this stack is not ours to stop');
  context.after(() => stack.kill('posts', 'SIGCONT'));
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, waitForAnswers);
  await page.getByText('The posts take longer than usual.').waitFor();
  await page.getByText('The post and its comments take longer than usual.').waitFor();
  await waitForState(page, 'Reconnecting');
  await stack.kill('posts', 'SIGCONT');
  await page.getByRole('heading', { level: 1, name: 'Behind a hung service' }).waitFor();
  await waitForComments(page, ['There after all']);
  await page.locator('.posts li', { hasText: 'Behind a hung service' }).waitFor();
  await waitForState(page, 'Live');
  await closePage(page);
});

test('a page whose comments failed says so, does not claim to be live, and tries again by itself', async () => {
  const post = await graph.createPost('Tried again');
  await graph.createComment(post, 'Worth another try');
  let fails = true;
  const page = await openPage(browser, `${stack.url}posts/${post}`, {}, (opened) =>
    opened.route('**/graphql', (route) => {
      const { operationName = '' } = route.request().postDataJSON() as { operationName?: string };
      const isAbout = ['StartComments', 'PostComments'].includes(operationName);
      const errors = [
        { message: 'Connection refused (os error 111)', extensions: { code: 'SUBREQUEST_HTTP_ERROR' } },
      ];
      return fails && isAbout ? route.fulfill({ json: { data: null, errors } }) : route.continue();
    }),
  );
  const failure = page.locator('main .failure');
  await failure.getByText('The comments cannot be shown.').waitFor();
  assert.doesNotMatch((await failure.textContent()) ?? '', /os error/);
  await waitForState(page, 'Reconnecting');
  fails = false;
  await waitForComments(page, ['Worth another try']);
  await waitForState(page, 'Live');
  await closePage(page);
});

test('a service is killed and started again: nothing is missed', async (context) => {
  for (const service of ['comments', 'posts', 'gateway'] as const) {
    const post = await graph.createPost(`Without ${service}`);
    const page = await openPage(browser, `${stack.url}posts/${post}`);
    await waitForState(page, 'Live');
    await graph.createComment(post, 'Before the fall');
    await waitForComments(page, ['Before the fall']);

    if (!(await stack.kill(service))) return context.skip('this stack is not ours to kill');
    await graph.createCommentWhenItIsBack(post, 'After the fall');
    await waitForComments(page, ['After the fall', 'Before the fall']);
    await waitForState(page, 'Live');
    await waitForCount(page, '2 comments');
    await closePage(page);
  }
});
