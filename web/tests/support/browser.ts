// Headless Chromium, and pages that fail their test when something on them goes wrong.

import assert from 'node:assert/strict';

import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

export const DESKTOP = { viewport: { width: 1280, height: 860 } } satisfies BrowserContextOptions;
export const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
} satisfies BrowserContextOptions;
/** How long a test waits for what must come. */
export const WAIT_MS = 20_000;

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
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

/** Closes the page's profile, after a look at what went wrong on it. */
export async function closePage(page: WatchedPage): Promise<void> {
  const { faults, strangers } = page;
  // A request that a test passes on may be under way: its failure would be one of the test's file.
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
  assert.deepEqual(faults, [], 'no script failed and the content security policy holds');
  assert.deepEqual(strangers, [], 'no request left the host');
}

/** The connection's state as the page shows it. */
export async function waitForState(page: Page, state: 'Live' | 'Reconnecting' | 'Offline'): Promise<void> {
  await page.locator('.badge', { hasText: state }).waitFor();
}

/** Waits until the page shows exactly these comments, from top to bottom. */
export async function waitForComments(page: Page, expected: string[]): Promise<void> {
  const shown = (texts: string[]) =>
    JSON.stringify([...document.querySelectorAll('.comment p.text')].map((each) => each.textContent)) ===
    JSON.stringify(texts);
  await page.waitForFunction(shown, expected).catch(async () => {
    assert.deepEqual(await commentTexts(page), expected);
  });
}

/** Waits until the post that is open says that it has so many comments. */
export async function waitForCount(page: Page, title: string): Promise<void> {
  const heading = page.locator('#comments-title');
  await heading
    .and(page.getByText(title, { exact: true }))
    .waitFor()
    .catch(async () => {
      assert.equal(await heading.textContent(), title);
    });
}

/** The texts of the comments on the page, from top to bottom. */
export function commentTexts(page: Page): Promise<string[]> {
  return page.locator('.comment p.text').allTextContents();
}
