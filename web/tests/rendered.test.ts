// The page before its script runs, and where it never does: what the page service has rendered, and how the live page
// takes its place.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForCount,
  waitForFocus,
  waitForState,
  waitForTexts,
} from './support/browser';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';
import { eventually, type Gate, gate } from './support/waiting';

/** Of all of a first visit, compressed. */
const VISIT_BYTES_MAX = 170_000;

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

const postUrl = (id: string) => `${stack.url}posts/${id}`;

/** Comments `1` to `count`, as a page lists them. */
async function createComments(post: string, count: number): Promise<string[]> {
  for (let number = 1; number <= count; number++) await graph.createComment(post, `Number ${number}`);
  await graph.waitForCount(post, count);
  return Array.from({ length: count }, (_, index) => `Number ${count - index}`);
}

/** The operations that the page asks for over HTTP, from now on. */
function operationsOf(page: Page): string[] {
  const operations: string[] = [];
  page.on('request', (request) => {
    const asked = request.url().endsWith('/graphql') ? request.postData() : null;
    if (asked) operations.push((JSON.parse(asked) as { operationName: string }).operationName);
  });
  return operations;
}

test('without JavaScript posts and comments can be read, page by page', async () => {
  const title = 'Read <b>without</b> a script & "quoted"';
  const post = await graph.createPost(title, 'One paragraph.\n\nAnother </p><script>alert(1)</script>');
  const comments = await createComments(post, 25);
  for (const window of [{}, PHONE]) {
    const page = await openPage(browser, stack.url, { ...window, javaScriptEnabled: false });
    await page.getByRole('link', { name: title }).click();
    await page.waitForURL(postUrl(post));
    assert.equal(await page.title(), `${title} · Rejoinder`);
    assert.equal(await page.locator('h1').textContent(), title);
    assert.deepEqual(await page.locator('.content p').allTextContents(), [
      'One paragraph.',
      'Another </p><script>alert(1)</script>',
    ]);
    await waitForComments(page, comments.slice(0, 20));
    await page.getByRole('link', { name: 'Older comments' }).click();
    await waitForComments(page, comments.slice(20));
    await page.getByRole('link', { name: 'Newest comments' }).click();
    await waitForComments(page, comments.slice(0, 20));
    assert.match(await page.content(), /Without JavaScript you can read everything\./);
    await closePage(page);
  }
});

test('what is rendered is accessible', async () => {
  const post = await graph.createPost('For everybody');
  await createComments(post, 3);
  for (const path of ['', `posts/${post}`, 'posts/abc']) {
    // Without its script, and with that of the check.
    const page = await openPage(browser, stack.url + path, PHONE, (opened) =>
      opened.route('**/assets/*.js', (route) => route.abort()),
    );
    await page.locator('h1').waitFor();
    assert.deepEqual(await seriousFaults(page), [], path);
    await closePage(page);
  }
});

test('what is not there has its status, with a page, and feeds can be found', async () => {
  const post = await graph.createPost('To be followed');
  for (const path of ['posts/abc', 'posts/000000000000000000000000', 'nowhere']) {
    const answer = await fetch(stack.url + path, { headers: { accept: 'text/html' } });
    assert.equal(answer.status, 404, path);
    assert.match(await answer.text(), /There is nothing at this address/);
  }
  const page = await openPage(browser, postUrl(post), { javaScriptEnabled: false });
  const feeds = page.locator("link[rel='alternate'][type='application/atom+xml']");
  for (const feed of await feeds.all()) {
    const answer = await fetch((await feed.getAttribute('href')) ?? '');
    assert.equal(answer.status, 200);
    assert.match(await answer.text(), /^<\?xml[^]*To be followed[^]*<\/feed>$/);
  }
  assert.equal(await feeds.count(), 2);
  const canonical = page.locator("link[rel='canonical']");
  assert.equal(await canonical.getAttribute('href'), postUrl(post));
  const manifest = await fetch(`${stack.url}manifest.webmanifest`);
  assert.equal(manifest.headers.get('content-type'), 'application/manifest+json');
  await closePage(page);
});

/** Notes each state of the page that a reader may see: how often the heading and the comments are there. */
function noteStates(): void {
  const states = new Set<string>();
  new MutationObserver(() => {
    if (document.readyState === 'loading') return;
    const headings = [...document.querySelectorAll('h1')].filter((it) => it.textContent === 'Taken over');
    const comments = document.querySelectorAll('.comment p.text').length;
    const mains = document.querySelectorAll('main').length;
    states.add(`${headings.length} headings, ${comments} comments, ${mains} mains`);
  }).observe(document, { childList: true, subtree: true });
  // What was there before the first change counts, too.
  addEventListener('DOMContentLoaded', () => document.body.append(document.createComment('loaded')));
  Object.assign(window, { states });
}

