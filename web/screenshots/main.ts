// The README's pictures, taken from the real page: `npm run screenshots` after `npm run build` and
// `cargo build`. It starts a stack of its own (or uses BASE_URL, with no posts but the sample's) and writes
// to docs/images. Each picture exists for light and for dark pages.

import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Browser } from 'playwright-core';

import { closePage, launchBrowser, openPage, waitForState } from '../tests/support/browser';
import { Graph } from '../tests/support/graph';
import { startStack } from '../tests/support/stack';
import { animatedWebp, type Frame } from './animation';
import { Stage } from './stage';

const FOLDER = join(import.meta.dirname, '../../docs/images');
/** What the pictures of one colour scheme may weigh together. */
const BYTES_MAX = 300_000;
const WINDOW = { viewport: { width: 500, height: 680 }, deviceScaleFactor: 1.5 };
const COMMENT = 'Written here, read there. No reload.';
const KEYS_A_FRAME = 4;

const stack = await startStack();
const browser = await launchBrowser();
try {
  await mkdir(FOLDER, { recursive: true });
  const graph = new Graph(stack.url);
  for (const colorScheme of ['light', 'dark'] as const) {
    const post = await graph.createPost(
      'Two windows, one post',
      'Open this post twice, and write a comment in one window.',
      'Ada',
    );
    await graph.createComment(post, 'I have it open on the right.', 'Grace');
    const { frames, still } = await record(browser, `${stack.url}?post=${post}`, colorScheme);
    const files = {
      [`two-windows-${colorScheme}.webp`]: still,
      [`comment-arrives-${colorScheme}.webp`]: animatedWebp(frames),
    };
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(FOLDER, name), bytes);
    const sizes = await Promise.all(
      Object.keys(files).map(async (name) => (await stat(join(FOLDER, name))).size),
    );
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    console.log(`${Object.keys(files).join(', ')}: ${bytes} bytes`);
    if (bytes > BYTES_MAX) throw new Error(`the ${colorScheme} pictures are larger than ${BYTES_MAX} bytes`);
  }
} finally {
  await browser.close();
  await stack.stop();
}

/** Writes a comment in the left window, and records both windows until it has arrived in the right one. */
async function record(
  browser: Browser,
  url: string,
  colorScheme: 'light' | 'dark',
): Promise<{ frames: Frame[]; still: Buffer }> {
  const options = { ...WINDOW, colorScheme };
  const [left, right] = await Promise.all([openPage(browser, url, options), openPage(browser, url, options)]);
  await Promise.all([waitForState(left, 'Live'), waitForState(right, 'Live')]);
  const name = left.getByLabel('Your name');
  if (await name.isVisible()) await name.fill('Ada');

  const stage = await Stage.open(browser, WINDOW, colorScheme);
  const frames: Frame[] = [];
  const shoot = async (milliseconds: number) => {
    const [one, other] = await Promise.all([left.screenshot(), right.screenshot()]);
    const changed = await stage.show(one, other);
    const last = frames.at(-1);
    if (changed) frames.push({ ...changed, milliseconds });
    else if (last) last.milliseconds += milliseconds;
  };

  await shoot(1200);
  const comment = left.getByLabel('Your comment');
  await comment.click();
  for (let end = KEYS_A_FRAME; end < COMMENT.length + KEYS_A_FRAME; end += KEYS_A_FRAME) {
    await comment.fill(COMMENT.slice(0, end));
    await shoot(160);
  }
  await shoot(400);
  await left.getByRole('button', { name: 'Comment', exact: true }).click();
  await right.locator('.comment', { hasText: COMMENT }).waitFor();
  await left.locator('.comment', { hasText: COMMENT }).waitFor();
  await shoot(700);
  await Promise.all([left, right].map((page) => page.evaluate(waitForAnimations)));
  await shoot(2600);
  const still = await stage.still();
  await Promise.all([left, right].map((page) => closePage(page)));
  await stage.close();
  return { frames, still };
}

/** Waits in the page until what has just arrived is no longer highlighted. */
async function waitForAnimations(): Promise<void> {
  const finite = document
    .getAnimations()
    .filter((each) => each.effect?.getComputedTiming().iterations !== Infinity);
  await Promise.allSettled(finite.map((each) => each.finished));
}
