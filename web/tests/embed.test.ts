// The embed, on pages of another origin.

import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';

import type { Browser, BrowserContextOptions, Locator, Page, Route, WebSocketRoute } from 'playwright-core';

import { seriousFaults } from './support/axe';
import { closePage, launchBrowser, openPage, PHONE, waitForTexts, type WatchedPage } from './support/browser';
import { Frames } from './support/frames';
import { Graph } from './support/graph';
import { picture } from './support/picture';
import { Proxy } from './support/proxy';
import { Site } from './support/site';
import { type Stack, startStack } from './support/stack';
import { waitForAnswers } from './support/time';
import { eventually, gate, writeUntil } from './support/waiting';

const DIST = join(import.meta.dirname, '../dist');
/** With gzip, of comments without markup. */
const PLAIN_BYTES_MAX = 16_000;
/** With Brotli, with everything that an embed loads. */
const BYTES_MAX = 30_000;

let stack: Stack;
let site: Site;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser, site] = await Promise.all([startStack(), launchBrowser(), Site.start()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await site?.stop();
  await stack?.stop();
});

const scriptFor = (post: string, attributes = '') =>
  `<script type="module" src="${stack.url}embed.js" data-post="${post}" ${attributes}></script>`;
const embed = (page: Page) => page.locator('rejoinder-comments').first();
const texts = (of: Locator) => of.locator('.comment .text');
const waitForLive = (of: Locator) => of.getByText('Live', { exact: true }).waitFor();

interface Opened extends WatchedPage {
  heard: Frames;
}

async function openSite(
  url: string,
  options: BrowserContextOptions = {},
  prepare: (page: Page) => Promise<unknown> = async () => {},
): Promise<Opened> {
  let heard!: Frames;
  const page = await openPage(browser, url, options, async (opened) => {
    heard = new Frames(opened);
    await prepare(opened);
  });
  return Object.assign(page, { heard });
}

/** Closes a page that may have asked its site and these hosts, and no others. */
async function closeSite(page: WatchedPage, ...hosts: string[]): Promise<void> {
  await closePage(page, ...[stack.url, ...hosts].map((url) => new URL(url).host));
}

/** A token of the stack's issuer. */
async function tokenOf(name: string, of = stack): Promise<string> {
  const told = await fetch(new URL('/sign-in.json', of.url));
  const { tokenUrl } = (await told.json()) as { tokenUrl: string };
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ name, moderator: false });
  const response = await fetch(tokenUrl, { method: 'POST', headers, body });
  return ((await response.json()) as { access_token: string }).access_token;
}

const operationOf = (route: Route) => route.request().postData() ?? '';

test('without the service the reader is told so, and gets the comments when it is there', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Down at the start');
  await graph.createComment(post, 'Worth the wait');
  proxy.cut();
  const page = await openSite(site.serve('/', scriptFor(post, `data-server="${proxy.url}"`)));
  await embed(page).getByText('The comments cannot be reached right now. Trying again.').waitFor();
  assert.equal(await embed(page).getByRole('textbox').count(), 0, 'nothing can be written');
  proxy.restore();
  await waitForTexts(texts(embed(page)), ['Worth the wait']);
  await waitForLive(embed(page));
  await closeSite(page, proxy.url);
});

test('a comments service that hangs is told in words, and its comments follow', async () => {
  const post = await graph.createPost('A service that sleeps');
  await graph.createComment(post, 'Slept well');
  let fails = true;
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route('**/graphql', (route) => {
      const errors = [
        { message: 'Connection refused (os error 111)', extensions: { code: 'SUBREQUEST_HTTP_ERROR' } },
      ];
      const headers = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' };
      return fails && route.request().method() === 'POST'
        ? route.fulfill({ json: { data: null, errors }, headers })
        : route.continue();
    }),
  );
  await embed(page).getByText('The comments have a problem right now. Trying again.').waitFor();
  assert.doesNotMatch(await embed(page).innerText(), /os error/);
  fails = false;
  await embed(page).getByRole('button', { name: 'Try again' }).click();
  await waitForTexts(texts(embed(page)), ['Slept well']);
  await closeSite(page);
});

test('a post that is not there, and what is no id, are no dead ends', async () => {
  for (const post of ['0123456789abcdef01234567', 'no id']) {
    const page = await openSite(site.serve('/', scriptFor(post)));
    await embed(page).getByText('There is no discussion here.').waitFor();
    assert.equal(await embed(page).getByRole('textbox').count(), 0);
    assert.equal(page.heard.all.length, 0, 'nothing is followed');
    await closeSite(page);
  }
});

test('an origin that the gateway does not allow reads so, and the console has the setting', async (context) => {
  const strict = await startStack({ CORS_ORIGINS: 'https://elsewhere.example' });
  context.after(() => strict.stop());
  const script = `<script type="module" src="${strict.url}embed.js" data-post="0123456789abcdef01234567"></script>`;
  const page = await openSite('about:blank');
  const warned = page.waitForEvent('console', (message) => message.text().includes('CORS_ORIGINS'));
  await page.goto(site.serve('/', script));
  await embed(page).getByText('The comments cannot be reached right now. Trying again.').waitFor();
  assert.match((await warned).text(), new RegExp(site.url));
  await page.context().close();
});

