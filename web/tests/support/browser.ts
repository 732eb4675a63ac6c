// Headless Chromium, and pages that fail their test when something on them goes wrong.

import assert from 'node:assert/strict';

import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';

import { slowDown, watch } from './diagnosis';
import { eventually, WAIT_MS } from './waiting';

export const DESKTOP = { viewport: { width: 1280, height: 860 } } satisfies BrowserContextOptions;
export const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
} satisfies BrowserContextOptions;

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    timeout: WAIT_MS,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export interface WatchedPage extends Page {
  /** Errors of scripts and broken rules of the content security policy, so far. */
  faults: string[];
  /** Requests to any other host than the page's own, so far. */
  strangers: string[];
}

/** A page in a browser profile of its own; `prepare` runs before it goes to its address. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  prepare: (page: Page) => Promise<unknown> = async () => {},
): Promise<WatchedPage> {
  const context = await browser.newContext({ ...DESKTOP, ...options });
  const page = Object.assign(await context.newPage(), { faults: [], strangers: [] }) as WatchedPage;
  page.setDefaultTimeout(WAIT_MS);
  watch(page);
  await slowDown(page);
  const host = new URL(url).host;
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    const isPolicy = message.text().includes('Content Security Policy');
    if (message.type() === 'error' && isPolicy) page.faults.push(message.text());
  });
  const note = (address: string) => {
    if (!address.startsWith('data:') && new URL(address).host !== host) page.strangers.push(address);
  };
  page.on('request', (request) => note(request.url()));
  page.on('websocket', (socket) => note(socket.url()));
  await prepare(page);
  await page.goto(url);
  return page;
}

/** Closes the page's profile, and looks at what went wrong on it. It may have asked these hosts besides its own. */
export async function closePage(page: WatchedPage, ...allowed: string[]): Promise<void> {
  // A request that a test passes on may be under way: its failure would be one of the test's file.
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
  // Only now: until it is closed, it may open a socket.
  const strangers = page.strangers.filter((address) => !allowed.includes(new URL(address).host));
  assert.deepEqual(page.faults, [], 'no script failed and the content security policy holds');
  assert.deepEqual(strangers, [], 'no request left the host');
}

/** The connection's state as the page shows it. */
export async function waitForState(page: Page, state: 'Live' | 'Reconnecting' | 'Offline'): Promise<void> {
  await page.locator('.badge', { hasText: state }).waitFor();
}

/** Waits until the page shows exactly these comments, from top to bottom. */
export function waitForComments(page: Page, expected: string[]): Promise<void> {
  return waitForTexts(page.locator('.comment-body > .text:is(p, div)'), expected);
}

/** Waits until these are the texts of what a locator finds, from top to bottom. */
export function waitForTexts(all: Locator, expected: string[]): Promise<void> {
  return eventually(async () => assert.deepEqual(await all.allTextContents(), expected));
}

/** Waits until the post that is open says that it has so many comments. */
export function waitForCount(page: Page, title: string): Promise<void> {
  return waitForTexts(page.locator('#comments-title'), [title]);
}

/** Waits until a field has this text. The field may be another one by then: a page that goes on draws it again. */
export function waitForValue(field: Locator, value: string): Promise<void> {
  return eventually(async () => assert.equal(await field.inputValue(), value));
}

/** Waits until the page has this title: it comes a moment after the heading. */
export function waitForTitle(page: Page, title: RegExp): Promise<void> {
  return eventually(async () => assert.match(await page.title(), title));
}

/** Waits until the focus is on what fits the selector. */
export async function waitForFocus(page: Page, selector: string): Promise<void> {
  await page.locator(`${selector}:focus`).waitFor({ state: 'attached' });
}

/** Waits until the focus is on something that begins with these words. */
export function waitForFocusOn(page: Page, words: string): Promise<void> {
  return eventually(async () => assert.ok((await focused(page)).startsWith(words), await focused(page)));
}

/** The words on what has the focus; of a field, those of its label. */
export function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const element = document.activeElement;
    const label = (element as HTMLInputElement | null)?.labels?.[0];
    return (label ?? element)?.textContent ?? '';
  });
}
