// The subscriptions that run in GraphiQL, each with the log of its events. GraphiQL itself ends a subscription when
// another tab is opened, and shows the last event alone.

import type { Fetcher, FetcherParams } from '@graphiql/toolkit';
import { getOperationAST } from 'graphql';

/** Of one run; the oldest are dropped. */
const EVENTS_MAX = 200;
/** Ended runs that stay in the log. */
const ENDED_MAX = 5;

export interface RunEvent {
  number: number;
  at: Date;
  result: unknown;
}

export interface Run {
  number: number;
  /** The tab that it was started in. */
  tab: string;
  name: string;
  isRunning: boolean;
  /** The newest first. */
  events: readonly RunEvent[];
}

interface LiveRun extends Run {
  stop: () => void;
}

let runs: readonly LiveRun[] = [];
let lastNumber = 0;
const listeners = new Set<() => void>();

export function allRuns(): readonly Run[] {
  return runs;
}

/** Calls `listener` at each change, until the function that it returns is called. */
export function onRuns(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function stopRun(number: number): void {
  runs.find((run) => run.number === number)?.stop();
}

/** Forgets the runs that have ended. */
export function forgetEnded(): void {
  change(runs.filter((run) => run.isRunning));
}

/**
 * Logs the events of subscriptions. What GraphiQL ends goes on, unless `isEnded` says that the reader has ended it;
 * `tab` names the tab of now.
 */
export function withLog(fetcher: Fetcher, tab: () => string, isEnded: () => Promise<boolean>): Fetcher {
  return async (params, options) => {
    const value = await fetcher(params, options);
    const operation = options?.documentAST && getOperationAST(options.documentAST, params.operationName);
    if (operation?.operation !== 'subscription' || !isAsyncIterable(value)) return value;
    return logged(value, nameOf(params), tab(), isEnded);
  };
}

function logged(
  source: AsyncIterable<unknown>,
  name: string,
  tab: string,
  isEnded: () => Promise<boolean>,
): AsyncIterableIterator<never> {
  // Started again in its tab: the one before has had its time.
  runs.filter((run) => run.tab === tab && run.isRunning).forEach((run) => run.stop());
  const iterator = source[Symbol.asyncIterator]();
  const number = ++lastNumber;
  const update = (changed: Partial<Run>) =>
    change(runs.map((run) => (run.number === number ? { ...run, ...changed } : run)));
  const note = (result: unknown) => {
    const before = runs.find((run) => run.number === number)?.events ?? [];
    const event = { number: (before[0]?.number ?? 0) + 1, at: new Date(), result };
    update({ events: [event, ...before].slice(0, EVENTS_MAX) });
  };
  const end = () => {
    update({ isRunning: false });
    const ended = runs.filter((run) => !run.isRunning).slice(ENDED_MAX);
    change(runs.filter((run) => !ended.includes(run)));
  };
  const stop = () => {
    end();
    void iterator.return?.();
  };
  change([{ number, tab, name, isRunning: true, events: [], stop }, ...runs]);

  /** GraphiQL reads no more: read here, so that the log goes on. */
  const goOn = async () => {
    try {
      for (;;) {
        const { done, value } = await iterator.next();
        if (done) return end();
        note(value);
      }
    } catch (error) {
      note({ errors: [{ message: String(error) }] });
      end();
    }
  };

  return {
    async next() {
      try {
        const step = await iterator.next();
        if (step.done) end();
        else note(step.value);
        return step as IteratorResult<never>;
      } catch (error) {
        end();
        throw error;
      }
    },
    async return() {
      if (await isEnded()) stop();
      else void goOn();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function change(changed: readonly LiveRun[]): void {
  runs = changed;
  listeners.forEach((listener) => listener());
}

function nameOf({ operationName, query }: FetcherParams): string {
  return operationName ?? /subscription\s+(\w+)/.exec(query)?.[1] ?? 'Subscription';
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