test('an older copy of the script finds the code of now', async () => {
  const post = await graph.createPost('After an update');
  await graph.createComment(post, 'Found again');
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route(/\/embed\.js$/, async (route) => {
      const response = await route.fetch();
      const body = (await response.text()).replace(
        /assets\/embed-view-[\w-]+\.js/,
        'assets/embed-view-gone.js',
      );
      await route.fulfill({ response, body });
    }),
  );
  await waitForTexts(texts(embed(page)), ['Found again']);
  await closeSite(page);
});

test('code that cannot be loaded is told, and is tried again', async () => {
  const post = await graph.createPost('Code that is late');
  await graph.createComment(post, 'Late');
  let isGone = true;
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route(/embed-view|again=/, (route) => (isGone ? route.abort() : route.continue())),
  );
  await embed(page).getByText('The comments cannot be loaded right now. Trying again.').waitFor();
  isGone = false;
  await waitForTexts(texts(embed(page)), ['Late']);
  await closeSite(page);
});

test('code that never comes is asked for a bounded number of times', async () => {
  let copies = 0;
  const page = await openSite(site.serve('/', scriptFor('none')), {}, async (opened) => {
    await opened.clock.install();
    await opened.route(/embed-view|again=/, (route) => {
      if (route.request().url().includes('again=')) copies++;
      return route.abort();
    });
  });
  const forward = () => page.clock.fastForward('11:00');
  await eventually(async () => {
    await forward();
    assert.equal(await embed(page).getByText('Reload the page to try again').count(), 1);
  });
  const asked = copies;
  for (let round = 0; round < 3; round++) await forward();
  await page.evaluate(() => document.body.append(document.createElement('rejoinder-comments')));
  await page.locator('rejoinder-comments').last().getByText('Reload the page to try again').waitFor();
  assert.ok(asked <= 20, `${asked} copies`);
  assert.equal(copies, asked);
  await closeSite(page);
});

test('a script hands over what is documented, and one that is wrong harms no other', async () => {
  const post = await graph.createPost('Among odd scripts');
  await graph.createComment(post, 'Shown all the same');
  const odd =
    'data-theme="dark" data-heading-level="3" data-onclick="hit = 1" data-style="display: none" ' +
    'data-1p-ignore data-post-id="x" data-hidden';
  const page = await openSite(
    site.serve(
      '/',
      '<script type="module" src="data:text/javascript," data-post="x"></script>' +
        scriptFor(post, odd) +
        scriptFor(post, 'data-target="###"') +
        scriptFor(post, 'data-target="#nowhere"') +
        scriptFor(post, 'data-target="main"') +
        '<main></main>',
    ),
  );
  await waitForTexts(texts(page.locator('main rejoinder-comments')), ['Shown all the same']);
  await waitForTexts(texts(embed(page)), ['Shown all the same']);
  assert.equal(await page.locator('rejoinder-comments').count(), 2);
  const names = await embed(page).evaluate((element) => element.getAttributeNames());
  assert.deepEqual(names.sort(), ['heading-level', 'post', 'server', 'theme']);
  await closeSite(page);
});

test('scripts of two gateways each show their comments on one page', async (context) => {
  const second = await Proxy.start(stack.url);
  context.after(() => second.stop());
  const [one, two] = [await graph.createPost('At the first'), await graph.createPost('At the second')];
  await graph.createComment(one, 'By the first');
  await graph.createComment(two, 'By the second');
  const elsewhere = scriptFor(two).replace(stack.url, second.url);
  // One of the first gateway comes last, too: it is not adopted by the second.
  const page = await openSite(site.serve('/', scriptFor(one) + elsewhere + scriptFor(two)));
  const all = page.locator('rejoinder-comments');
  for (const [index, text] of ['By the first', 'By the second', 'By the second'].entries()) {
    await waitForTexts(texts(all.nth(index)), [text]);
    await waitForLive(all.nth(index));
  }
  const servers = await all.evaluateAll((found) => found.map((element) => element.getAttribute('server')));
  assert.deepEqual(servers, [stack.url, second.url, stack.url]);
  await closeSite(page, second.url);
});

test('a reply says whom it answers, and that a comment is gone', async () => {
  const post = await graph.createPost('Question and answer');
  const asked = await graph.createComment(post, 'Why?', 'Ada');
  const reply = (text: string) =>
    graph.run('mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }', {
      input: { postId: post, parentId: asked, text },
    });
  await reply('Because.');
  const page = await openSite(site.serve('/', scriptFor(post)));
  await waitForLive(embed(page));
  await reply('Just because.');
  await waitForTexts(texts(embed(page)), ['Just because.', 'Because.', 'Why?']);
  const answered = embed(page).locator('.reply-to');
  await waitForTexts(answered, ['In reply to Ada', 'In reply to Ada']);
  const link = answered.first().getByRole('link', { name: 'Ada' });
  assert.equal(await link.getAttribute('href'), `${stack.url}posts/${post}#comment-${asked}`);
  assert.deepEqual(await seriousFaults(page), []);
  await graph.deleteComment(asked);
  await waitForTexts(texts(embed(page)), ['Just because.', 'Because.']);
  await waitForTexts(answered, Array(2).fill('In reply to a comment that is gone'));
  await closeSite(page);
});

