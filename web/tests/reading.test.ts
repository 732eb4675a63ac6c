// What a reader gets: how much is sent, addresses that lead back, words, and ways without a mouse.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser } from 'playwright-core';

import {
  closePage,
  DESKTOP,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForCount,
  waitForFocus,
  waitForState,
} from './support/browser';
import { Frames } from './support/frames';
import { Graph } from './support/graph';
import { type Stack, startStack } from './support/stack';
import { waitForAnswers } from './support/time';
import { eventually, gate } from './support/waiting';

/** Of all of a first visit, compressed. */
const VISIT_BYTES_MAX = 170_000;
/** Of what a viewer's socket receives for one comment. */
const EVENT_BYTES_MAX = 1_200;
/** Longer than the page waits before it keeps a new place. */
const LONG_AFTER_MS = 500;

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

test('a first visit is small, however long the posts are, and so is what comes live', async (context) => {
  // Words, so that it compresses as a text does and no better.
  const word = (number: number) => ((number * 2_654_435_761) % 4_294_967_296).toString(36);
  const long = Array.from({ length: 2_600 }, (_, index) => word(index + 1))
    .join(' ')
    .slice(0, 20_000);
  for (let number = 1; number <= 20; number++) await graph.createPost(`Long ${number}`, long);
  const post = await graph.createPost('Read now', 'Short, with **markup**: https://example.org/');
  const bodies: Promise<string>[] = [];
  let frames: Frames | undefined;
  let isComplete: Promise<unknown> | undefined;
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    frames = new Frames(opened);
    // What may have been missed before the subscriptions stood is asked for, too.
    isComplete = opened.waitForResponse(
      (response) => response.request().postData()?.includes('PostVersions') ?? false,
    );
    opened.on('response', (response) => {
      const { pathname } = new URL(response.url());
      if (pathname === '/graphql' || pathname.startsWith('/posts/')) bodies.push(response.text());
    });
  });
  await page.locator('.posts li', { hasText: 'Long 20' }).waitFor();
  await waitForState(page, 'Live');
  await isComplete;
  await page.locator('.content strong').waitFor();
  await page.waitForFunction(() => performance.getEntriesByName(location.origin + '/graphql').length > 0);
  const bytes = await page.evaluate(() =>
    performance
      .getEntries()
      .filter((entry) => entry instanceof PerformanceResourceTiming)
      .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
  );
  context.diagnostic(`${(bytes / 1000).toFixed(1)} KB, compressed`);
  assert.ok(bytes > 10_000 && bytes < VISIT_BYTES_MAX, `${bytes} bytes`);
  // In an attribute of the page, or in an answer.
  const lists = (await Promise.all(bodies)).filter((body) => /(&quot;|")excerpt/.test(body));
  assert.equal(lists.length, 1, 'the list is loaded once');

  const before = frames?.all.length ?? 0;
  for (let number = 1; number <= 5; number++) await graph.createComment(post, `Comment ${number}`);
  await waitForCount(page, '5 comments');
  await page.locator('.comment').nth(4).waitFor();
  const received = frames?.all.slice(before).filter(({ from, type }) => from === 'server' && type === 'next');
  const size = JSON.stringify(received).length / 5;
  assert.ok(size < EVENT_BYTES_MAX, `${size} bytes for each comment`);
  await closePage(page);
});

test('a post of the list that is edited elsewhere shows its new text', async () => {
  const post = await graph.createPost('Listed', 'The old beginning.');
  const page = await openPage(browser, stack.url);
  await waitForState(page, 'Live');
  const row = page.locator('.posts li', { hasText: 'Listed' });
  await row.getByText('The old beginning.').waitFor();
  await graph.change('mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }', {
    id: post,
    content: 'The new beginning.',
  });
  await row.getByText('The new beginning.').waitFor();
  await page.locator('.content', { hasText: 'The new beginning.' }).waitFor();
  await closePage(page);
});

