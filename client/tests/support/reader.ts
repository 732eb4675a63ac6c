// A reader of subscriptions, and waiting for what it gets.

import { setTimeout as sleep } from 'node:timers/promises';

import {
  type Gap,
  type Listener,
  type Result,
  type State,
  type SubscriptionFailure,
} from '../../src/index.js';

const WAIT_MS = 60_000;
const LOOK_EVERY_MS = 5;

/** Waits until `check` gives something. */
export async function until<Found>(
  what: string,
  check: () => Found | undefined | false | null,
): Promise<Found> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = check();
    if (found !== undefined && found !== false && found !== null) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** Keeps all that it is told, in its order. */
export class Reader implements Listener {
  /** The numbers of the events, and `gap`. */
  heard: (number | 'gap')[] = [];
  results: Result[] = [];
  gaps: Gap[] = [];
  states: State[] = [];
  waitsFor: SubscriptionFailure[] = [];
  failure: SubscriptionFailure | undefined;
  isComplete = false;

  next = (result: Result): void => {
    this.results.push(result);
    this.heard.push(numberOf(result));
  };
  gap = (gap: Gap): void => {
    this.gaps.push(gap);
    this.heard.push('gap');
  };
  state = (state: State, failure?: SubscriptionFailure): void => {
    this.states.push(state);
    if (failure) this.waitsFor.push(failure);
  };
  error = (failure: SubscriptionFailure): void => {
    this.failure = failure;
  };
  complete = (): void => {
    this.isComplete = true;
  };
}

export function numberOf({ data }: Result): number {
  return (data as { ticks?: { number?: number } } | null)?.ticks?.number ?? Number.NaN;
}
