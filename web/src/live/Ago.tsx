// A time as people say it, "5 minutes ago", and the exact one: on hover, or at a press.

import { useState, useSyncExternalStore } from 'react';

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
/** In the reader's own language and time zone. */
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

/** Words alone, for a list. */
export function Ago({ time }: { time: string }) {
  const now = useSyncExternalStore(everyStep, currentStep);
  return (
    <time dateTime={time} title={exact.format(new Date(time))}>
      {inWords((Date.parse(time) - now) / 1000)}
    </time>
  );
}

/** Words that become the exact time at a press, and back. */
export function When({ time }: { time: string }) {
  const [isExact, setExact] = useState(false);
  return (
    <button type="button" className="when" aria-pressed={isExact} onClick={() => setExact(!isExact)}>
      {isExact ? <time dateTime={time}>{exact.format(new Date(time))}</time> : <Ago time={time} />}
    </button>
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
