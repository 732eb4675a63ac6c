// What a first visit costs: when it paints, how much it moves, how long it blocks, and what it loads.

import type { Browser, BrowserContextOptions, CDPSession, Page } from 'playwright-core';

import { DESKTOP, PHONE } from './browser';
import type { Graph } from './graph';
import { AUTHOR_CHARS, COMMENT_CHARS, CONTENT_CHARS, TITLE_CHARS, type Write } from './texts';
import { WAIT_MS } from './waiting';

/** Who visits. */
export interface Visitor {
  name: string;
  device: BrowserContextOptions;
  /** In bits a second, with the time of a round trip. */
  network?: { down: number; up: number; roundTripMs: number };
  /** How many times slower the processor is. */
  processor?: number;
}

/** The network that Lighthouse calls "slow 4G". */
const SLOW_NETWORK = { down: 1_600_000, up: 750_000, roundTripMs: 150 };
export const DESKTOP_VISITOR: Visitor = { name: 'desktop', device: DESKTOP };
export const QUICK_PHONE_VISITOR: Visitor = { name: 'phone', device: PHONE };
export const SLOW_NETWORK_VISITOR: Visitor = {
  name: 'phone, 1.6 Mbit/s',
  device: PHONE,
  network: SLOW_NETWORK,
};
/** As Lighthouse measures for phones. */
export const PHONE_VISITOR: Visitor = {
  name: 'phone, 1.6 Mbit/s, processor 4 times slower',
  device: PHONE,
  network: SLOW_NETWORK,
  processor: 4,
};

export interface Vitals {
  firstContentfulPaintMs: number;
  largestContentfulPaintMs: number;
  /** When the first frame with what the visitor came for was painted. */
  shownMs: number;
  layoutShift: number;
  /** What tasks took beyond 50 ms each, after the first paint. */
  blockingMs: number;
  /** As sent, compressed and with headers, by kind. */
  bytes: Map<string, number>;
}

/** `selector`: what the visitor came for. `ready`: what is there when the page has loaded. */
export async function measureVisit(
  browser: Browser,
  url: string,
  { device, network, processor = 1 }: Visitor,
  selector: string,
  ready: string,
): Promise<Vitals> {
  const context = await browser.newContext(device);
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const session = await context.newCDPSession(page);
    const bytes = await countBytes(session);
    if (network)
      await session.send('Network.emulateNetworkConditions', {
        offline: false,
        latency: network.roundTripMs,
        downloadThroughput: network.down / 8,
        uploadThroughput: network.up / 8,
      });
    if (processor > 1) await session.send('Emulation.setCPUThrottlingRate', { rate: processor });
    await page.addInitScript(observe, selector);
    await page.goto(url);
    await page.locator(ready).first().waitFor();
    await page.waitForLoadState('networkidle');
    return { ...(await read(page)), bytes };
  } finally {
    await context.close();
  }
}

/** The longest posts, so that a list has much to load, and one of them with comments; gives the id of that one. */
export async function fill(graph: Graph): Promise<string> {
  const words = 'live comments arrive as they are written and every open window shows them at once'.split(
    ' ',
  );
  let seed = 1;
  const word = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return `${words[seed % words.length]}${seed % 97}`;
  };
  const text = (chars: number) => {
    let text = '';
    while (text.length < chars) text += `${word()} `;
    return text.slice(0, chars).trim();
  };
  let last = '';
  for (let number = 1; number <= 20; number++) last = await graph.createPost(`Post ${number}`, text(20_000));
  for (let number = 1; number <= 20; number++) await graph.createComment(last, text(300));
  await graph.waitForCount(last, 20);
  return last;
}

/** More than the posts of a page. */
const POSTS = 22;
/** More than the comments of a page. */
const COMMENTS = 25;

/** Posts of which the page's list has the first one, and not the last. */
export interface Filled {
  newest: string;
  oldest: string;
}

