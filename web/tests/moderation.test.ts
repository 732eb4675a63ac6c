// Reports, the moderators' queue, and what readers see of it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  DESKTOP,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForFocusOn,
  waitForState,
  type WatchedPage,
} from './support/browser';
import { Graph } from './support/graph';
import { signIn } from './support/signIn';
import { type Stack, startStack } from './support/stack';
import { eventually } from './support/waiting';

const own = { skip: process.env.BASE_URL !== undefined && 'a stack that others started' };

let browser: Browser;
before(async () => {
  browser = await launchBrowser();
});
after(() => browser?.close());

async function comment(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your comment').fill(text);
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
}

async function complain(page: Page, text: string, act: 'Report' | 'Hide', reason: string): Promise<void> {
  const comment = page.locator('.comment', { hasText: text });
  await comment.hover();
  await comment
    .locator('.actions')
    .getByRole('button', { name: new RegExp(`^${act}`) })
    .click();
  await comment.getByLabel(act === 'Hide' ? 'Why it is hidden' : 'What is wrong with it').fill(reason);
  await comment.locator('form').getByRole('button', { name: act }).click();
}

/** The page's own moderators' queue. */
const queued = (page: Page, text: string) => page.locator('.queued', { hasText: text });

async function close(...pages: WatchedPage[]): Promise<void> {
  for (const page of pages) {
    await page.context().close();
    assert.deepEqual(page.faults, []);
  }
}

