// Signing in: at the live page and in GraphiQL, with tokens of the stack's own issuer that live for seconds.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  DESKTOP,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForState,
  waitForValue,
  type WatchedPage,
} from './support/browser';
import { type Frame, Frames } from './support/frames';
import { Graph } from './support/graph';
import { signIn } from './support/signIn';
import { type Stack, startStack } from './support/stack';
import { keepOffers, waitForAnswers } from './support/time';
import { eventually, gate, WAIT_MS } from './support/waiting';

let stack: Stack;
let browser: Browser;
let graph: Graph;
let issuer: string;

const TOKEN_SECONDS = 9;
const own = { skip: process.env.BASE_URL !== undefined && 'a stack that others started' };

before(async () => {
  [stack, browser] = await Promise.all([
    startStack({ ISSUER_TOKEN_LIFETIME: `${TOKEN_SECONDS}s`, JWT_LEEWAY: '0s' }),
    launchBrowser(),
  ]);
  graph = new Graph(stack.url);
  if (own.skip) return;
  const told = (await (await fetch(new URL('/sign-in.json', stack.url))).json()) as { tokenUrl: string };
  issuer = new URL(told.tokenUrl).host;
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

interface Seen {
  page: WatchedPage;
  frames: Frames;
  /** The `Authorization` of each request to the gateway, and of none. */
  sent: (string | undefined)[];
}

async function open(path: string, options = {}): Promise<Seen> {
  let frames!: Frames;
  const sent: Seen['sent'] = [];
  const page = await openPage(browser, new URL(path, stack.url).href, options, async (page) => {
    frames = new Frames(page);
    page.on('request', (request) => {
      if (request.method() === 'POST' && request.url().endsWith('/graphql'))
        sent.push(request.headers()['authorization']);
    });
  });
  return { page, frames, sent };
}

/** Closes a page that may have asked its issuer, and nobody else, after a look at what went wrong on it. */
async function close({ page }: Seen): Promise<void> {
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
  // After the end: until then, a token may be renewed at any time.
  const others = page.strangers.filter((address) => new URL(address).host !== issuer);
  assert.deepEqual(others, [], 'no request went elsewhere');
  assert.deepEqual(page.faults, [], 'no script failed and the content security policy holds');
}

async function comment(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your comment').fill(text);
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
}

/** The claims of a token in a header or in the first message of a socket. */
function claimsIn(authorization: unknown): Record<string, unknown> {
  const part =
    /^Bearer [^.]+\.([^.]+)\./.exec(String(authorization))?.[1] ?? assert.fail(`no token: ${authorization}`);
  return JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
}

const authorizationOf = ({ payload }: Frame) =>
  (payload as { authorization?: string } | undefined)?.authorization;
const opens = (frames: Frames) => frames.all.filter(({ type }) => type === 'connection_init');
const renewals = (frames: Frames) =>
  frames.all.filter((frame) => frame.from === 'page' && frame.type === 'ping' && authorizationOf(frame));

describe('the live page', own, () => {
  test('one step signs in, the name is on what one writes, a reload keeps it, and one step signs out', async () => {
    const post = await graph.createPost('Signed');
    const seen = await open(`posts/${post}`);
    const { page, frames, sent } = seen;
    await waitForState(page, 'Live');
    assert.equal(authorizationOf(opens(frames)[0] ?? assert.fail('no socket')), undefined);
    await page.getByLabel('Your comment').fill('Begun as nobody');

    await signIn(page, 'Ada');
    // Another person has another socket, and what was being written is still there.
    const socket = await frames.waitFor(
      (frame) => frame.type === 'connection_init' && !!authorizationOf(frame),
    );
    const claims = claimsIn(authorizationOf(socket));
    assert.deepEqual([claims.sub, claims.name, claims.scope], ['dev:ada', 'Ada', '']);
    await waitForState(page, 'Live');
    await waitForValue(page.getByLabel('Your comment'), 'Begun as nobody');
    assert.equal(await page.getByLabel('Your name').count(), 0);
    await page.getByRole('button', { name: 'Comment', exact: true }).click();
    await page
      .locator('.comment', { hasText: 'Begun as nobody' })
      .getByText('Ada', { exact: true })
      .waitFor();
    assert.equal(claimsIn(sent.at(-1)).name, 'Ada');

    await page.reload();
    await page.getByRole('button', { name: 'Signed in as Ada' }).waitFor();
    await waitForState(page, 'Live');
    await waitForComments(page, ['Begun as nobody']);
    assert.equal(claimsIn(sent.at(-1)).name, 'Ada');
    assert.equal(claimsIn(authorizationOf(opens(frames).at(-1) ?? assert.fail('no socket'))).name, 'Ada');

    await page.getByRole('button', { name: 'Signed in as Ada' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await page.getByLabel('Your name').fill('Somebody');
    await waitForState(page, 'Live');
    await comment(page, 'As a guest again');
    await waitForComments(page, ['As a guest again', 'Begun as nobody']);
    assert.equal(sent.at(-1), undefined);
    assert.equal(authorizationOf(opens(frames).at(-1) ?? assert.fail('no socket')), undefined);
    await close(seen);
  });

  test('a moderator’s token says so, and another tab is another person', async () => {
    const post = await graph.createPost('Two people');
    const grace = await open(`posts/${post}`);
    await signIn(grace.page, 'Grace', true);
    await comment(grace.page, 'Hers');
    await waitForComments(grace.page, ['Hers']);
    assert.equal(claimsIn(grace.sent.at(-1)).scope, 'moderate');
    await grace.page.getByRole('button', { name: 'Signed in as Grace' }).click();
    await grace.page.getByText('You are a moderator').waitFor();
    await grace.page.keyboard.press('Escape');

    const tab = await grace.page.context().newPage();
    tab.setDefaultTimeout(WAIT_MS);
    await tab.goto(new URL(`posts/${post}`, stack.url).href);
    await tab.getByRole('button', { name: 'Sign in' }).waitFor();
    await close(grace);
  });

  test('one may change one’s own texts, and a moderator all of them', async () => {
    const post = await graph.createPost('Whose is it');
    const seen = await Promise.all([1, 2, 3].map(() => open(`posts/${post}`)));
    const [ada, ben, grace] = seen.map(({ page }) => page);
    if (!ada || !ben || !grace) assert.fail('three pages');
    await signIn(ada, 'Ada');
    await signIn(ben, 'Ben');
    await signIn(grace, 'Grace', true);
    await comment(ada, 'Hers');
    const hers = (page: Page) => page.locator('.comment', { hasText: 'Hers' });
    const changes = { name: /^(Edit|Delete)/ };
    const buttons = (page: Page) => hers(page).locator('.actions').getByRole('button', changes);
    for (const page of [ada, ben, grace]) await hers(page).waitFor();
    for (const page of [ada, grace]) {
      await eventually(async () => assert.equal(await buttons(page).count(), 2, 'Edit and Delete'));
    }
    assert.equal(await buttons(ben).count(), 0);
    // What is read with the post says the same as what came live.
    await ben.reload();
    await hers(ben).waitFor();
    assert.equal(await buttons(ben).count(), 0);

    await hers(grace).hover();
    await hers(grace).getByRole('button', { name: /^Edit/ }).click();
    await grace.locator('.comment textarea').fill('Hers, in better words');
    await grace.getByRole('button', { name: 'Save' }).click();
    await waitForComments(ben, ['Hers, in better words']);
    // It is still hers.
    await eventually(async () => assert.equal(await buttons(ada).count(), 2));
    assert.equal(await buttons(ben).count(), 0);
    for (const each of seen) await close(each);
  });

  test('what a guest wrote belongs to the moderators', async () => {
    const post = await graph.createPost('Whose is it, then');
    const seen = await open(`posts/${post}`);
    const { page } = seen;
    await waitForState(page, 'Live');
    await comment(page, 'By nobody');
    const nobodys = page.locator('.comment', { hasText: 'By nobody' });
    await nobodys.getByRole('link', { name: /^Link/ }).waitFor({ state: 'attached' });
    const buttons = nobodys.locator('.actions').getByRole('button', { name: /^(Edit|Delete|Report|Hide)/ });
    assert.equal(await buttons.count(), 0, 'not the guest’s');
    assert.equal(await page.getByRole('button', { name: 'Edit the post' }).count(), 0);

    await signIn(page, 'Grace', true);
    await page.getByRole('button', { name: 'Edit the post' }).waitFor();
    await nobodys.hover();
    await nobodys.getByRole('button', { name: /^Edit/ }).click();
    await page.locator('.comment textarea').fill('By nobody, but better');
    await page.getByRole('button', { name: 'Save' }).click();
    await waitForComments(page, ['By nobody, but better']);
    await close(seen);
  });

  test('tokens of seconds are renewed on the open socket, and no comment is lost or doubled', async () => {
    const post = await graph.createPost('Short tokens');
    const seen = await open(`posts/${post}`);
    const { page, frames } = seen;
    await signIn(page, 'Ada');
    await waitForState(page, 'Live');
    await frames.waitFor((frame) => frame.type === 'connection_init' && !!authorizationOf(frame));
    const sockets = opens(frames).length;
    const began = Date.now();
    const written: string[] = [];
    // For longer than two tokens live, with a text that is being written all the time.
    await page.getByLabel('Your comment').fill('Not sent yet');
    while (renewals(frames).length < 3 || Date.now() - began < 2.5 * TOKEN_SECONDS * 1_000) {
      assert.ok(Date.now() - began < WAIT_MS * 3, `${renewals(frames).length} renewals in time`);
      written.unshift(`Number ${written.length}`);
      await graph.createComment(post, written[0] ?? '');
      await page.getByText(written[0] ?? '', { exact: true }).waitFor();
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await frames.waitFor(
      ({ from, type, payload }) =>
        from === 'server' && type === 'pong' && (payload as { renewed?: boolean })?.renewed === true,
    );
    await waitForComments(page, written);
    await waitForValue(page.getByLabel('Your comment'), 'Not sent yet');
    assert.equal(opens(frames).length, sockets, 'the subscriptions went on');
    await comment(page, 'At the end');
    await page.locator('.comment', { hasText: 'At the end' }).waitFor();
    await close(seen);
  });

  test('a session that could not be renewed in time comes back by itself, with what it missed', async () => {
    const post = await graph.createPost('Expired');
    const seen = await open(`posts/${post}`);
    const { page, frames } = seen;
    await signIn(page, 'Ada');
    await frames.waitFor((frame) => frame.type === 'connection_init' && !!authorizationOf(frame));
    await waitForState(page, 'Live');
    await graph.createComment(post, 'Before');
    await waitForComments(page, ['Before']);

    await page.route(`http://${issuer}/token`, (route) => route.abort());
    await frames.waitFor(({ from, type, payload }) => {
      const errors = payload as { extensions?: { code?: string } }[] | undefined;
      const found = type === 'error' ? errors : (payload as { errors?: typeof errors } | undefined)?.errors;
      return from === 'server' && !!found?.some(({ extensions }) => extensions?.code === 'TOKEN_EXPIRED');
    });
    await waitForState(page, 'Reconnecting');
    await graph.createComment(post, 'Meanwhile');
    await page.unroute(`http://${issuer}/token`);
    await waitForComments(page, ['Meanwhile', 'Before']);
    await waitForState(page, 'Live');
    await graph.createComment(post, 'Afterwards');
    await waitForComments(page, ['Afterwards', 'Meanwhile', 'Before']);
    await page.getByRole('button', { name: 'Signed in as Ada' }).waitFor();
    await close(seen);
  });

  test('a token that the gateway refuses is replaced, and the request is sent again', async () => {
    const post = await graph.createPost('Refused');
    const seen = await open(`posts/${post}`);
    const { page, sent } = seen;
    await signIn(page, 'Ada');
    await waitForState(page, 'Live');
    // As after a restart of the issuer: the signature is nobody's.
    await page.evaluate(() => {
      const session = JSON.parse(sessionStorage.getItem('rejoinder.session') ?? '') as { token: string };
      const forged = `${session.token.slice(0, session.token.lastIndexOf('.'))}.${'A'.repeat(86)}`;
      sessionStorage.setItem(
        'rejoinder.session',
        JSON.stringify({ ...session, token: forged, expiresAt: Date.now() + 600_000, lifetimeMs: 600_000 }),
      );
    });
    const before = sent.length;
    // With room for the newest post, the list asks for it at once; a post comes with the page.
    await page.goto(stack.url);
    await waitForState(page, 'Live');
    await page.getByRole('heading', { name: 'Refused', level: 1 }).waitFor();
    assert.ok(
      sent.slice(before).some((each) => each?.endsWith('A'.repeat(86))),
      'the forged one was sent',
    );
    await comment(page, 'With a good one');
    await waitForComments(page, ['With a good one']);
    assert.ok(!sent.at(-1)?.endsWith('A'.repeat(86)));
    await page.getByRole('button', { name: 'Signed in as Ada' }).waitFor();
    await close(seen);
  });

  test('what goes wrong at the service is said, and signing in can be tried again', async () => {
    const seen = await open('');
    const { page } = seen;
    await page.route(`http://${issuer}/token`, (route) => route.abort());
    await page.getByRole('button', { name: 'Sign in' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('Ada');
    await dialog.getByRole('button', { name: 'Sign in' }).click();
    await dialog.getByRole('alert').getByText('does not answer').waitFor();
    await page.unroute(`http://${issuer}/token`);
    await dialog.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('button', { name: 'Signed in as Ada' }).waitFor();
    await close(seen);
  });

  test('what one has begun is not sent as nobody when the session ends meanwhile', async () => {
    const post = await graph.createPost('Hers or nobody’s');
    const seen = await open(`posts/${post}`);
    const { page } = seen;
    await waitForAnswers(page);
    await page.reload();
    await signIn(page, 'Ada');
    await waitForState(page, 'Live');
    const service = gate();
    await page.route(`http://${issuer}/token`, async (route) => {
      await service.opened;
      const headers = { 'access-control-allow-origin': '*' };
      await route.fulfill({ status: 403, headers, json: { error: 'access_denied' } });
    });
    const written: unknown[] = [];
    page.on('request', (request) => {
      if (request.postData()?.includes('createComment')) written.push(request.headers()['authorization']);
    });
    await page.waitForFunction(() => {
      const session = JSON.parse(sessionStorage.getItem('rejoinder.session') ?? '{}') as {
        expiresAt: number;
      };
      return session.expiresAt < Date.now();
    });
    await comment(page, 'Hers alone');
    await page.getByText('Sending…').waitFor();
    service.open();
    await page.getByText('Nothing was sent. Your comment is still here.').waitFor();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await waitForValue(page.getByLabel('Your comment'), 'Hers alone');
    assert.deepEqual(written, []);
    await close(seen);
  });

  test('what waits to be deleted stays when somebody else signs in', async () => {
    const post = await graph.createPost('Not in his name');
    const seen = await open(`posts/${post}`);
    const { page } = seen;
    await keepOffers(page);
    await page.reload();
    await signIn(page, 'Ada');
    await comment(page, 'Hers');
    const hers = page.locator('.comment', { hasText: 'Hers' });
    await hers.hover();
    await hers.getByRole('button', { name: /^Delete/ }).click();
    await page.getByRole('button', { name: /^Undo/ }).waitFor();
    await page.getByRole('button', { name: 'Signed in as Ada' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
    await waitForComments(page, ['Hers']);
    await page.reload();
    await waitForComments(page, ['Hers']);
    await close(seen);
  });

  for (const [width, device] of [
    ['a desk', DESKTOP],
    ['a phone', PHONE],
    ['a narrow phone', { ...PHONE, viewport: { width: 320, height: 640 } }],
  ] as const)
    test(`axe finds nothing serious on ${width}, and the header fits`, async () => {
      const seen = await open('', { ...device, reducedMotion: 'reduce' });
      const { page } = seen;
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('dialog').getByLabel('Name').waitFor();
      assert.deepEqual(await seriousFaults(page), []);
      await page.keyboard.press('Escape');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
      await signIn(page, 'Margarethe Oberhuber-Lindqvist', true);
      await waitForState(page, 'Live');
      assert.deepEqual(await seriousFaults(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      await close(seen);
    });
});

describe('GraphiQL', own, () => {
  test('signing in sets the header of each tab, for queries and for subscriptions', async () => {
    const post = await graph.createPost('For GraphiQL');
    const seen = await open('graphql', { viewport: { width: 1280, height: 860 } });
    const { page, frames, sent } = seen;
    for (const editor of ['.graphiql-query-editor', '.graphiql-editor-tool', '.result-window'])
      await page.locator(`${editor} .monaco-editor`).first().waitFor({ state: 'attached' });
    await page.getByRole('button', { name: 'Show Sign in' }).click();
    const tab = page.getByRole('region', { name: 'Sign in' });
    await tab.getByLabel('Name').fill('Ada');
    await tab.getByLabel('as moderator').check();
    await tab.getByRole('button', { name: 'Sign in' }).click();
    await tab.getByText('You are Ada, a moderator.').waitFor();
    await page.getByRole('button', { name: 'Headers', exact: true }).click();
    await page.locator('.graphiql-editor-tool', { hasText: 'Bearer' }).waitFor();

    await page.getByRole('button', { name: /^Execute query/ }).click();
    await page.locator('.result-window', { hasText: 'For GraphiQL' }).waitFor();
    const claims = claimsIn(sent.at(-1));
    assert.deepEqual([claims.name, claims.scope], ['Ada', 'moderate']);

    await page.getByRole('tab', { name: /NewPosts/ }).click();
    const run = page.getByRole('button', { name: /^Execute query/ });
    await run.and(page.locator('[aria-haspopup="menu"]')).click();
    await page.getByRole('menuitem', { name: 'CommentChanges' }).click();
    const socket = await frames.waitFor(({ type }) => type === 'connection_init');
    const { Authorization } = socket.payload as unknown as { Authorization: string };
    assert.equal(claimsIn(Authorization).name, 'Ada');
    // The subscription outlives its first token.
    await frames.waitFor(({ from, type }) => from === 'page' && type === 'ping');
    const ends = Number(claimsIn(Authorization).exp) * 1_000;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, ends + 500 - Date.now())));
    await graph.createComment(post, 'After the first token');
    await page.locator('.result-window', { hasText: 'After the first token' }).waitFor();

    await page.getByRole('button', { name: /^Stop query/ }).click();
    await tab.getByRole('button', { name: 'Sign out' }).click();
    await page.locator('.graphiql-editor-tool', { hasText: 'Bearer' }).waitFor({ state: 'detached' });
    await close(seen);
  });

  test('a session of the live page is there, and a header by hand stays', async () => {
    const seen = await open('');
    const { page, sent } = seen;
    await signIn(page, 'Ada');
    await page.getByRole('link', { name: 'GraphiQL' }).first().click();
    await page.getByRole('button', { name: 'Headers', exact: true }).click();
    await page.locator('.graphiql-editor-tool', { hasText: 'Bearer' }).waitFor();
    await page.locator('.result-window .monaco-editor').first().waitFor({ state: 'attached' });
    await page.getByRole('button', { name: /^Execute query/ }).click();
    await page.locator('.result-window', { hasText: '"posts"' }).waitFor();
    assert.equal(claimsIn(sent.at(-1)).name, 'Ada');
    // The history keeps the query, and no token.
    const kept = () => page.evaluate(() => JSON.stringify(localStorage));
    await eventually(async () => assert.ok((await kept()).includes('posts'), 'the query is kept'));
    assert.ok(!(await kept()).includes('Bearer'), 'no token is kept');

    const headers = page.locator('.graphiql-editor-tool .monaco-editor').filter({ hasText: 'Bearer' });
    await headers.click();
    await page.keyboard.press('Control+A');
    await page.keyboard.insertText('{"Authorization": "Bearer by-hand"}');
    // The editor has closed the quotes and the bracket again.
    await page.keyboard.press('Control+Shift+End');
    await page.keyboard.press('Delete');
    for (let renewed = 0; renewed < 2; renewed++)
      await page.waitForResponse((response) => response.url() === `http://${issuer}/token`);
    await page.getByRole('button', { name: /^Execute query/ }).click();
    await page.locator('.result-window', { hasText: 'UNAUTHENTICATED' }).waitFor();
    assert.equal(sent.at(-1), 'Bearer by-hand');
    await close(seen);
  });
});

test('without a token service there is no sign-in', own, async () => {
  const plain = await startStack({}, ['--no-issuer']);
  try {
    const told = await fetch(new URL('/sign-in.json', plain.url));
    assert.equal(told.status, 204);
    const page = await openPage(browser, plain.url);
    await waitForState(page, 'Live');
    await page.getByLabel('Your name').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Sign in' }).count(), 0);
    await page.getByRole('link', { name: 'GraphiQL' }).first().click();
    await page.getByRole('button', { name: 'Show Query plan' }).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Show Sign in' }).count(), 0);
    await closePage(page);
  } finally {
    await plain.stop();
  }
});