/** Posts with the longest titles, names and texts, and the longest comments on the newest of them and on the oldest. */
export async function fillLongest(graph: Graph, write: Write): Promise<Filled> {
  const posts: string[] = [];
  for (let post = 1; post <= POSTS; post++)
    posts.push(await graph.createPost(write(TITLE_CHARS), write(CONTENT_CHARS), write(AUTHOR_CHARS)));
  const [oldest = '', newest = ''] = [posts[0], posts.at(-1)];
  for (const post of [oldest, newest]) {
    for (let comment = 1; comment <= COMMENTS; comment++)
      await graph.createComment(post, write(COMMENT_CHARS), write(AUTHOR_CHARS));
    await graph.waitForCount(post, COMMENTS);
  }
  return { newest, oldest };
}

/** A post with the longest text, and short replies by people with the longest names to others with such names. */
export async function fillReplies(graph: Graph, write: Write): Promise<string> {
  const post = await graph.createPost(write(TITLE_CHARS), write(CONTENT_CHARS), write(AUTHOR_CHARS));
  const parents: string[] = [];
  for (let comment = 1; comment <= COMMENTS; comment++)
    parents.push(await graph.createComment(post, 'x', write(AUTHOR_CHARS)));
  for (const parent of parents) await graph.createComment(post, 'y', write(AUTHOR_CHARS), parent);
  await graph.waitForCount(post, 2 * COMMENTS);
  return post;
}

/** All that a visit loaded. */
export function bytesOf({ bytes }: Vitals): number {
  return [...bytes.values()].reduce((sum, each) => sum + each, 0);
}

const KINDS: Record<string, string> = {
  Document: 'HTML',
  Stylesheet: 'styles',
  Script: 'scripts',
  Font: 'fonts',
  Image: 'images',
  Fetch: 'data',
  XHR: 'data',
};

async function countBytes(session: CDPSession): Promise<Map<string, number>> {
  const bytes = new Map<string, number>();
  const kinds = new Map<string, string>();
  session.on('Network.responseReceived', ({ requestId, type }) => {
    kinds.set(requestId, KINDS[type] ?? 'other');
  });
  // Of the live connection.
  session.on('Network.webSocketFrameReceived', ({ response }) => {
    bytes.set('socket', (bytes.get('socket') ?? 0) + Buffer.byteLength(response.payloadData));
  });
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const kind = kinds.get(requestId) ?? 'other';
    bytes.set(kind, (bytes.get(kind) ?? 0) + encodedDataLength);
  });
  await session.send('Network.enable');
  return bytes;
}

// The functions below run in the page, and share what `observe` leaves there.

interface Observed {
  first: number;
  largest: number;
  shown: number;
  shift: number;
  tasks: { startTime: number; duration: number }[];
}

function observe(selector: string): void {
  const observed: Observed = { first: 0, largest: 0, shown: 0, shift: 0, tasks: [] };
  const takers: [string, (entry: PerformanceEntry) => void][] = [
    [
      'paint',
      ({ name, startTime }) => {
        if (name === 'first-contentful-paint') observed.first = startTime;
      },
    ],
    ['largest-contentful-paint', ({ startTime }) => (observed.largest = startTime)],
    ['longtask', ({ startTime, duration }) => observed.tasks.push({ startTime, duration })],
    [
      'layout-shift',
      (entry) => {
        const { value, hadRecentInput } = entry as unknown as { value: number; hadRecentInput: boolean };
        if (!hadRecentInput) observed.shift += value;
      },
    ],
  ];
  for (const [type, take] of takers)
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  new MutationObserver((_, observer) => {
    if (!document.querySelector(selector)) return;
    observer.disconnect();
    // The frame after the next one begins once the element's own is painted.
    requestAnimationFrame(() => requestAnimationFrame(() => (observed.shown = performance.now())));
  }).observe(document, { childList: true, subtree: true });
  Object.assign(window, { observed });
}

async function read(page: Page): Promise<Omit<Vitals, 'bytes'>> {
  await page.waitForFunction(() => (window as unknown as { observed: Observed }).observed.shown > 0);
  const { first, largest, shown, shift, tasks } = await page.evaluate(
    () => (window as unknown as { observed: Observed }).observed,
  );
  const blocking = tasks
    .filter(({ startTime, duration }) => startTime + duration > first)
    .reduce((sum, { duration }) => sum + Math.max(0, duration - 50), 0);
  return {
    firstContentfulPaintMs: first,
    largestContentfulPaintMs: largest,
    shownMs: shown,
    layoutShift: shift,
    blockingMs: blocking,
  };
}
