// The page's own timers, where one must not run out between two steps of a test. For `prepare`: each takes effect when
// the page goes to an address.

import type { Page } from 'playwright-core';

import { UNDO_MS } from '../../src/live/undoTime';

/** The longest that a browser's timer knows: 24 days. */
const NEVER_MS = 2 ** 31 - 1;

/** Offers to undo something stay until the test takes one up. */
export function keepOffers(page: Page): Promise<unknown> {
  return holdTimers(page, UNDO_MS, UNDO_MS);
}

/** Timers of `from` to `to` milliseconds do not run out. */
export function holdTimers(page: Page, from: number, to = NEVER_MS): Promise<unknown> {
  return page.addInitScript(
    (held) => {
      window.setTimeout = new Proxy(window.setTimeout, {
        apply(start, self, [run, ms = 0, ...rest]: [TimerHandler, number?, ...unknown[]]) {
          const isHeld = ms >= held.from && ms <= held.to;
          return Reflect.apply(start, self, [run, isHeld ? held.never : ms, ...rest]);
        },
      });
    },
    { from, to, never: NEVER_MS },
  );
}

/** The page waits for its answers as long as the test withholds them: by itself it gives a request up after a while. */
export function waitForAnswers(page: Page): Promise<unknown> {
  return page.addInitScript(() => {
    AbortSignal.timeout = () => new AbortController().signal;
  });
}
