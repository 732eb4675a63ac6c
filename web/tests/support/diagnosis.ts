// What a failed test leaves for those who look for its reason: the pages that it left open, as they were. And a way to
// make it fail: CPU_SLOWDOWN=6 has every page run six times slower.

import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'node:test';

import type { Page, Request } from 'playwright-core';

/** What happened last on a page. */
const NOTES_MAX = 60;
const TEXT_CHARS_MAX = 3_000;

const open = new Map<Page, string[]>();

/** Notes what the page does, for the case that its test fails. */
export function watch(page: Page): void {
  const notes: string[] = [];
  const began = performance.now();
  const note = (text: string) => {
    notes.push(`${((performance.now() - began) / 1_000).toFixed(2)} s: ${text}`);
    if (notes.length > NOTES_MAX) notes.shift();
  };
  open.set(page, notes);
  page.on('close', () => open.delete(page));
  page.on('console', (message) => note(`console ${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => note(`error: ${String(error)}`));
  page.on('framenavigated', (frame) => note(`at ${frame.url()}`));
  page.on('request', (request) => note(`asks: ${named(request)}`));
  page.on('response', (response) => note(`answered ${response.status()}: ${named(response.request())}`));
  page.on('requestfailed', (request) => note(`failed (${request.failure()?.errorText}): ${named(request)}`));
  page.on('websocket', (socket) => {
    note('socket opened');
    socket.on('close', () => note('socket closed'));
  });
}

/** Slows the page down by CPU_SLOWDOWN, where that is set. */
export async function slowDown(page: Page): Promise<void> {
  const rate = Number(process.env.CPU_SLOWDOWN ?? 1);
  if (rate === 1) return;
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate });
}

/** A test that succeeds closes its pages: what is open after it is of one that failed. */
async function tellOfOpenPages(): Promise<void> {
  for (const [page, notes] of [...open]) {
    const unknown = (error: unknown) => `a page that a test left open cannot be described: ${error}`;
    console.error(await described(page, notes).catch(unknown));
    await page.context().close();
  }
}

// Set by `node --test`. The README's pictures are taken without it.
if (process.env.NODE_TEST_CONTEXT !== undefined) afterEach(tellOfOpenPages);

async function described(page: Page, notes: string[]): Promise<string> {
  const timeout = 10_000;
  const picture = join(await mkdtemp(join(tmpdir(), 'rejoinder-failed-')), 'page.png');
  const text = await page.locator('body').innerText({ timeout });
  await page.screenshot({ path: picture, timeout });
  return [
    `A test failed and left this page open: ${page.url()}, as in ${picture}`,
    text.slice(0, TEXT_CHARS_MAX),
    ...notes,
    '',
  ].join('\n');
}

function named(request: Request): string {
  const operation = /"operationName":"(\w+)"/.exec(request.postData() ?? '')?.[1];
  return `${request.method()} ${request.url()}${operation ? ` ${operation}` : ''}`;
}