test('every post has its address, and so has every comment', async () => {
  const first = await graph.createPost('Addressed');
  let oldest = '';
  for (let number = 1; number <= 130; number++) {
    const id = await graph.createComment(first, `Number ${number}`);
    oldest ||= id;
  }
  // A page is rendered for all who ask within two seconds: one from before the post leads to the post before it.
  await eventually(async () => {
    const html = await (await fetch(stack.url, { headers: { accept: 'text/html' } })).text();
    assert.ok(html.includes(first), 'the list has the new post');
  });
  const page = await openPage(browser, stack.url);
  await page.waitForURL(postUrl(first));
  await page.getByRole('heading', { name: 'Addressed' }).waitFor();

  // A shared link leads to a comment that is far back, and says so when it is gone.
  const reader = await openPage(browser, `${postUrl(first)}#comment-${oldest}`);
  await waitForFocus(reader, `#comment-${oldest}`);
  await reader.locator(`#comment-${oldest}[data-target]`).waitFor();
  await graph.deleteComment(oldest);
  const late = await openPage(browser, `${postUrl(first)}#comment-${oldest}`);
  await late.getByText('The comment that this address points to is not here any more.').waitFor();

  // The addresses of before still lead there.
  const former = await openPage(browser, `${stack.url}?post=${first}`);
  await former.waitForURL(postUrl(first));
  for (const each of [page, reader, late, former]) await closePage(each);
});

test('a reload keeps the place, with the comments that were loaded', async () => {
  const post = await graph.createPost('Read half');
  for (let number = 1; number <= 50; number++) await graph.createComment(post, `Line ${number}`);
  const page = await openPage(browser, postUrl(post), PHONE);
  await page.getByRole('button', { name: 'Older comments' }).click();
  const line = page.getByText('Line 15', { exact: true });
  await line.waitFor();
  await line.evaluate((element) => element.scrollIntoView({ block: 'start' }));
  const top = () => line.evaluate((element) => element.getBoundingClientRect().top);
  const before = await top();
  await page.waitForFunction(
    () => Math.abs(((history.state as { place?: { y: number } } | null)?.place?.y ?? 0) - scrollY) < 1,
  );
  // The comments come long after the list, which is enough to go back by.
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes('"operationName":"StartComments"')) {
      await page.locator('.posts li').first().waitFor({ state: 'attached' });
      await page.evaluate((ms) => new Promise((resolve) => setTimeout(resolve, ms)), LONG_AFTER_MS);
    }
    await route.continue();
  });
  await page.reload();
  await line.waitFor();
  await page.waitForFunction(() => scrollY > 1_000);
  await eventually(async () => {
    const after = await top();
    assert.ok(Math.abs(after - before) < 4, `${before} became ${after}`);
  });
  await closePage(page);
});

test('the way back leads to the same place, in a post and in the list', async () => {
  for (let number = 1; number <= 15; number++) await graph.createPost(`Stop ${number}`);
  const post = await graph.createPost('There and back');
  for (let number = 1; number <= 30; number++) await graph.createComment(post, `Step **${number}**`);
  const page = await openPage(browser, stack.url, PHONE);
  const placeOf = (text: string) =>
    page.getByText(text, { exact: true }).evaluate((element) => element.getBoundingClientRect().top);
  const isKept = () =>
    page.waitForFunction(
      () => Math.abs(((history.state as { place?: { y: number } } | null)?.place?.y ?? 0) - scrollY) < 1,
    );
  const isBackAt = (text: string, before: number) =>
    eventually(async () => {
      const after = await placeOf(text);
      assert.ok(Math.abs(after - before) < 4, `${text}: ${before} became ${after}`);
    });
  await page.getByRole('link', { name: 'Stop 5', exact: true }).evaluate((row) => row.scrollIntoView());
  await isKept();
  const inList = await placeOf('Stop 5');
  await page.evaluate((id) => {
    history.pushState(null, '', `/posts/${id}`);
    dispatchEvent(new PopStateEvent('popstate'));
  }, post);
  const step = page.locator('.comment', { hasText: 'Step 15' });
  await step.locator('strong').waitFor();
  await page.getByText('15', { exact: true }).evaluate((word) => word.scrollIntoView({ block: 'center' }));
  await isKept();
  const inPost = await placeOf('15');
  await page.locator('.brand').click();
  await page.getByRole('link', { name: 'Stop 5', exact: true }).waitFor();
  await page.goBack();
  await isBackAt('15', inPost);
  await page.goBack();
  await isBackAt('Stop 5', inList);
  await closePage(page);
});