test('the live page takes the place of what was rendered, without a flash, and asks for nothing twice', async (context) => {
  const post = await graph.createPost('Taken over');
  const comments = await createComments(post, 3);
  let operations: string[] = [];
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await opened.addInitScript(noteStates);
    operations = operationsOf(opened);
  });
  await waitForState(page, 'Live');
  await waitForComments(page, comments);
  const states = await page.evaluate(() => [...(window as unknown as { states: Set<string> }).states]);
  assert.deepEqual(states, ['1 headings, 3 comments, 1 mains']);
  assert.ok(!operations.some((name) => /^(Start|Post$|Posts$|PostComments$)/.test(name)), operations.join());
  assert.equal(await page.locator('#root').getAttribute('data-start'), null);

  await graph.createComment(post, 'Live');
  await waitForComments(page, ['Live', ...comments]);
  const bytes = await page.evaluate(() =>
    performance
      .getEntries()
      .filter((entry) => entry instanceof PerformanceResourceTiming)
      .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
  );
  context.diagnostic(`${(bytes / 1000).toFixed(1)} KB, compressed`);
  assert.ok(bytes > 10_000 && bytes < VISIT_BYTES_MAX, `${bytes} bytes`);

  // What the page says of its address is not said of another.
  await page.locator('.posts a').last().click();
  await page.waitForURL((url) => !url.href.includes(post));
  assert.equal(await page.locator("link[rel='canonical'], meta[property]").count(), 0);
  await closePage(page);
});

test('a list that was rendered for another cursor is not taken for the one of the address', async () => {
  const post = await graph.createPost('In parts');
  const comments = await createComments(post, 3);
  let operations: string[] = [];
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    operations = operationsOf(opened);
    await opened.route(postUrl(post), async (route) => {
      const answer = await route.fetch();
      const html = (await answer.text()).replace('&quot;after&quot;:null', '&quot;after&quot;:&quot;x&quot;');
      assert.match(html, /&quot;after&quot;:&quot;x&quot;/);
      await route.fulfill({ response: answer, body: html });
    });
  });
  await waitForComments(page, comments);
  // The comments are there before the script is.
  await eventually(async () => assert.ok(operations.includes('StartComments'), operations.join()));
  await closePage(page);
});

test('nothing moves and the reader stays where they are when the live page takes over', async () => {
  const post = await graph.createPost('Scrolled', 'A line.\n\n'.repeat(30));
  await createComments(post, 20);
  for (const window of [{}, PHONE]) {
    const loaded = gate();
    const page = await openPage(browser, postUrl(post), window, (opened) =>
      opened.route('**/assets/main-*.js', async (route) => {
        await loaded.opened;
        await route.continue();
      }),
    );
    const target = page.locator('.comment', { hasText: 'Number 10' });
    await target.scrollIntoViewIfNeeded();
    const top = async () => (await target.boundingBox())?.y ?? 0;
    const heading = async () => (await page.locator('h1').boundingBox())?.x ?? 0;
    const [before, beside] = [await top(), await heading()];
    loaded.open();
    await waitForState(page, 'Live');
    assert.ok(Math.abs((await top()) - before) < 2, `${await top()} after ${before}`);
    assert.ok(Math.abs((await heading()) - beside) < 2, `${await heading()} after ${beside}`);
    await closePage(page);
  }
});

test('the comments begin where they will be when one can be written', async () => {
  const post = await graph.createPost('Composed');
  await createComments(post, 3);
  const loaded = gate();
  const page = await openPage(browser, postUrl(post), {}, (opened) =>
    opened.route('**/assets/main-*.js', async (route) => {
      await loaded.opened;
      await route.continue();
    }),
  );
  const top = async () => (await page.locator('.comment-list').boundingBox())?.y ?? 0;
  const before = await top();
  loaded.open();
  await waitForState(page, 'Live');
  assert.ok(Math.abs((await top()) - before) < 4, `${await top()} after ${before}`);
  await closePage(page);
});

