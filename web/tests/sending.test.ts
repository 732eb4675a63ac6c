// A comment on its way: it stands in the list at once, is sent by itself as long as that may help, and is never doubled
// nor lost.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Browser, Page, Route } from 'playwright-core';

import { seriousFaults } from './support/axe';
import {
  closePage,
  launchBrowser,
  openPage,
  PHONE,
  waitForComments,
  waitForFocus,
  waitForState,
  waitForTexts,
  waitForValue,
} from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { waitForAnswers } from './support/time';
import { eventually, gate } from './support/waiting';

let stack: Stack;
let browser: Browser;
let graph: Graph;

before(async () => {
  [stack, browser] = await Promise.all([
    startStack({ COMMENT_LIMIT_GUESTS_PER_MINUTE: '600' }, OPEN_TO_ALL),
    launchBrowser(),
  ]);
  graph = new Graph(stack.url);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

const postUrl = (id: string) => `${stack.url}posts/${id}`;
const field = (page: Page) => page.getByLabel('Your comment');
const sending = (page: Page) => page.locator('.sending > li');

async function write(page: Page, text: string): Promise<void> {
  await field(page).fill(text);
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
}

/** What happens to each try of a comment, by its number from 1 on; the text of the comment is told, too. */
async function onTry(
  page: Page,
  act: (route: Route, number: number, text: string) => unknown,
): Promise<void> {
  let number = 0;
  await page.route('**/graphql', async (route) => {
    const body = route.request().postDataJSON() as {
      operationName?: string;
      variables?: { input: { text: string } };
    };
    if (body.operationName !== 'CreateComment') return route.fallback();
    await act(route, ++number, body.variables?.input.text ?? '');
  });
}

function refusal(code: string, more: Record<string, unknown> = {}) {
  return { json: { data: null, errors: [{ message: 'secret', extensions: { code, ...more } }] } };
}

/** Notes the most that was ever shown of a text at once. */
async function countAtMost(page: Page, text: string): Promise<void> {
  await page.addInitScript((wanted) => {
    const seen = { most: 0 };
    Object.assign(window, { seen });
    new MutationObserver(() => {
      const shown = [...document.querySelectorAll('.comment-list > li')].filter((item) =>
        item.textContent?.includes(wanted),
      );
      seen.most = Math.max(seen.most, shown.length);
    }).observe(document, { childList: true, subtree: true, characterData: true });
  }, text);
}

const mostSeen = (page: Page) =>
  page.evaluate(() => (window as unknown as { seen: { most: number } }).seen.most);

test('a comment stands in the list before the server answers, and is replaced by the real one, once', async () => {
  const post = await graph.createPost('Sent at once');
  const server = gate();
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await countAtMost(opened, 'Here already');
    await onTry(opened, async (route) => {
      await server.opened;
      await route.continue();
    });
  });
  await waitForState(page, 'Live');
  await page.getByLabel('Your name').fill('Pia');
  await write(page, 'Here already');
  await sending(page).getByText('Sending…').waitFor();
  await sending(page).getByText('Pia').waitFor();
  await waitForValue(field(page), '');
  await waitForFocus(page, '#comment-text');
  assert.equal(await page.locator('.comment').count(), 0);
  // What is typed meanwhile stays.
  await field(page).fill('The next one');
  server.open();
  await waitForComments(page, ['Here already']);
  await sending(page).waitFor({ state: 'detached' });
  await waitForValue(field(page), 'The next one');
  assert.equal(await mostSeen(page), 1);
  await closePage(page);
});

