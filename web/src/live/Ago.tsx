// A time as people say it: "5 minutes ago"; the exact one on hover.

import { useSyncExternalStore } from 'react';

const STEP_MS = 15_000;
const UNITS = [
  ['year', 365 * 24 * 3600],
  ['month', 30 * 24 * 3600],
  ['week', 7 * 24 * 3600],
  ['day', 24 * 3600],
  ['hour', 3600],
  ['minute', 60],
] as const;

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const exact = new Intl.DateTimeFormat('en', { dateStyle: 'long', timeStyle: 'short' });

export function Ago({ time }: { time: string }) {
  const now = useSyncExternalStore(everyStep, currentStep);
  return (
    <time dateTime={time} title={exact.format(new Date(time))}>
      {inWords((Date.parse(time) - now) / 1000)}
    </time>
  );
}

function inWords(seconds: number): string {
  for (const [unit, length] of UNITS) {
    if (-seconds >= length) return relative.format(Math.ceil(seconds / length), unit);
  }
  return 'just now';
}

function currentStep(): number {
  return Math.ceil(Date.now() / STEP_MS) * STEP_MS;
}

/** One timer for all times on the page. */
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function everyStep(changed: () => void): () => void {
  listeners.add(changed);
  timer ??= setInterval(() => listeners.forEach((listener) => listener()), STEP_MS);
  return () => {
    listeners.delete(changed);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