test('an address that shows nothing says so, on a page of its own', async () => {
  for (const path of ['posts/64b000000000000000000000', 'posts/abc', 'nowhere/at/all']) {
    const page = await openPage(browser, stack.url + path);
    await page.getByRole('heading', { name: 'Not found' }).waitFor();
    assert.doesNotMatch(await page.locator('main').innerText(), /Failed|parse|ID/);
    await page.locator('meta[name=robots][content=noindex]').waitFor({ state: 'attached' });
    await page.getByRole('link', { name: 'See all posts.' }).waitFor();
    await closePage(page);
  }
});

test('a link of the list is named by its title, and exact times can be had without a mouse', async () => {
  const post = await graph.createPost('A short name', 'A long text. '.repeat(300));
  const page = await openPage(browser, stack.url, { ...DESKTOP, locale: 'de-DE', timezoneId: 'Asia/Tokyo' });
  await page.getByRole('link', { name: 'A short name', exact: true }).click();
  await page.waitForURL(postUrl(post));
  await waitForFocus(page, 'h1');
  const when = page.locator('main .when').first();
  await when.press('Enter');
  const { post: read } = await graph.run<{ post: { createdAt: string } }>(
    'query ($id: ID!) { post(id: $id) { createdAt } }',
    { id: post },
  );
  const exact = new Intl.DateTimeFormat('de-DE', {
    dateStyle: 'medium',
    timeStyle: 'long',
    timeZone: 'Asia/Tokyo',
  }).format(new Date(read.createdAt));
  await when.getByText(exact).waitFor();
  await closePage(page);

  // And by a finger: of the post, and of a comment.
  await graph.createComment(post, 'Touched');
  const touched = await openPage(browser, postUrl(post), PHONE);
  await waitForState(touched, 'Live');
  for (const time of [touched.locator('main .when').first(), touched.locator('.comment .when').first()]) {
    const ago = await time.innerText();
    await time.tap();
    await time.getByText(/\d\d:\d\d/).waitFor();
    const box = await time.boundingBox();
    assert.ok((box?.height ?? 0) >= 24, `${box?.height} px are too low for a finger`);
    await time.tap();
    await time.getByText(ago).waitFor();
  }
  await closePage(touched);
});

test('the focus goes on with the reading: older posts', async () => {
  for (let number = 1; number <= 25; number++) await graph.createPost(`Shelf ${number}`);
  const page = await openPage(browser, stack.url);
  await page.getByRole('button', { name: 'Older posts' }).focus();
  await page.keyboard.press('Enter');
  await waitForFocus(page, '.posts li:nth-child(21) a');
  await closePage(page);
});

test('older posts stay where the list was being read again meanwhile', async () => {
  for (let number = 1; number <= 25; number++) await graph.createPost(`Rack ${number}`);
  const server = gate();
  const asksAgain = (request: { postData(): string | null }) =>
    !!request.postData()?.includes('PostVersions');
  let reading!: Promise<unknown>;
  const page = await openPage(browser, stack.url, {}, async (page) => {
    await waitForAnswers(page);
    reading = page.waitForRequest(asksAgain);
    await page.route('**/graphql', async (route) => {
      if (!asksAgain(route.request())) return route.continue();
      const response = await route.fetch();
      await server.opened;
      await route.fulfill({ response });
    });
  });
  await reading;
  await page.getByRole('button', { name: 'Older posts' }).click();
  await page.locator('.posts li:nth-child(21)').waitFor();
  // It is read once more, as far as it goes by now.
  const again = page.waitForResponse((response) => asksAgain(response.request()));
  const whole = again.then(() => page.waitForResponse((response) => asksAgain(response.request())));
  server.open();
  await whole;
  await eventually(async () =>
    assert.ok((await page.locator('.posts li').count()) > 20, 'older posts are there'),
  );
  await closePage(page);
});

test('names are not cut on a small screen, and counts do not move while a page loads', async () => {
  const post = await graph.createPost('Small screen', 'A text.', 'Margarethe Oberhuber-Lindqvist');
  await graph.createComment(post, 'A comment', 'Theodora Papadopoulou-Konstantinidis');
  await graph.waitForCount(post, 1);
  const page = await openPage(browser, postUrl(post), { ...PHONE, viewport: { width: 320, height: 640 } });
  await waitForComments(page, ['A comment']);
  const cut = await page
    .locator('.name')
    .evaluateAll((names) =>
      names.filter((name) => name.scrollWidth > name.clientWidth).map((name) => name.textContent),
    );
  assert.deepEqual(cut, []);
  const desk = await openPage(browser, stack.url);
  const count = desk.locator('.posts li', { hasText: 'Small screen' }).locator('.count');
  await count.waitFor();
  assert.equal(await count.evaluate((element) => element.getAnimations().length), 0);
  await waitForState(desk, 'Live');
  await graph.createComment(post, 'Another');
  await count.and(desk.locator('[data-changed]')).waitFor();
  for (const each of [page, desk]) await closePage(each);
});