test('the event that comes before the answer doubles nothing, and neither does an answer that is lost', async () => {
  const post = await graph.createPost('Events are quick');
  const keys = new Set<string>();
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await countAtMost(opened, 'Just once');
    await onTry(opened, async (route, number) => {
      const body = route.request().postDataJSON() as { variables: { input: { idempotencyKey: string } } };
      keys.add(body.variables.input.idempotencyKey);
      const response = await route.fetch();
      if (number === 1) {
        // The server has it, and its event has arrived: then the answer is lost.
        await page.locator('.comment', { hasText: 'Just once' }).waitFor();
        await route.abort();
      } else await route.fulfill({ response });
    });
  });
  await waitForState(page, 'Live');
  const answered = page.waitForResponse(
    (response) => !!response.request().postData()?.includes('CreateComment'),
  );
  await write(page, 'Just once');
  await answered;
  await waitForComments(page, ['Just once']);
  await eventually(async () =>
    assert.equal(
      await page.evaluate(() => Object.keys(localStorage).filter((key) => /outgoing/.test(key)).length),
      0,
    ),
  );
  assert.equal(await mostSeen(page), 1);
  assert.equal(keys.size, 1);
  await graph.waitForCount(post, 1);
  await closePage(page);
});

test('what fails for a while is sent again by itself, when the server says', async () => {
  const post = await graph.createPost('Busy');
  const triedAt: number[] = [];
  const page = await openPage(browser, postUrl(post), {}, (opened) =>
    onTry(opened, (route, number) => {
      triedAt.push(performance.now());
      if (number === 1) return route.fulfill({ status: 503, body: 'busy' });
      if (number === 2) return route.fulfill(refusal('OVERLOADED'));
      if (number === 3) return route.fulfill(refusal('RATE_LIMITED', { retryAfter: 3 }));
      return route.continue();
    }),
  );
  await write(page, 'Patience');
  await sending(page).getByText('Trying again by itself.').waitFor();
  assert.doesNotMatch((await sending(page).textContent()) ?? '', /secret|OVERLOADED/);
  await waitForComments(page, ['Patience']);
  await sending(page).waitFor({ state: 'detached' });
  assert.equal(triedAt.length, 4);
  assert.ok((triedAt[3] ?? 0) - (triedAt[2] ?? 0) >= 3_000, 'not before the server said');
  await closePage(page);
});

test('what fails for too long waits for its writer: again, otherwise, or not at all', async () => {
  const post = await graph.createPost('For too long');
  let isDown = true;
  const page = await openPage(browser, postUrl(post), PHONE, async (opened) => {
    await opened.addInitScript(() => {
      const now = Date.now.bind(Date);
      Object.assign(window, { later: 0 });
      Date.now = () => now() + (window as unknown as { later: number }).later;
    });
    await onTry(opened, (route) => (isDown ? route.abort() : route.continue()));
  });
  const giveUp = async () => {
    await sending(page).first().getByText('Trying again by itself.').waitFor();
    await page.evaluate(() => ((window as unknown as { later: number }).later += 150_000));
    await page.getByText('Not sent. The server cannot be reached.').waitFor();
  };
  await write(page, 'Third time lucky');
  await giveUp();
  assert.deepEqual(await seriousFaults(page), []);

  await page.getByRole('button', { name: /^Edit the comment/ }).click();
  await waitForValue(field(page), 'Third time lucky');
  await sending(page).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await giveUp();
  isDown = false;
  await page.getByRole('button', { name: /^Try again to send/ }).click();
  await waitForComments(page, ['Third time lucky']);

  isDown = true;
  await write(page, 'Better not');
  await giveUp();
  await page.getByRole('button', { name: /^Discard/ }).click();
  await sending(page).waitFor({ state: 'detached' });
  isDown = false;
  await page.reload();
  await waitForComments(page, ['Third time lucky']);
  assert.equal(await sending(page).count(), 0);
  await closePage(page);
});