test('texts have their Markdown before the script, and nothing moves when it takes over', async () => {
  const text = [
    '# A heading',
    'With **strong** words, `code` and https://example.org/a_b for you.\nAnother line.',
    '> Quoted',
    '- one\n- two\n  1. inner',
    '```js\nconst a = "<b>";\n```',
    '[the docs](https://example.org/docs "Docs") <b>as typed</b>',
  ].join('\n\n');
  const post = await graph.createPost('Marked before the script', text);
  const first = await graph.createComment(post, text);
  await graph.createComment(post, 'Plain, on\ntwo lines');
  const mutation =
    'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';
  await graph.run(mutation, { input: { postId: post, parentId: first, text: 'An *answer*', author: 'Ben' } });
  await graph.waitForCount(post, 3);
  const elementsOf = (page: Page) =>
    page.locator('.content, .comment-body > .text, .reply-to, .comment-body > .unseen').evaluateAll((all) =>
      all.map((each) => {
        const copy = each.cloneNode(true) as Element;
        // In whatever order they were set.
        for (const element of [copy, ...copy.querySelectorAll('*')])
          for (const { name, value } of [...element.attributes].sort((a, b) => (a.name < b.name ? -1 : 1))) {
            element.removeAttribute(name);
            element.setAttribute(name, value);
          }
        return copy.outerHTML.replace(/ (class|aria-hidden)=""/g, '');
      }),
    );
  for (const window of [{}, PHONE]) {
    const loaded = gate();
    const page = await openPage(browser, postUrl(post), window, (opened) => holdScript(opened, loaded));
    await page.locator('.comment li strong, .content strong').first().waitFor();
    const [rendered, places] = [await elementsOf(page), await placesOf(page)];
    assert.ok(rendered.join().includes('<em>answer</em>'), rendered.join());
    assert.deepEqual(await seriousFaults(page), []);
    loaded.open();
    await waitForState(page, 'Live');
    await eventually(async () => assert.deepEqual(await elementsOf(page), rendered));
    for (const [index, place] of (await placesOf(page)).entries())
      assert.ok(Math.abs(place - (places[index] ?? 0)) < 4, `${index}: ${place} after ${places[index]}`);
    await closePage(page);
  }
});

/** Where the parts of texts are, from the top. */
function placesOf(page: Page): Promise<number[]> {
  return page
    .locator('.content > *, .comment, .comment-body > .text, .comment-body > .text > *')
    .evaluateAll((all) => all.map((each) => each.getBoundingClientRect().top + scrollY));
}

test('the page shows what it has kept when the browser goes back, and then what is new', async () => {
  const post = await graph.createPost('Left and found again');
  await createComments(post, 2);
  const page = await openPage(browser, postUrl(post));
  await waitForState(page, 'Live');
  await page.goto(`${stack.url}stats.html`);
  await graph.createComment(post, 'Meanwhile');
  await graph.updatePost(post, 'Found again');
  await page.goBack();
  await waitForComments(page, ['Meanwhile', 'Number 2', 'Number 1']);
  await page.getByRole('heading', { level: 1, name: 'Found again' }).waitFor();
  await closePage(page);
});

/** Holds the page's main script until the gate opens. */
function holdScript(opened: Page, loaded: Gate): Promise<unknown> {
  return opened.route('**/assets/main-*.js', async (route) => {
    await loaded.opened;
    await route.continue();
  });
}

