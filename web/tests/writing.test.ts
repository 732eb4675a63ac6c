// What a reader writes is never lost: not by a key, not by another page, not by what others do.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Locator, Page } from 'playwright-core';

import {
  closePage,
  launchBrowser,
  openPage,
  waitForComments,
  waitForState,
  waitForValue,
} from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { keepOffers } from './support/time';

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([startStack({}, OPEN_TO_ALL), launchBrowser()]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const postUrl = (id: string) => `${stack.url}posts/${id}`;

/** Opens the editor of the comment with this text. */
async function edit(page: Page, text: string): Promise<Locator> {
  const comment = page.locator('.comment', { hasText: text });
  await comment.hover();
  await comment.getByRole('button', { name: /^(Edit|Continue editing)/ }).click();
  return page.locator('.comment textarea');
}

test('a comment that is being written outlives another post, the way back and a reload', async () => {
  const [post, other] = [await graph.createPost('Written here'), await graph.createPost('Visited meanwhile')];
  const page = await openPage(browser, postUrl(post));
  const field = page.getByLabel('Your comment');
  await field.fill('Half a thought');
  await page.getByRole('link', { name: 'Visited meanwhile' }).click();
  await page.waitForURL(postUrl(other));
  await waitForValue(field, '');
  await page.goBack();
  await page.getByRole('heading', { name: 'Written here' }).waitFor();
  await waitForValue(field, 'Half a thought');
  await page.reload();
  await waitForValue(field, 'Half a thought');

  // Once it is sent, there is no draft.
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await waitForComments(page, ['Half a thought']);
  // The comment may arrive before the answer.
  await waitForValue(field, '');
  await page.reload();
  await waitForComments(page, ['Half a thought']);
  await waitForValue(field, '');
  await closePage(page);
});

test('Escape closes a form and throws nothing away', async () => {
  const post = await graph.createPost('Edited in two goes');
  await graph.createComment(post, 'As it was');
  const page = await openPage(browser, postUrl(post));
  const editor = await edit(page, 'As it was');
  await editor.fill('As it will be');
  await page.keyboard.press('Escape');
  await editor.waitFor({ state: 'detached' });
  await page.reload();
  await waitForValue(await edit(page, 'As it was'), 'As it will be');
  await page.getByRole('button', { name: 'Save' }).click();
  await waitForComments(page, ['As it will be']);

  await page.getByRole('link', { name: 'New post' }).click();
  await page.getByLabel('Title').fill('A title');
  await page.getByLabel('Text').fill('A text that took an hour');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'New post' }).click();
  await waitForValue(page.getByLabel('Text'), 'A text that took an hour');
  await page.reload();
  await waitForValue(page.getByLabel('Title'), 'A title');
  await waitForValue(page.getByLabel('Text'), 'A text that took an hour');
  await page.getByRole('button', { name: 'Discard' }).click();
  await waitForValue(page.getByLabel('Text'), '');
  await closePage(page);
});

test('of two edits of a comment the second sees the first, and chooses', async () => {
  const post = await graph.createPost('Edited by two');
  const comment = await graph.createComment(post, 'At first');
  const page = await openPage(browser, postUrl(post), {}, (opened) =>
    // No event tells this page of the other edit: the server does.
    opened.routeWebSocket('**/graphql', () => {}),
  );
  const editor = await edit(page, 'At first');
  await editor.fill('My words');
  await graph.updateComment(comment, 'Their words');
  await page.getByRole('button', { name: 'Save' }).click();
  const conflict = page.getByRole('alert').filter({ hasText: 'Somebody else changed this' });
  await conflict.getByText('Their words').waitFor();
  assert.equal(await editor.inputValue(), 'My words');

  // Saving goes on only after the choice.
  await editor.press('Control+Enter');
  await conflict.getByRole('button', { name: 'Keep my text' }).click();
  await conflict.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Save' }).click();
  await waitForComments(page, ['My words']);
  const { comment: read } = await graph.run<{ comment: { text: string } }>(
    'query ($id: ID!) { comment(id: $id) { text } }',
    { id: comment },
  );
  assert.equal(read.text, 'My words');
  await closePage(page);
});

test('an edit that somebody else overtakes is told at once, and can be given up', async () => {
  const post = await graph.createPost('Overtaken', 'The first text.');
  const comment = await graph.createComment(post, 'Slow');
  const page = await openPage(browser, postUrl(post));
  await waitForState(page, 'Live');
  await (await edit(page, 'Slow')).fill('Slow, and still writing');
  await graph.updateComment(comment, 'Quick');
  await page.getByRole('button', { name: 'Take theirs' }).click();
  await waitForComments(page, ['Quick']);

  await page.getByRole('button', { name: 'Edit the post' }).click();
  await page.getByLabel('Text').fill('My text.');
  await graph.run('mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }', {
    input: { id: post, content: 'Their text.' },
  });
  await page.locator('blockquote', { hasText: 'Their text.' }).waitFor();
  assert.equal(await page.getByLabel('Text').inputValue(), 'My text.');
  await page.getByRole('button', { name: 'Take theirs' }).click();
  await page.locator('.content', { hasText: 'Their text.' }).waitFor();
  await closePage(page);
});