/** What a page of others may do to an embed, and what it must not reach. */
const HOSTILE = `
  * { display: none !important; visibility: hidden !important; opacity: 0 !important; color: transparent !important;
      font-size: 0 !important; line-height: 0 !important; text-transform: uppercase !important; }
  html, head ~ body, #text { display: block !important; visibility: visible !important; opacity: 1 !important; }
  #text { color: rgb(1, 2, 3) !important; font-size: 17px !important; }
  .comment, .text, p, ol, li, button, textarea { position: absolute !important; left: -9999px !important; }
  #text { position: static !important; }
`;

test('under hostile styles and a strict policy it is readable, and a live comment arrives once', async () => {
  const post = await graph.createPost('On a hostile site');
  await graph.createComment(post, 'Before <b>all</b> of it');
  const { host } = new URL(stack.url);
  const policy = [
    `default-src 'none'; script-src http://${host}; connect-src http://${host} ws://${host}; style-src 'self'`,
    `require-trusted-types-for 'script'; trusted-types 'none'`,
  ].join('; ');
  site.serve('/hostile.css', { body: HOSTILE, type: 'text/css' });
  const url = site.serve('/', {
    head: '<link rel="stylesheet" href="/hostile.css">',
    body: `<p id="text">The page's own text</p>${scriptFor(post)}`,
    headers: { 'content-security-policy': policy, 'cross-origin-embedder-policy': 'require-corp' },
  });
  const page = await openSite(url);
  await waitForTexts(texts(embed(page)), ['Before <b>all</b> of it']);
  await waitForLive(embed(page));
  await graph.createComment(post, 'Live');
  await waitForTexts(texts(embed(page)), ['Live', 'Before <b>all</b> of it']);
  await embed(page).getByText('New comment by Elsewhere').waitFor({ state: 'attached' });
  const look = await texts(embed(page))
    .first()
    .evaluate((element) => {
      const { color, fontSize, textTransform, position } = getComputedStyle(element);
      const { width, left } = element.getBoundingClientRect();
      return { color, fontSize, textTransform, position, isSeen: width > 100 && left >= 0 };
    });
  const expected = { fontSize: '16px', textTransform: 'none', position: 'static', isSeen: true };
  assert.deepEqual({ ...look, color: undefined }, { ...expected, color: undefined });
  assert.notEqual(look.color, 'rgba(0, 0, 0, 0)');
  // Nothing comes out of it, either.
  const own = await page.locator('p#text').evaluate((element) => getComputedStyle(element).fontSize);
  assert.equal(own, '17px');
  await embed(page).getByLabel('Your comment').fill('Written from there');
  await embed(page).getByRole('button', { name: 'Comment', exact: true }).click();
  await embed(page).getByText('Your comment is there.').waitFor();
  await waitForTexts(texts(embed(page)), ['Written from there', 'Live', 'Before <b>all</b> of it']);
  await closeSite(page);
});

test('a cut loses and doubles nothing: it goes on after the last cursor', async (context) => {
  const proxy = await Proxy.start(stack.url);
  context.after(() => proxy.stop());
  const post = await graph.createPost('Cut off from a site');
  const kept = await graph.createComment(post, 'Before the cut');
  const doomed = await graph.createComment(post, 'To be deleted');
  const page = await openSite(site.serve('/', scriptFor(post, `data-server="${proxy.url}"`)));
  await waitForLive(embed(page));
  await graph.createComment(post, 'Just before the cut');
  const heard = await page.heard.waitFor(({ payload }) => !!payload?.data?.commentChanges);
  for (let round = 1; round <= 2; round++) {
    proxy.cut();
    await embed(page).getByText('Reconnecting…').waitFor();
    await graph.createComment(post, `During cut ${round}`);
    if (round === 1) {
      await graph.updateComment(kept, 'Edited during the cut');
      await graph.deleteComment(doomed);
    }
    proxy.restore();
    await waitForLive(embed(page));
    if (round === 1) {
      const { cursor } = heard.payload?.data?.commentChanges as { cursor: string };
      assert.equal(page.heard.subscribes('commentChanges').at(-1)?.payload?.variables?.after, cursor);
    }
    await embed(page).getByText(`During cut ${round}`).waitFor();
  }
  await waitForTexts(texts(embed(page)), [
    'During cut 2',
    'During cut 1',
    'Just before the cut',
    'Edited during the cut',
  ]);
  await closeSite(page, proxy.url);
});

test('services are killed and started again: nothing is missed', async (context) => {
  const post = await graph.createPost('Through a restart');
  const page = await openSite(site.serve('/', scriptFor(post)));
  await waitForLive(embed(page));
  const written: string[] = [];
  for (const service of ['comments', 'gateway'] as const) {
    if (!(await stack.kill(service))) return context.skip('this stack is not ours to kill');
    await eventually(() => graph.createComment(post, `After the fall of ${service}`));
    written.unshift(`After the fall of ${service}`);
    await waitForTexts(texts(embed(page)), written);
    await waitForLive(embed(page));
  }
  await closeSite(page);
});

