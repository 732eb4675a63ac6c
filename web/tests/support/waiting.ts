// Waiting for conditions. A slow machine lets seconds pass between any two steps of a test, in which the page goes
// on by itself: it tries again, draws again, connects again.

import { setTimeout as sleep } from 'node:timers/promises';

/** How long a test waits for what must come. It costs nothing when it comes. */
export const WAIT_MS = 60_000;

const LOOK_EVERY_MS = 50;
/** Leaves a slow machine time for what the writing is about. */
const WRITE_EVERY_MS = 250;

/**
 * Makes a check until it holds, and gives its result; the last failure is the test's. An `assert.ok` in it needs a
 * message: to make one up, Node.js reads the source code each time.
 */
export async function eventually<Result>(check: () => Promise<Result>): Promise<Result> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(LOOK_EVERY_MS);
    }
  }
}

/**
 * Writes, one after the other, until `arrived`: no event tells when a subscription without a cursor stands, and what
 * is written before does not arrive.
 */
export async function writeUntil<Result>(
  arrived: Promise<Result>,
  write: (number: number) => Promise<unknown>,
): Promise<Result> {
  let isOver = false;
  const over = arrived.finally(() => (isOver = true));
  const writing = (async () => {
    for (let number = 1; !isOver; number++) {
      await write(number);
      await Promise.race([over, sleep(WRITE_EVERY_MS)]);
    }
  })();
  const [result] = await Promise.all([over, writing]);
  return result;
}

/** A promise to keep by hand. */
export interface Gate {
  opened: Promise<void>;
  open: () => void;
}

export function gate(): Gate {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