test('what is written about a comment or a post that somebody deletes stays', async () => {
  const post = await graph.createPost('Soon deleted');
  const comment = await graph.createComment(post, 'Deleted under the pen');
  const page = await openPage(browser, postUrl(post));
  await waitForState(page, 'Live');
  await (await edit(page, 'Deleted under the pen')).fill('An answer of some length');
  await graph.deleteComment(comment);
  await page.getByText('Somebody deleted this comment while you edited it.').waitFor();
  await page.getByRole('button', { name: 'Make it a new comment' }).click();
  await waitForValue(page.getByLabel('Your comment'), 'An answer of some length');
  await waitForComments(page, []);

  const asked = await graph.createComment(post, 'A question');
  const question = page.locator('.comment', { hasText: 'A question' });
  await question.hover();
  await question.getByRole('button', { name: /^Reply/ }).click();
  await question.getByLabel(/^Your reply/).fill('A reply, too');
  await graph.deleteComment(asked);
  await page.getByText('Somebody deleted this comment while you replied to it.').waitFor();
  await page.getByRole('button', { name: 'Make it a new comment' }).click();
  await waitForValue(page.getByLabel('Your comment'), 'An answer of some length\n\nA reply, too');
  await waitForComments(page, []);

  await graph.deletePost(post);
  await page.getByRole('heading', { name: 'This post was deleted' }).waitFor();
  await waitForValue(page.getByLabel('Your text'), 'An answer of some length\n\nA reply, too');
  await closePage(page);
});

test('in every order, what is edited stays where it was when somebody deletes it', async () => {
  const post = await graph.createPost('In its place');
  await graph.createComment(post, 'First');
  const comment = await graph.createComment(post, 'Second');
  await graph.createComment(post, 'Third');
  await graph.createComment(post, 'Fourth');
  const page = await openPage(browser, `${postUrl(post)}?order=oldest`);
  await waitForState(page, 'Live');
  await (await edit(page, 'Second')).fill('Still writing');
  await graph.deleteComment(comment);
  await page.getByText('Somebody deleted this comment while you edited it.').waitFor();
  await graph.createComment(post, 'Fifth');
  await page.locator('.comment', { hasText: 'Fifth' }).waitFor();
  const shown = await page
    .locator('.comment')
    .evaluateAll((items) => items.map((item) => item.querySelector('.text:is(p, div)')?.textContent ?? '…'));
  assert.deepEqual(shown, ['First', '…', 'Third', 'Fourth', 'Fifth']);
  await closePage(page);
});

test('a deletion can be undone, and is done when the page is left', async () => {
  const post = await graph.createPost('Thought better of');
  await graph.createComment(post, 'Kept after all');
  await graph.createComment(post, 'Deleted for good');
  const page = await openPage(browser, postUrl(post), {}, keepOffers);
  const other = await openPage(browser, postUrl(post));
  await waitForState(other, 'Live');
  for (const text of ['Kept after all', 'Deleted for good']) {
    const comment = page.locator('.comment', { hasText: text });
    await comment.hover();
    await comment.getByRole('button', { name: /^Delete/ }).click();
    if (text === 'Kept after all') await page.getByRole('button', { name: 'Undo' }).click();
  }
  await page.goto('about:blank');
  await waitForComments(other, ['Kept after all']);
  await Promise.all([closePage(page), closePage(other)]);
});

test('a text that is too long is counted at its field, and is not sent', async () => {
  const post = await graph.createPost('Long answers');
  const page = await openPage(browser, postUrl(post));
  const sent: string[] = [];
  page.on('request', (request) => sent.push(request.postData() ?? ''));
  const field = page.getByLabel('Your comment');
  await field.fill('🙂'.repeat(4_900));
  await page.getByText('4,900 of 5,000 characters').waitFor();
  await field.fill('x'.repeat(5_002));
  await page.getByText('2 characters too many').waitFor();
  await field.press('Control+Enter');
  await field.fill(`visible\u0007 ${'x'.repeat(4_000)}`);
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await waitForComments(page, [`visible ${'x'.repeat(4_000)}`]);
  assert.equal(sent.filter((body) => body.includes('mutation CreateComment')).length, 1);
  await closePage(page);
});