test('a history that does not reach back: the comments are read again, and followed on', async () => {
  const post = await graph.createPost('Away for long, elsewhere');
  await graph.createComment(post, 'Before');
  const errors = [{ message: 'Too old.', extensions: { code: 'RESYNC_REQUIRED' } }];
  let isRefused = false;
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.routeWebSocket(/graphql/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((text) => {
        const { id, type, payload } = JSON.parse(String(text)) as Record<string, { query?: string } & string>;
        const isFirst = !isRefused && type === 'subscribe' && payload?.query?.includes('commentChanges');
        if (!isFirst) return server.send(text);
        isRefused = true;
        void graph.createComment(post, 'Beyond the history').then(() => {
          socket.send(JSON.stringify({ id, type: 'error', payload: errors }));
        });
      });
    }),
  );
  await waitForTexts(texts(embed(page)), ['Beyond the history', 'Before']);
  await waitForLive(embed(page));
  await graph.createComment(post, 'Followed again');
  await waitForTexts(texts(embed(page)), ['Followed again', 'Beyond the history', 'Before']);
  await closeSite(page);
});

test('a kind of change that is new to it does no harm', async () => {
  const post = await graph.createPost('From a later server');
  let socket: WebSocketRoute | undefined;
  let id = '';
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.routeWebSocket(/graphql/, (route) => {
      socket = route;
      const server = route.connectToServer();
      route.onMessage((text) => {
        const message = JSON.parse(String(text)) as { id: string; payload?: { query?: string } };
        if (message.payload?.query?.includes('commentChanges')) id = message.id;
        server.send(text);
      });
    }),
  );
  await waitForLive(embed(page));
  await graph.createComment(post, 'First');
  const heard = await page.heard.waitFor(({ payload }) => !!payload?.data?.commentChanges);
  const { cursor } = heard.payload?.data?.commentChanges as { cursor: string };
  await waitForTexts(texts(embed(page)), ['First']);
  const data = { commentChanges: { __typename: 'CommentReactionsChanged' } };
  socket?.send(JSON.stringify({ id, type: 'next', payload: { data } }));
  await socket?.close({ code: 1012 });
  await graph.createComment(post, 'Second');
  await waitForTexts(texts(embed(page)), ['Second', 'First']);
  assert.equal(page.heard.subscribes('commentChanges').at(-1)?.payload?.variables?.after, cursor);
  await closeSite(page);
});

test('three embeds of two posts share a socket and their subscriptions', async () => {
  const [one, two] = [await graph.createPost('One of two'), await graph.createPost('Two of two')];
  const element = `<rejoinder-comments post="${one}" server="${stack.url}"></rejoinder-comments>`;
  let sockets = 0;
  const page = await openSite(
    site.serve('/', scriptFor(one) + scriptFor(two) + element),
    {},
    async (opened) => opened.on('websocket', () => sockets++),
  );
  const all = page.locator('rejoinder-comments');
  for (const index of [0, 1, 2]) await waitForLive(all.nth(index));
  await graph.createComment(one, 'For two of them');
  await graph.createComment(two, 'For one of them');
  for (const index of [0, 1, 2])
    await waitForTexts(texts(all.nth(index)), [index === 1 ? 'For one of them' : 'For two of them']);
  assert.equal(sockets, 1);
  const followed = page.heard.subscribes('commentChanges').map(({ payload }) => payload?.variables?.postId);
  assert.deepEqual(followed.sort(), [one, two].sort());
  await closeSite(page);
});

test('an embed that is removed ends what it follows, and one that is moved goes on', async () => {
  const post = await graph.createPost('Removed and put back');
  await graph.createComment(post, 'Before');
  const page = await openSite(site.serve('/', `${scriptFor(post)}<main id="there"></main>`));
  await waitForLive(embed(page));
  const asked = page.heard.all.filter(({ type }) => type === 'subscribe').length;
  await page.evaluate(() =>
    document.querySelector('#there')?.append(document.querySelector('rejoinder-comments') ?? ''),
  );
  await graph.createComment(post, 'After the move');
  await waitForTexts(texts(embed(page)), ['After the move', 'Before']);
  assert.equal(page.heard.all.filter(({ type }) => type === 'subscribe').length, asked);

  await page.evaluate(() => {
    const removed = document.querySelector('rejoinder-comments');
    removed?.remove();
    // It follows nothing, whatever is done to it.
    removed?.setAttribute('heading-level', '3');
    Object.assign(window, { removed });
  });
  for (const { id } of page.heard.all.filter(({ type }) => type === 'subscribe'))
    await page.heard.waitFor(
      (frame) => frame.id === id && frame.type === 'complete' && frame.from === 'page',
    );
  await graph.createComment(post, 'While it was away');
  await page.evaluate(() => document.body.append((window as unknown as { removed: Node }).removed));
  await waitForTexts(texts(embed(page)), ['While it was away', 'After the move', 'Before']);
  await waitForLive(embed(page));
  await graph.createComment(post, 'And back');
  await waitForTexts(texts(embed(page)), ['And back', 'While it was away', 'After the move', 'Before']);
  await closeSite(page);
});

test('an embed starts when it comes near to what is seen', async () => {
  const post = await graph.createPost('Far below');
  await graph.createComment(post, 'Down here');
  const asked: string[] = [];
  const far = '<div id="far"></div>';
  const head = '<style>#far { height: 5000px }</style>';
  const page = await openSite(site.serve('/', { head, body: far + scriptFor(post) }), {}, async (opened) =>
    opened.on('request', (request) => asked.push(new URL(request.url()).pathname)),
  );
  await page.waitForFunction(() => document.querySelector('rejoinder-comments'));
  // A later script is there at once: what was near would have been asked for before.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
  assert.deepEqual(
    asked.filter((path) => /assets|graphql/.test(path)),
    [],
  );
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await waitForTexts(texts(embed(page)), ['Down here']);
  await closeSite(page);
});

