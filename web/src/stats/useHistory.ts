// The last minutes of every plot: one look at the metrics every two seconds.

import { useEffect, useState } from 'react';

import { errorsByCode, PLOTS, SOURCE_NAMES, type SourceName, SOURCES } from './metrics';
import { parseOpenMetrics, type Sample } from './openMetrics';

export const LOOK_EVERY_MS = 2_000;
/** A service that hangs is a gap of its own plots, and keeps the others waiting no longer. */
const READ_WITHIN_MS = 5_000;
/** Five minutes. */
export const LOOKS_KEPT = 150;

/** One point of a line; `undefined` is a gap: the number could not be read at that look. */
export type Point = number | undefined;

/** `absent`: there is no such page at this address. */
export type Trouble = 'absent' | 'unreadable';

export interface CodeCount {
  code: string;
  /** Since the service was started. */
  all: number;
  /** Since the page was opened. */
  here: number;
}

export interface History {
  /** For each plot its lines, and of these the points, the newest last; all have the same number. */
  series: Point[][][];
  /** What could not be read at the last look. */
  troubles: Partial<Record<SourceName, Trouble>>;
  /** The errors of each service that could be read, the most frequent first. */
  errors: Partial<Record<SourceName, CodeCount[]>>;
}

interface Look {
  atMs: number;
  values: Point[][];
  read: Map<SourceName, readonly Sample[] | Trouble>;
}

export function useHistory(): History {
  const [history, setHistory] = useState<History>({
    series: PLOTS.map(({ lines }) => lines.map(() => [])),
    troubles: {},
    errors: {},
  });

  useEffect(() => {
    const stopped = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let before: Look | undefined;
    const first = new Map<SourceName, Map<string, number>>();

    const look = async () => {
      const now = await lookAtAll(stopped.signal);
      if (stopped.signal.aborted) return;
      const points = PLOTS.map(({ lines }, plot) =>
        lines.map(({ kind }, line) =>
          kind === 'gauge' ? now.values[plot]?.[line] : rate(before, now, plot, line),
        ),
      );
      before = now;
      const troubles: History['troubles'] = {};
      const errors: History['errors'] = {};
      for (const [name, found] of now.read) {
        if (typeof found === 'string') troubles[name] = found;
        else errors[name] = countsOf(errorsByCode(name, found), first, name);
      }
      setHistory(({ series }) => ({
        series: series.map((lines, plot) =>
          lines.map((line, index) => [...line, points[plot]?.[index]].slice(-LOOKS_KEPT)),
        ),
        troubles,
        errors,
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

function countsOf(
  now: Map<string, number>,
  first: Map<SourceName, Map<string, number>>,
  name: SourceName,
): CodeCount[] {
  const begin = first.get(name) ?? now;
  first.set(name, begin);
  return [...now]
    .map(([code, all]) => {
      const since = all - (begin.get(code) ?? 0);
      // A service that was started again counts from nought.
      return { code, all, here: since < 0 ? all : since };
    })
    .sort((one, other) => other.all - one.all || one.code.localeCompare(other.code));
}

async function lookAtAll(signal: AbortSignal): Promise<Look> {
  const found = await Promise.all(SOURCE_NAMES.map((name) => samplesOf(name, signal)));
  const read = new Map(SOURCE_NAMES.map((name, index) => [name, found[index] ?? 'unreadable']));
  return {
    atMs: performance.now(),
    values: PLOTS.map(({ source, lines }) => {
      const samples = read.get(source);
      return lines.map((line) => (typeof samples === 'object' ? line.read(samples) : undefined));
    }),
    read,
  };
}

async function samplesOf(name: SourceName, signal: AbortSignal): Promise<readonly Sample[] | Trouble> {
  try {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(READ_WITHIN_MS)]);
    const response = await fetch(SOURCES[name].path, { signal: inTime, cache: 'no-store' });
    if (response.status === 404) return 'absent';
    return response.ok ? parseOpenMetrics(await response.text()) : 'unreadable';
  } catch {
    return 'unreadable';
  }
}

/** A service that was started again counts from nought: that look is a gap. */
function rate(before: Look | undefined, now: Look, plot: number, line: number): Point {
  const [from, to] = [before?.values[plot]?.[line], now.values[plot]?.[line]];
  if (!before || from === undefined || to === undefined || to < from) return undefined;
  return (to - from) / ((now.atMs - before.atMs) / 1_000);
}