test('what cannot succeed goes back to the field, with a reason that people understand', async () => {
  const post = await graph.createPost('Refused');
  const answers = [
    [refusal('BAD_USER_INPUT'), 'The server did not accept this text.'],
    [refusal('FORBIDDEN', { reason: 'AUTHOR_BLOCKED' }), 'A moderator has blocked you'],
    [
      refusal('TOO_MANY_COMMENTS', { retryAfter: 40 }),
      'You have written a lot in a short time. Try again in 40 seconds.',
    ],
  ] as const;
  const held = gate();
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await onTry(opened, async (route, number) => {
      if (number > answers.length) await held.opened;
      await route.fulfill(answers[(number - 1) % answers.length]?.[0] ?? {});
    });
  });
  for (const [, words] of answers) {
    await write(page, 'As it is');
    await page.getByRole('alert').getByText(words).waitFor();
    await waitForValue(field(page), 'As it is');
    assert.equal(await sending(page).count(), 0);
    assert.equal(await field(page).getAttribute('aria-invalid'), 'true');
  }
  // Where something else is being written, both stay.
  await page.getByRole('button', { name: 'Comment', exact: true }).click();
  await field(page).fill('Something else');
  held.open();
  await sending(page).getByText('The server did not accept this text.').waitFor();
  assert.equal(await page.getByRole('button', { name: /^Try again to send/ }).count(), 0);
  await page.getByRole('button', { name: /^Edit the comment/ }).click();
  await waitForValue(field(page), 'Something else\n\nAs it is');
  await closePage(page);
});

test('the same words can be sent twice, and stand there twice', async () => {
  const post = await graph.createPost('Said again');
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await onTry(opened, (route, number) => (number === 1 ? route.continue() : undefined));
  });
  await waitForState(page, 'Live');
  await write(page, 'Again');
  await waitForComments(page, ['Again']);
  await sending(page).waitFor({ state: 'detached' });
  await write(page, 'Again');
  await sending(page).getByText('Sending…').waitFor();
  await waitForComments(page, ['Again']);
  await closePage(page);
});

test('several in a row keep their order, through failures too', async () => {
  const post = await graph.createPost('One after the other');
  const tried: string[] = [];
  const page = await openPage(browser, postUrl(post), {}, (opened) =>
    onTry(opened, (route, number, text) => {
      tried.push(text);
      return number <= 2 ? route.abort() : route.continue();
    }),
  );
  await waitForState(page, 'Live');
  for (const text of ['One', 'Two', 'Three']) await write(page, text);
  await waitForTexts(sending(page).locator('.text').first(), ['Three']);
  await waitForComments(page, ['Three', 'Two', 'One']);
  await sending(page).first().waitFor({ state: 'detached' });
  assert.deepEqual(tried, ['One', 'One', 'One', 'Two', 'Three']);
  await closePage(page);
});

test('a reload goes on sending, and doubles nothing', async () => {
  const post = await graph.createPost('Impatient');
  let isHeld = true;
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await countAtMost(opened, 'Through a reload');
    await onTry(opened, async (route) => {
      // The server has it, and the page is left before the answer.
      if (!isHeld) return route.continue();
      await route.fetch();
    });
  });
  await write(page, 'Through a reload');
  await graph.waitForCount(post, 1);
  await write(page, 'And one behind it');
  await sending(page).getByText('And one behind it').waitFor();
  isHeld = false;
  await page.reload();
  await waitForComments(page, ['And one behind it', 'Through a reload']);
  await sending(page).first().waitFor({ state: 'detached' });
  assert.equal(await mostSeen(page), 1);
  await graph.waitForCount(post, 2);

  // What was left behind long ago asks first.
  await page.evaluate((id) => {
    const draft = {
      postId: id,
      text: 'From last week',
      author: null,
      shownAs: 'Anonymous',
      person: '',
      at: 0,
    };
    const after = { createdAt: '', id: '' };
    const kept = { at: 0, draft: { ...draft, after } };
    localStorage.setItem('rejoinder.draft.outgoing.abc', JSON.stringify(kept));
    localStorage.setItem('rejoinder.draft.outgoing.broken', '{"at": 0, "draft": 5}');
  }, post);
  await page.reload();
  await sending(page).getByText('Not sent: the page was closed before.').waitFor();
  await page.getByRole('button', { name: /^Try again to send/ }).click();
  await waitForComments(page, ['From last week', 'And one behind it', 'Through a reload']);
  await closePage(page);
});