test('a script that comes later, and one in the head with a target, have their embeds', async () => {
  const [first, later] = [await graph.createPost('In the head'), await graph.createPost('Later')];
  const url = site.serve('/', {
    head: scriptFor(first, 'data-target="#here"'),
    body: '<div id="here"></div>',
  });
  const page = await openSite(url);
  await waitForLive(page.locator('#here rejoinder-comments'));
  await page.evaluate(
    ({ src, post }) => {
      const script = Object.assign(document.createElement('script'), { type: 'module', src });
      script.dataset.post = post;
      document.body.append(script);
    },
    { src: `${stack.url}embed.js`, post: later },
  );
  await waitForLive(page.locator(`rejoinder-comments[post="${later}"]`));
  await closeSite(page);
});

test('a guest writes; what fails is kept, and another try writes it once', async () => {
  const post = await graph.createPost('Written by a guest');
  const sent: string[] = [];
  let fails = true;
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route('**/graphql', async (route) => {
      if (!operationOf(route).includes('EmbeddedWrite')) return route.continue();
      sent.push(
        (route.request().postDataJSON() as { variables: { input: { idempotencyKey: string } } }).variables
          .input.idempotencyKey,
      );
      if (!fails) return route.continue();
      // It was written, and the answer is lost.
      await route.fetch();
      await route.abort();
    }),
  );
  const comments = embed(page);
  const send = comments.getByRole('button', { name: 'Comment', exact: true });
  await send.click();
  await comments.getByText('Write something first.').waitFor();
  await comments.getByLabel('Your comment').fill('x'.repeat(5_001));
  await comments.getByText('1 character too many').waitFor();
  await send.click();
  await comments.getByText('The comment is too long.').waitFor();
  await comments.getByLabel('Your comment').fill('See https://example.org/page.\nAnd more');
  await comments.getByLabel('Name').fill('Grace');
  await comments.getByLabel('Your comment').press('Control+Enter');
  await comments.getByText('Your text is still here.').waitFor();
  fails = false;
  await send.click();
  await comments.getByText('Your comment is there.').waitFor();
  await waitForTexts(texts(comments), ['See https://example.org/page.\nAnd more']);
  await comments.locator('.author', { hasText: 'Grace' }).waitFor();
  const link = comments.getByRole('link', { name: 'https://example.org/page', exact: true });
  assert.equal(await link.getAttribute('href'), 'https://example.org/page');
  assert.match((await link.getAttribute('rel')) ?? '', /ugc/);
  assert.equal(new Set(sent).size, 1);
  assert.equal(await comments.getByLabel('Your comment').inputValue(), '');
  // The form does not keep the next text for the same comment.
  await comments.getByLabel('Your comment').fill('A second one');
  await send.click();
  await waitForTexts(texts(comments), ['A second one', 'See https://example.org/page.\nAnd more']);
  assert.equal(new Set(sent).size, 2);
  await closeSite(page);
});

test('a comment that is held is not in the list, and its author is told why', async () => {
  const post = await graph.createPost('Held back');
  const page = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route('**/graphql', async (route) => {
      if (!operationOf(route).includes('EmbeddedWrite')) return route.continue();
      const json = {
        data: {
          createComment: {
            comment: {
              id: '0123456789abcdef01234567',
              author: 'Anonymous',
              writtenByGuest: true,
              text: 'First of all',
              createdAt: new Date().toISOString(),
              edited: false,
              status: 'HELD',
            },
          },
        },
      };
      await route.fulfill({ json, headers: { 'access-control-allow-origin': '*' } });
    }),
  );
  await embed(page).getByLabel('Your comment').fill('First of all');
  await page.evaluate(() => {
    document.addEventListener('rejoinder-written', (event) =>
      Object.assign(window, { written: (event as CustomEvent).detail }),
    );
  });
  await embed(page).getByRole('button', { name: 'Comment', exact: true }).click();
  await embed(page).getByText('A moderator has to see your comment first.').waitFor();
  await waitForTexts(texts(embed(page)), []);
  const written = await page.evaluate(() => (window as unknown as { written: unknown }).written);
  assert.deepEqual(written, { id: '0123456789abcdef01234567', held: true });
  await closeSite(page);
});

test('a draft outlives a reload, and typing is no short cut of the page', async () => {
  const post = await graph.createPost('A draft on a site');
  const page = await openSite(site.serve('/', scriptFor(post)));
  await page.evaluate(() => {
    document.addEventListener('keydown', (event) => event.preventDefault());
  });
  // Keys go nowhere before the form is seen.
  await embed(page).getByLabel('Your comment').waitFor();
  await embed(page).getByLabel('Your comment').pressSequentially('Not yet');
  await page.reload();
  await eventually(async () =>
    assert.equal(await embed(page).getByLabel('Your comment').inputValue(), 'Not yet'),
  );
  await closeSite(page);
});

