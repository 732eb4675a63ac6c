// The last minutes of every plot: one look at the metrics every two seconds.

import { useEffect, useState } from 'react';

import { METRICS_PATH, PLOTS } from './metrics';
import { parseOpenMetrics } from './openMetrics';

export const LOOK_EVERY_MS = 2_000;
/** Five minutes. */
export const LOOKS_KEPT = 150;

export interface History {
  /** For each plot its values, the newest last; empty while the server has no such metric. */
  series: number[][];
  /** Why the last look failed. */
  error: string | undefined;
}

export function useHistory(): History {
  const [history, setHistory] = useState<History>({ series: PLOTS.map(() => []), error: undefined });

  useEffect(() => {
    let counters: { at: number; values: (number | undefined)[] } | undefined;
    let timer: ReturnType<typeof setTimeout>;
    const stopped = new AbortController();

    const look = async () => {
      try {
        const response = await fetch(METRICS_PATH, { signal: stopped.signal, cache: 'no-store' });
        if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
        const samples = parseOpenMetrics(await response.text());
        const now = { at: performance.now(), values: PLOTS.map((plot) => plot.read(samples)) };
        const before = counters;
        counters = now;
        if (before) {
          const seconds = (now.at - before.at) / 1_000;
          const values = PLOTS.map((plot, index) =>
            plot.kind === 'gauge'
              ? now.values[index]
              : rate(before.values[index], now.values[index], seconds),
          );
          setHistory(({ series }) => ({
            series: series.map((line, index) => grown(line, values[index])),
            error: undefined,
          }));
        }
      } catch (error) {
        if (stopped.signal.aborted) return;
        // A service that was started again counts from nought.
        counters = undefined;
        const reason =
          error instanceof TypeError ? 'The server cannot be reached.' : String((error as Error).message);
        setHistory(({ series }) => ({ series, error: reason }));
      }
      timer = setTimeout(() => void look(), LOOK_EVERY_MS);
    };
    void look();

    return () => {
      stopped.abort();
      clearTimeout(timer);
    };
  }, []);

  return history;
}

function rate(before: number | undefined, now: number | undefined, seconds: number): number | undefined {
  if (before === undefined || now === undefined) return undefined;
  return Math.max(0, now - before) / seconds;
}

function grown(line: number[], value: number | undefined): number[] {
  return value === undefined ? line : [...line, value].slice(-LOOKS_KEPT);
}