test('an older part of the comments stays when the script arrives, and is live', async () => {
  const post = await graph.createPost('In parts', 'A paragraph.\n\n'.repeat(20));
  const comments = await createComments(post, 45);
  const [newest, second, third] = [comments.slice(0, 20), comments.slice(20, 40), comments.slice(40)];
  for (const window of [{}, PHONE]) {
    const loaded = gate();
    let operations: string[] = [];
    const page = await openPage(browser, postUrl(post), window, async (opened) => {
      operations = operationsOf(opened);
      await holdScript(opened, loaded);
    });
    await page.getByRole('link', { name: 'Older comments' }).click();
    await waitForComments(page, second);
    const address = page.url();
    const target = page.locator('.comment', { hasText: 'Number 15' });
    await target.scrollIntoViewIfNeeded();
    const top = async () => (await target.boundingBox())?.y ?? 0;
    const before = await top();
    loaded.open();
    await waitForState(page, 'Live');
    await waitForComments(page, second);
    assert.equal(page.url(), address);
    assert.ok(Math.abs((await top()) - before) < 2, `${await top()} after ${before}`);
    assert.ok(!operations.some((name) => /^(Start|PostComments$)/.test(name)), operations.join());

    // What is new belongs to another part; what is shown is live.
    const added = await graph.createComment(post, 'Brand new');
    await waitForCount(page, '46 comments');
    const shown = await target.getAttribute('id');
    await graph.updateComment(shown?.replace('comment-', '') ?? '', 'Number 15, edited');
    await page.locator('.comment', { hasText: 'Number 15, edited' }).waitFor();
    await graph.updateComment(shown?.replace('comment-', '') ?? '', 'Number 15');
    await waitForComments(page, second);
    assert.doesNotMatch(await page.title(), /^\(/);

    await page.getByRole('button', { name: 'Older comments' }).click();
    await waitForComments(page, [...second, ...third]);
    await page.getByRole('link', { name: 'Newest comments' }).click();
    await waitForComments(page, ['Brand new', ...newest.slice(0, 19)]);
    assert.equal(page.url(), postUrl(post));
    await waitForFocus(page, '#comments-title');
    // As far as it was loaded.
    const beginsWithPart = () =>
      eventually(async () => {
        const shown = await page.locator('.comment-body > .text').allTextContents();
        assert.deepEqual(shown.slice(0, second.length), second);
      });
    await page.goBack();
    await beginsWithPart();
    assert.equal(page.url(), address);
    await page.reload();
    await waitForState(page, 'Live');
    await beginsWithPart();
    await graph.deleteComment(added);
    await waitForCount(page, '45 comments');
    await closePage(page);
  }
});

test('what one writes beside an older part of the comments, and what an address points to, is found', async () => {
  const post = await graph.createPost('Written beside');
  const comments = await createComments(post, 25);
  const page = await openPage(browser, postUrl(post), { javaScriptEnabled: false });
  const older = await page.getByRole('link', { name: 'Older comments' }).getAttribute('href');
  await closePage(page);
  const live = await openPage(browser, new URL(older ?? '', stack.url).href);
  await waitForState(live, 'Live');
  await waitForComments(live, comments.slice(20));
  await live.getByLabel('Your comment').fill('Mine');
  await live.getByRole('button', { name: 'Comment', exact: true }).click();
  await live.getByText('Your comment is among the newest.').waitFor();
  await waitForComments(live, comments.slice(20));
  await live.getByRole('link', { name: 'Show it' }).click();
  await live.locator('.comment:focus', { hasText: 'Mine' }).waitFor();
  await waitForComments(live, ['Mine', ...comments.slice(0, 19)]);
  assert.equal(new URL(live.url()).search, '');
  await closePage(live);
});

test('an older part of the list of posts stays when the script arrives', async () => {
  const titles: string[] = [];
  for (let number = 1; number <= 45; number++) {
    titles.unshift(`Listed ${number}`);
    await graph.createPost(`Listed ${number}`);
  }
  const rows = (page: Page) => page.locator('.posts .row-title');
  for (const window of [{}, PHONE]) {
    const loaded = gate();
    const page = await openPage(browser, stack.url, { ...window, javaScriptEnabled: false });
    const older = await page.getByRole('link', { name: 'Older posts' }).getAttribute('href');
    await closePage(page);
    const live = await openPage(browser, new URL(older ?? '', stack.url).href, window, (opened) =>
      holdScript(opened, loaded),
    );
    const second = (await rows(live).allTextContents()).slice();
    assert.equal(second.length, 20);
    assert.notEqual(second[0], titles[0]);
    loaded.open();
    await waitForState(live, 'Live');
    const added = await graph.createPost('Not in this part');
    await waitForTexts(rows(live), second);
    assert.equal(new URL(live.url()).search, new URL(older ?? '', stack.url).search);

    // Another way of reading it again leaves it where it is.
    await live.evaluate(() => dispatchEvent(new Event('offline')));
    await waitForState(live, 'Live');
    await waitForTexts(rows(live), second);
    await live.getByRole('button', { name: 'Older posts' }).click();
    await eventually(async () => assert.ok((await rows(live).count()) > 20, 'more posts'));

    // A post opens beside it, or in its place; the way back leads to the same part.
    await live.getByRole('link', { name: second[3] ?? '', exact: true }).click();
    await live.getByRole('heading', { level: 1, name: second[3] ?? '', exact: true }).waitFor();
    await live.goBack();
    await eventually(async () => assert.deepEqual((await rows(live).allTextContents()).slice(0, 20), second));
    await live.getByRole('link', { name: 'Newest posts' }).click();
    await eventually(async () => assert.equal((await rows(live).allTextContents())[0], 'Not in this part'));
    await graph.deletePost(added);
    await rows(live).filter({ hasText: 'Not in this part' }).waitFor({ state: 'detached' });
    await closePage(live);
  }
});

test('without the page service the page is as it was', async () => {
  const post = await graph.createPost('Plain');
  await graph.createComment(post, 'Still here');
  if (!(await stack.kill('pages'))) return;
  const page = await openPage(browser, postUrl(post));
  await waitForComments(page, ['Still here']);
  await waitForState(page, 'Live');
  await closePage(page);
  await eventually(async () => assert.equal((await fetch(`${stack.url}feed.atom`)).status, 200));
});