test('a reader whom the page signs in writes as themself, in all embeds', async () => {
  const post = await graph.createPost('Signed in from outside');
  const token = await tokenOf('Ada');
  const element = `<rejoinder-comments post="${post}" loading="eager"></rejoinder-comments>`;
  // Before the script is there, as a page's own script may.
  const early = `<script>document.querySelector('rejoinder-comments').token = async () => '${token}'</script>`;
  const page = await openSite(site.serve('/', element + early + scriptFor(post)));
  const all = page.locator('rejoinder-comments');
  for (const index of [0, 1]) await all.nth(index).getByText('As Ada').waitFor();
  assert.equal(await embed(page).getByRole('textbox', { name: 'Name' }).count(), 0);
  await waitForLive(embed(page));
  await embed(page).getByLabel('Your comment').fill('In my own name');
  await embed(page).getByRole('button', { name: 'Comment', exact: true }).click();
  await embed(page).locator('.author', { hasText: 'Ada' }).waitFor();
  const told = page.heard.all.filter(({ type }) => type === 'connection_init');
  assert.ok(JSON.stringify(told.at(-1)).includes(token), 'the socket has the token');

  // Signed out by the page, at another embed: a guest again.
  await all.nth(1).evaluate((element) => Object.assign(element, { token: null }));
  await embed(page).getByLabel('Name').waitFor();
  await waitForLive(embed(page));
  await closeSite(page);
});

test('a reader who is gone leaves no token to the next one', async () => {
  const [post, other] = [await graph.createPost('Signed out'), await graph.createPost('Signed out, too')];
  const token = await tokenOf('Ada');
  const page = await openSite(site.serve('/', scriptFor(post, `data-token="${token}"`)));
  await embed(page).getByText('As Ada').waitFor();
  await waitForLive(embed(page));
  // Another post is no other reader.
  await embed(page).evaluate((element, id) => element.setAttribute('post', id), other);
  await waitForLive(embed(page));
  await embed(page).getByText('As Ada').waitFor();

  const sent: Record<string, string>[] = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/graphql')) sent.push(request.headers());
  });
  const inits = () => page.heard.all.filter(({ type }) => type === 'connection_init');
  const before = inits().length;
  // Within the time that an unused socket stays open.
  await page.evaluate(
    ([id, server]) => {
      const removed = document.querySelector('rejoinder-comments');
      removed?.remove();
      const next = document.createElement('rejoinder-comments');
      next.setAttribute('post', id);
      next.setAttribute('server', server);
      document.body.append(next);
      Object.assign(window, { removed });
    },
    [post, stack.url] as const,
  );
  await embed(page).getByLabel('Name').waitFor();
  await waitForLive(embed(page));
  assert.deepEqual(
    inits()
      .slice(before)
      .map(({ payload }) => payload ?? {}),
    [{}],
    'a socket without a token',
  );
  await embed(page).getByLabel('Your comment').fill('Who am I?');
  await embed(page).getByRole('button', { name: 'Comment', exact: true }).click();
  await embed(page).locator('.author', { hasText: 'Anonymous' }).waitFor();
  assert.ok(sent.length > 0);
  assert.ok(sent.every((headers) => !headers.authorization));

  // What the page puts back has the token that the page gave it.
  await page.evaluate(async () => {
    document.querySelector('rejoinder-comments')?.remove();
    // It is gone when the page has had its say.
    await new Promise((resolve) => setTimeout(resolve));
    document.body.append((window as unknown as { removed: Node }).removed);
  });
  await embed(page).getByText('As Ada').waitFor();
  await waitForLive(embed(page));
  await closeSite(page);
});

test('tokens that end are followed by new ones: the reader stays, and misses nothing', async (context) => {
  const brief = await startStack({ ISSUER_TOKEN_LIFETIME: '3s', JWT_LEEWAY: '0s' });
  context.after(() => brief.stop());
  const there = new Graph(brief.url);
  const post = await there.createPost('A long visit');
  let given = 0;
  const element = `<rejoinder-comments post="${post}"></rejoinder-comments>`;
  const token = `<script>document.querySelector('rejoinder-comments').token = () => newToken()</script>`;
  const script = `<script type="module" src="${brief.url}embed.js"></script>`;
  const page = await openSite(site.serve('/', element + token + script), {}, (opened) =>
    opened.exposeFunction('newToken', () => {
      given++;
      return tokenOf('Ada', brief);
    }),
  );
  await waitForLive(embed(page));
  await embed(page).getByText('As Ada').waitFor();
  const ended = page.heard.waitFor(({ from, payload }) => {
    return from === 'server' && JSON.stringify(payload ?? {}).includes('TOKEN_EXPIRED');
  });
  let number = 0;
  await writeUntil(ended, () => there.createComment(post, `Number ${++number}`));
  await there.createComment(post, 'After the end');
  const written = Array.from({ length: number }, (_, index) => `Number ${index + 1}`);
  await waitForTexts(texts(embed(page)), ['After the end', ...written.reverse()]);
  await waitForLive(embed(page));
  assert.ok(given > 1, `${given} tokens`);
  await embed(page).getByText('As Ada').waitFor();
  await closeSite(page, brief.url);
});