/** Of two colours, by the bytes of their parts: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio. */
function contrastOf(one: readonly number[], other: readonly number[]): number {
  const [low = 0, high = 0] = [one, other]
    .map((bytes) => {
      const [r = 0, g = 0, b = 0] = bytes.map((byte) =>
        byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4,
      );
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    })
    .sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
}

test('names have colours of their own, the same everywhere, that can be read in both schemes', async () => {
  const names = 'Ada Ben Cleo Dan Eva Finn Gus Hana Ines Jan Kim Leo Mia Nora Omar Pia'.split(' ');
  const post = await graph.createPost('Many voices');
  for (const name of [...names, 'Ada']) await graph.createComment(post, `By ${name}`, name);
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await openPage(browser, postUrl(post), { colorScheme });
    await waitForState(page, 'Live');
    const coloursOf = (name: string) =>
      page
        .locator('.comment')
        .filter({ has: page.getByText(name, { exact: true }) })
        .locator('.avatar')
        .evaluateAll((all) => [...new Set(all.map((each) => getComputedStyle(each).backgroundColor))]);
    const colours = (await Promise.all(names.map(coloursOf))).flat();
    assert.equal(colours.length, names.length, 'a name has one colour');
    assert.ok(new Set(colours).size >= names.length - 3, `${new Set(colours).size} colours`);
    const painted = await page.locator('.avatar').evaluateAll((all) => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      if (!canvas) throw new Error('no canvas');
      return all.map((each) => {
        const { color, backgroundColor } = getComputedStyle(each);
        return [color, backgroundColor].map((colour) => {
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        });
      });
    });
    const [low] = painted
      .map(([letter = [], ground = []]) => contrastOf(letter, ground))
      .sort((one, other) => one - other);
    assert.ok((low ?? 0) >= 4.5, `contrast of ${low?.toFixed(2)}`);
    await closePage(page);
  }
});

test('the badge looks like a word, and a button that waits for words like a button', async () => {
  const post = await graph.createPost('Looks');
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await openPage(browser, postUrl(post), { colorScheme });
    await waitForState(page, 'Live');
    const badge = await page.locator('.badge').evaluate((element) => {
      const { borderTopWidth, backgroundColor, boxShadow } = getComputedStyle(element);
      return { borderTopWidth, backgroundColor, boxShadow };
    });
    const plain = { borderTopWidth: '0px', backgroundColor: 'rgba(0, 0, 0, 0)', boxShadow: 'none' };
    assert.deepEqual(badge, plain);
    const button = page.getByRole('button', { name: 'Comment', exact: true });
    assert.equal(await button.getAttribute('aria-disabled'), 'true');
    const [letter = [], ground = [], paper = []] = await button.evaluate((element) => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      if (!canvas) throw new Error('no canvas');
      const { color, backgroundColor } = getComputedStyle(element);
      return [color, backgroundColor, getComputedStyle(document.body).backgroundColor].map((colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      });
    });
    assert.ok(contrastOf(letter, ground) >= 4.5, 'its word can be read');
    assert.ok(contrastOf(ground, paper) >= 1.2, 'it stands out from the page');
    await closePage(page);
  }
});

test('on paper a post has its text and comments, and no buttons', async () => {
  const post = await graph.createPost('Printed', 'Words on paper.');
  await graph.createComment(post, 'Ink');
  const page = await openPage(browser, postUrl(post));
  await waitForComments(page, ['Ink']);
  await page.emulateMedia({ media: 'print' });
  assert.ok(await page.locator('main').getByText('Words on paper.').isVisible());
  assert.ok(await page.getByText('Ink', { exact: true }).isVisible());
  for (const hidden of ['.top', '.side', '.composer', '.actions'])
    assert.equal(await page.locator(hidden).first().isVisible(), false, hidden);
  await closePage(page);
});