test('a reply is sent as a comment is: below its comment, at once, through a reload, and it is not new', async () => {
  const post = await graph.createPost('Answered at once');
  await graph.createComment(post, 'A question');
  await graph.createComment(post, 'Another one');
  let tries: 'held' | 'lost' | 'refused' | 'open' = 'held';
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await onTry(opened, async (route) => {
      if (tries === 'refused') return route.fulfill(refusal('BAD_USER_INPUT'));
      if (tries === 'open') return route.continue();
      if (tries === 'lost') await route.fetch();
    });
  });
  await waitForState(page, 'Live');
  const question = page.locator('.comment', { hasText: 'A question' });
  const reply = question.getByLabel(/^Your reply/);
  const answer = async (text: string) => {
    await question.hover();
    await question.getByRole('button', { name: /^Reply/ }).click();
    await reply.fill(text);
    await reply.press('Control+Enter');
    await reply.waitFor({ state: 'detached' });
  };
  await answer('An answer');
  await waitForTexts(question.locator('.sending .text:is(p, div)'), ['An answer']);
  assert.deepEqual(await seriousFaults(page), []);

  // The server has it, and the page is left before the answer.
  tries = 'lost';
  await page.reload();
  await graph.waitForCount(post, 3);
  tries = 'open';
  await page.reload();
  await waitForComments(page, ['Another one', 'A question', 'An answer']);
  await sending(page).waitFor({ state: 'detached' });
  await graph.waitForCount(post, 3);
  assert.equal(await page.locator('.comment[data-reply]').count(), 1);

  // What is refused can be changed, in the form that it came from.
  tries = 'refused';
  await answer('No answer');
  await question.getByRole('alert').getByText('The server did not accept this text.').waitFor();
  await question.getByRole('button', { name: /^Edit the reply/ }).click();
  await waitForValue(reply, 'No answer');
  await sending(page).waitFor({ state: 'detached' });
  tries = 'open';
  await reply.press('Control+Enter');
  await waitForComments(page, ['Another one', 'A question', 'An answer', 'No answer']);
  assert.equal(await page.locator('.new-line').count(), 0);
  await closePage(page);
});

test('without a network a comment says so, and goes out when it is back', async () => {
  const post = await graph.createPost('In a tunnel again');
  const page = await openPage(browser, postUrl(post));
  await waitForState(page, 'Live');
  await page.context().setOffline(true);
  await waitForState(page, 'Offline');
  await write(page, 'From the tunnel');
  await write(page, 'Still in it');
  await waitForTexts(sending(page).locator('.sending-state'), [
    'Not sent yet: your device is offline. It goes out by itself when the network is back.',
    'Not sent yet: your device is offline. It goes out by itself when the network is back.',
  ]);
  assert.deepEqual(await seriousFaults(page), []);
  await page.context().setOffline(false);
  await waitForComments(page, ['Still in it', 'From the tunnel']);
  await sending(page).first().waitFor({ state: 'detached' });
  await closePage(page);
});

test('where too many wait the next one stays in the field, and a post that is gone shows them all', async () => {
  const post = await graph.createPost('Twenty in line');
  const page = await openPage(browser, postUrl(post), {}, async (opened) => {
    await waitForAnswers(opened);
    await onTry(opened, () => {});
  });
  await waitForState(page, 'Live');
  for (let number = 1; number <= 21; number++) {
    await field(page).fill(`Number ${number}`);
    await field(page).press('Control+Enter');
  }
  await page.getByRole('alert').getByText('Too many of your comments wait to be sent.').waitFor();
  await waitForValue(field(page), 'Number 21');
  assert.equal(await sending(page).count(), 20);
  await graph.deletePost(post);
  await page.getByRole('heading', { name: 'This post was deleted' }).waitFor();
  await eventually(async () => assert.equal(await page.getByLabel('Your text').count(), 21));
  await page.getByRole('button', { name: 'Throw it away' }).click();
  await page.getByLabel('Your text').first().waitFor({ state: 'detached' });
  assert.equal(
    await page.evaluate(() => Object.keys(localStorage).filter((key) => /draft/.test(key)).length),
    0,
  );
  await closePage(page);
});