test('a token that is refused makes a guest of its reader, who is told', async () => {
  const post = await graph.createPost('A refused token');
  await graph.createComment(post, 'Still to be read');
  const body = scriptFor(post, 'data-token="no.valid.token" data-sign-in="/sign-in"');
  const page = await openSite(site.serve('/', body));
  await waitForTexts(texts(embed(page)), ['Still to be read']);
  await embed(page).getByText('Your sign-in has ended.').waitFor();
  const link = embed(page).getByRole('link', { name: 'Sign in' });
  assert.equal(await link.getAttribute('href'), '/sign-in');
  await waitForLive(embed(page));
  await page.evaluate(
    (token) => document.querySelector('rejoinder-comments')?.setAttribute('token', token),
    await tokenOf('Tomás'),
  );
  await embed(page).getByText('As Tomás').waitFor();
  await closeSite(page);
});

test('nothing is written under another name when a sign-in has ended meanwhile', async () => {
  const post = await graph.createPost('Ended meanwhile');
  const page = await openSite(site.serve('/', scriptFor(post, `data-token="${await tokenOf('Ada')}"`)));
  await embed(page).getByText('As Ada').waitFor();
  await page.route('**/graphql', (route) => {
    const isWrite = operationOf(route).includes('EmbeddedWrite');
    const headers = { 'access-control-allow-origin': '*' };
    return isWrite ? route.fulfill({ status: 401, json: { errors: [] }, headers }) : route.continue();
  });
  await embed(page).getByLabel('Your comment').fill('As whom?');
  await embed(page).getByRole('button', { name: 'Comment', exact: true }).click();
  await embed(page)
    .getByText('Your sign-in has ended. Sign in again to write. Your text is still here.')
    .waitFor();
  assert.equal(await embed(page).getByLabel('Your comment').inputValue(), 'As whom?');
  await waitForTexts(texts(embed(page)), []);
  await closeSite(page);
});

test('a post that is deleted leaves, and so do comments that are', async () => {
  const post = await graph.createPost('To be deleted, elsewhere');
  const comment = await graph.createComment(post, 'Short-lived');
  const page = await openSite(site.serve('/', scriptFor(post)));
  await waitForLive(embed(page));
  await graph.deleteComment(comment);
  await embed(page).getByText('No comments yet. Be the first.').waitFor();
  await graph.deletePost(post);
  await embed(page).getByText('There is no discussion here.').waitFor();
  await closeSite(page);
});

test('older comments by the keyboard: the focus goes on there, and what arrives meanwhile is shown', async () => {
  const post = await graph.createPost('A long talk');
  for (let number = 1; number <= 45; number++) await graph.createComment(post, `Number ${number}`);
  await graph.waitForCount(post, 45);
  const [held, gone] = [gate(), gate()];
  const page = await openSite(site.serve('/', scriptFor(post)), {}, async (opened) => {
    await waitForAnswers(opened);
    await opened.route('**/graphql', async (route) => {
      if (!operationOf(route).includes('EmbeddedOlder')) return route.continue();
      held.open();
      await gone.opened;
      await route.continue();
    });
  });
  await waitForLive(embed(page));
  await embed(page).getByText('45 comments').waitFor();
  const older = embed(page).getByRole('button', { name: 'Older comments' });
  await older.focus();
  await page.keyboard.press('Enter');
  await held.opened;
  await graph.createComment(post, 'Meanwhile');
  await embed(page).getByText('Meanwhile').waitFor();
  gone.open();
  await eventually(async () => assert.equal(await texts(embed(page)).count(), 41));
  const focused = () =>
    page.evaluate(() => document.querySelector('rejoinder-comments')?.shadowRoot?.activeElement?.textContent);
  await eventually(async () => assert.match((await focused()) ?? '', /Number 25$/));
  await older.click();
  await eventually(async () => assert.equal(await texts(embed(page)).count(), 46));
  await older.waitFor({ state: 'hidden' });
  await eventually(async () => assert.match((await focused()) ?? '', /Number 5$/));
  await embed(page).getByText('46 comments').waitFor();
  await closeSite(page);
});

test('properties and parts theme it; nothing moves for those who want no motion', async () => {
  const post = await graph.createPost('In other colours');
  const head = `<style>
    rejoinder-comments { --rejoinder-accent: rgb(0, 0, 200); --rejoinder-font: 20px/1.4 Georgia, serif; max-width: 30rem; }
    rejoinder-comments::part(comment) { padding-left: 33px; }
  </style>`;
  const url = site.serve('/', { head, body: scriptFor(post) });
  const page = await openSite(url, { reducedMotion: 'reduce' });
  await waitForLive(embed(page));
  await graph.createComment(post, 'New');
  await waitForTexts(texts(embed(page)), ['New']);
  const styles = await embed(page)
    .locator('.comment')
    .evaluate((element) => {
      const { paddingLeft, fontSize, animationName } = getComputedStyle(element);
      return { paddingLeft, fontSize, animationName };
    });
  assert.deepEqual(styles, { paddingLeft: '33px', fontSize: '20px', animationName: 'none' });
  const button = embed(page).getByRole('button', { name: 'Comment', exact: true });
  const colour = await button.evaluate((element) => getComputedStyle(element).backgroundColor);
  assert.equal(colour, 'rgb(0, 0, 200)');
  await closeSite(page);
});