describe('with comments that are shown at once', own, () => {
  let stack: Stack;
  let graph: Graph;
  before(async () => {
    stack = await startStack();
    graph = new Graph(stack.url);
  });
  after(() => stack?.stop());

  const open = (path: string, options = {}) => openPage(browser, new URL(path, stack.url).href, options);

  test('a report comes to the moderators, who hide and show, and readers follow live', async () => {
    const post = await graph.createPost('Moderated');
    await graph.createComment(post, 'Fine');
    await graph.createComment(post, 'Not so fine');
    const [grace, ada, reader] = await Promise.all([
      open('moderation'),
      open(`posts/${post}`),
      open(`posts/${post}`),
    ]);
    await grace.getByText('This page is for moderators.').waitFor();
    await signIn(grace, 'Grace', true);
    await grace.getByText('Nothing waits for you.').waitFor();
    await signIn(ada, 'Ada');
    await waitForComments(reader, ['Not so fine', 'Fine']);
    assert.equal(await reader.getByRole('button', { name: /^Report/ }).count(), 0, 'not for guests');

    await complain(ada, 'Not so fine', 'Report', 'It is unkind');
    await ada.getByText('Reported. A moderator will look at it.').waitFor();
    // Without a reload.
    await queued(grace, 'Not so fine').getByText('reported once').waitFor();
    await queued(grace, 'Not so fine').getByText('It is unkind').waitFor();
    await queued(grace, 'Not so fine').getByRole('link', { name: 'Moderated' }).waitFor();
    await waitForComments(reader, ['Not so fine', 'Fine']);

    await queued(grace, 'Not so fine').getByRole('button', { name: 'Hide' }).click();
    await grace.keyboard.press('Escape');
    await waitForFocusOn(grace, 'Hide');
    await queued(grace, 'Not so fine').getByRole('button', { name: 'Hide' }).click();
    await grace.getByLabel('Why it is hidden').fill('Unkind');
    await grace.keyboard.press('Enter');
    await grace.getByText('Nothing waits for you.').waitFor();
    await waitForFocusOn(grace, 'Moderation');
    await waitForComments(reader, ['Fine']);
    await waitForComments(ada, ['Fine']);
    await reader.getByRole('heading', { name: '1 comment' }).waitFor();

    await grace.getByRole('button', { name: 'Hidden' }).click();
    await queued(grace, 'Not so fine').getByText('Grace: Unkind').waitFor();
    await queued(grace, 'Not so fine').getByRole('button', { name: 'Show' }).click();
    await grace.getByText('Nothing is hidden.').waitFor();
    // At its place, and once.
    await graph.createComment(post, 'Newest');
    await waitForComments(reader, ['Newest', 'Not so fine', 'Fine']);
    await close(grace, ada, reader);
  });

  test('a moderator hides on the post’s own page, and keeps what was reported without need', async () => {
    const post = await graph.createPost('Kept');
    await graph.createComment(post, 'Good');
    await graph.createComment(post, 'Bad');
    const [grace, ada] = await Promise.all([open(`posts/${post}`), open(`posts/${post}`)]);
    await signIn(grace, 'Grace', true);
    await signIn(ada, 'Ada');
    await complain(grace, 'Bad', 'Hide', 'Spam');
    await waitForComments(grace, ['Good']);
    await waitForComments(ada, ['Good']);
    await complain(ada, 'Good', 'Report', 'I disagree');

    await grace.getByRole('link', { name: 'Moderation' }).first().click();
    await queued(grace, 'Good').getByRole('button', { name: 'Keep' }).click();
    await queued(grace, 'Good').waitFor({ state: 'detached' });
    await waitForComments(ada, ['Good']);
    await close(grace, ada);
  });

  test('who is blocked is told so, keeps what was written, and can write again once unblocked', async () => {
    const post = await graph.createPost('Blocked');
    const [grace, ben] = await Promise.all([open('moderation'), open(`posts/${post}`)]);
    await signIn(grace, 'Grace', true);
    await signIn(ben, 'Ben');
    await comment(ben, 'Buy this');
    await waitForComments(ben, ['Buy this']);
    const ada = await open(`posts/${post}`);
    await signIn(ada, 'Ada');
    await complain(ada, 'Buy this', 'Report', 'Advertising');

    const entry = queued(grace, 'Buy this');
    await entry.getByRole('button', { name: 'Block the author' }).click();
    await entry.getByLabel('Why Ben is blocked').fill('Advertising');
    await entry.getByRole('button', { name: 'Block', exact: true }).click();
    await entry.getByText('blocked', { exact: true }).waitFor();
    await comment(ben, 'Buy that');
    await ben.getByText('A moderator has blocked you').waitFor();
    await waitForComments(ben, ['Buy this']);
    assert.equal(await ben.getByLabel('Your comment').inputValue(), 'Buy that');

    await entry.getByRole('button', { name: 'Unblock the author' }).click();
    // From the start: 'Unblock the author' has these words, too.
    await entry.getByRole('button', { name: /^Block the author/ }).waitFor();
    await ben.getByRole('button', { name: 'Comment', exact: true }).click();
    await waitForComments(ben, ['Buy that', 'Buy this']);
    await close(grace, ben, ada);
  });

  for (const [width, device] of [
    ['a desk', DESKTOP],
    ['a narrow phone', { ...PHONE, viewport: { width: 320, height: 640 } }],
  ] as const)
    test(`axe finds nothing serious in the queue on ${width}, and nothing is cut off`, async () => {
      const post = await graph.createPost('A title with LongWordsWithoutAnyPlaceToBreakThem'.repeat(3));
      const ada = await open(`posts/${post}`);
      await signIn(ada, 'Ada');
      const text = `For axe on ${width} ${'x'.repeat(300)}`;
      await graph.createComment(post, text);
      await complain(ada, text, 'Report', 'y'.repeat(400));
      const grace = await open('moderation', { ...device, reducedMotion: 'reduce' });
      await signIn(grace, 'Grace', true);
      await queued(grace, text).getByRole('button', { name: 'Hide' }).click();
      assert.deepEqual(await seriousFaults(grace), []);
      assert.ok(await grace.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      await close(ada, grace);
    });
});

test('a comment that is held says so, and everybody sees it once a moderator shows it', own, async () => {
  const stack = await startStack({ HOLD_COMMENTS: 'always' }, ['--no-sample']);
  try {
    const post = await new Graph(stack.url).createPost('Held');
    const open = (path: string) => openPage(browser, new URL(path, stack.url).href);
    const [grace, guest, reader] = await Promise.all([
      open('moderation'),
      open(`posts/${post}`),
      open(`posts/${post}`),
    ]);
    await signIn(grace, 'Grace', true);
    await waitForState(guest, 'Live');
    await comment(guest, 'May I?');
    await guest.getByText('Your comment waits for a moderator.').waitFor();
    await eventually(async () => assert.equal(await guest.getByLabel('Your comment').inputValue(), ''));
    await queued(grace, 'May I?').getByText('held', { exact: true }).waitFor();
    assert.equal(await guest.locator('.comment').count(), 0);

    await queued(grace, 'May I?').getByRole('button', { name: 'Show' }).click();
    for (const page of [guest, reader]) await waitForComments(page, ['May I?']);

    // An edit is a new text.
    await signIn(guest, 'Ada');
    await comment(guest, 'Mine');
    await queued(grace, 'Mine').getByRole('button', { name: 'Show' }).click();
    await waitForComments(reader, ['Mine', 'May I?']);
    const mine = guest.locator('.comment', { hasText: 'Mine' });
    await mine.hover();
    await mine.getByRole('button', { name: /^Edit/ }).click();
    await guest.locator('.comment textarea').fill('Mine, with an advertisement');
    await guest.getByRole('button', { name: 'Save' }).click();
    await guest.getByText('Your comment waits for a moderator.').waitFor();
    for (const page of [guest, reader]) await waitForComments(page, ['May I?']);
    await queued(grace, 'advertisement').getByText('held', { exact: true }).waitFor();
    await close(grace, guest, reader);
  } finally {
    await stack.stop();
  }
});
