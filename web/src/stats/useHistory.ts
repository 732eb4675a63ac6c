// The last minutes of every plot: one look at the metrics every two seconds.

import { useEffect, useState } from 'react';

import { PLOTS, type SourceName, SOURCES } from './metrics';
import { parseOpenMetrics, type Sample } from './openMetrics';

export const LOOK_EVERY_MS = 2_000;
/** A service that hangs is a gap of its own plots, and keeps the others waiting no longer. */
const READ_WITHIN_MS = 5_000;
/** Five minutes. */
export const LOOKS_KEPT = 150;

/** One point of a plot; `undefined` is a gap: the number could not be read at that look. */
export type Point = number | undefined;

export interface History {
  /** For each plot its points, the newest last; all plots have the same number. */
  series: Point[][];
  /** What could not be read at the last look, in words. */
  troubles: string[];
}

interface Look {
  atMs: number;
  values: Point[];
  troubles: string[];
}

export function useHistory(): History {
  const [history, setHistory] = useState<History>({ series: PLOTS.map(() => []), troubles: [] });

  useEffect(() => {
    const stopped = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let before: Look | undefined;

    const look = async () => {
      const now = await lookAtAll(stopped.signal);
      if (stopped.signal.aborted) return;
      const points = PLOTS.map((plot, index) =>
        plot.kind === 'gauge' ? now.values[index] : rate(before, now, index),
      );
      before = now;
      setHistory(({ series }) => ({
        series: series.map((line, index) => [...line, points[index]].slice(-LOOKS_KEPT)),
        troubles: now.troubles,
      }));
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

async function lookAtAll(signal: AbortSignal): Promise<Look> {
  const names = Object.keys(SOURCES) as SourceName[];
  const read = await Promise.all(names.map((name) => samplesOf(name, signal)));
  const samples = new Map(names.map((name, index) => [name, read[index]]));
  return {
    atMs: performance.now(),
    values: PLOTS.map((plot) => {
      const found = samples.get(plot.source);
      return found && plot.read(found);
    }),
    troubles: names.filter((name) => !samples.get(name)).map((name) => SOURCES[name].trouble),
  };
}

async function samplesOf(name: SourceName, signal: AbortSignal): Promise<Sample[] | undefined> {
  try {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(READ_WITHIN_MS)]);
    const response = await fetch(SOURCES[name].path, { signal: inTime, cache: 'no-store' });
    return response.ok ? parseOpenMetrics(await response.text()) : undefined;
  } catch {
    return undefined;
  }
}

/** A service that was started again counts from nought: that look is a gap. */
function rate(before: Look | undefined, now: Look, index: number): Point {
  const [from, to] = [before?.values[index], now.values[index]];
  if (!before || from === undefined || to === undefined || to < from) return undefined;
  return (to - from) / ((now.atMs - before.atMs) / 1_000);
}