test('the demo page shows the comments of a post', async () => {
  const post = await graph.createPost('For the demo');
  await graph.createComment(post, 'Seen on the demo page');
  const page = await openPage(browser, `${stack.url}embed-demo.html?post=${post}`);
  await waitForTexts(texts(embed(page)), ['Seen on the demo page']);
  await page.getByText(`data-post="${post}"`).waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  await picture(page, 'embed-demo');
  await closePage(page);
});

test('axe finds nothing serious, light and dark, on a desk and on phones', async () => {
  const post = await graph.createPost('Looked at');
  await graph.createComment(post, 'The first thing I noticed: I stopped reloading.', 'Ada');
  await graph.createComment(post, `https://example.org/${'long-'.repeat(30)}\n\nتعليق آخر`, 'Tomás');
  const silent = await graph.createPost('Nothing said');
  const background = (dark: boolean) =>
    `<style>body { margin: 24px auto; max-width: 44rem; padding: 0 16px; font-family: sans-serif; ${dark ? 'background: #16140f; color: #efe9de' : ''} }</style>`;
  const narrow = { ...PHONE, viewport: { width: 320, height: 640 } };
  for (const colorScheme of ['light', 'dark'] as const)
    for (const [device, options] of [
      ['desktop', {}],
      ['390', PHONE],
      ['320', narrow],
    ] as const) {
      const body = `<main><h1>A story of the day</h1><p>Its text.</p>${scriptFor(post)}${scriptFor(silent)}${scriptFor('none')}</main>`;
      const url = site.serve('/', { head: background(colorScheme === 'dark'), body });
      const page = await openSite(url, { ...options, colorScheme });
      const all = page.locator('rejoinder-comments');
      await waitForLive(all.nth(0));
      await waitForLive(all.nth(1));
      await all.nth(2).getByText('There is no discussion here.').waitFor();
      assert.deepEqual(await seriousFaults(page), [], `${colorScheme}, ${device}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), device);
      await picture(page, `embed-${colorScheme}-${device}`);
      await page.route('**/graphql', (route) => route.abort());
      await all.nth(0).getByLabel('Your comment').fill('What becomes of it?');
      await all.nth(0).getByRole('button', { name: 'Comment', exact: true }).click();
      await all.nth(0).getByText('Your text is still here.').waitFor();
      assert.deepEqual(await seriousFaults(page), [], `${colorScheme}, ${device}, with an error`);
      await picture(page, `embed-error-${colorScheme}-${device}`);
      await closeSite(page);
    }
});

test('comments have their Markdown, and are read before what draws it is there', async () => {
  const post = await graph.createPost('Marked in the embed');
  const text = 'With **strong** words, `code` and [the docs](https://example.org/docs).\n\n- one\n- two';
  await graph.createComment(post, `${text} <b>typed</b> [x](javascript:alert(1)) https://example.org/a_b`);
  const script = gate();
  const { host } = new URL(stack.url);
  const policy = [
    `default-src 'none'; script-src http://${host}; connect-src http://${host} ws://${host}`,
    `require-trusted-types-for 'script'; trusted-types 'none'`,
  ].join('; ');
  const headers = { 'content-security-policy': policy };
  const page = await openSite(site.serve('/', { body: scriptFor(post), headers }), {}, (opened) =>
    opened.route(/embed-markdown-/, async (route) => {
      await script.opened;
      await route.continue();
    }),
  );
  const shown = embed(page).locator('.comment .text');
  await shown.getByText('With **strong** words').waitFor();
  await shown.getByRole('link', { name: 'https://example.org/a_b' }).waitFor();
  script.open();
  await shown.locator('strong', { hasText: 'strong' }).waitFor();
  await waitForTexts(shown.locator('li'), [
    'one',
    'two <b>typed</b> [x](javascript:alert(1)) https://example.org/a_b',
  ]);
  for (const link of await shown.locator('a').all()) {
    assert.match((await link.getAttribute('href')) ?? '', /^https:\/\/example\.org\//);
    assert.equal(await link.getAttribute('rel'), 'nofollow ugc noopener noreferrer');
    assert.equal(await link.getAttribute('target'), '_blank');
  }
  assert.equal(await shown.locator('a').count(), 2);
  await closeSite(page);

  const without = await openSite(site.serve('/', scriptFor(post)), {}, (opened) =>
    opened.route(/embed-markdown-/, (route) => route.abort()),
  );
  await embed(without).getByText('With **strong** words').waitFor();
  await closeSite(without);
});

test('all of it is small', async (context: TestContext) => {
  const names = (await readdir(join(DIST, 'assets'))).filter((name) => /^embed-.*\.js$/.test(name));
  const sizeOf = async (file: string) => (await stat(join(DIST, file))).size;
  const sum = async (files: string[], kind: string) => {
    const sizes = await Promise.all(files.map((file) => sizeOf(`${file}.${kind}`)));
    context.diagnostic(`${files.join(', ')}: ${sizes.join(' + ')} bytes as ${kind}`);
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  const all = ['embed.js', ...names.map((name) => `assets/${name}`)];
  assert.equal(all.length, 3);
  const plain = await sum(
    all.filter((file) => !file.includes('markdown')),
    'gz',
  );
  assert.ok(plain < PLAIN_BYTES_MAX, `${plain} bytes`);
  const marked = await sum(all, 'br');
  assert.ok(marked < BYTES_MAX, `${marked} bytes`);
});
