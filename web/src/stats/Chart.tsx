// Numbers over the last minutes, as lines with gaps where they are not known. Under the pointer, and at a place that
// the arrow keys move, it tells their values.

import { type KeyboardEvent, type PointerEvent, useState } from 'react';

import { formatted } from './formatted';
import { LOOK_EVERY_MS, LOOKS_KEPT, type Point } from './useHistory';

const WIDTH = 320;
const HEIGHT = 96;
/** Room for the stroke at the top. */
const TOP = 4;
const STEP = WIDTH / (LOOKS_KEPT - 1);
const LATEST = LOOKS_KEPT - 1;
/** A long step of the keys: a minute. */
const PAGE = 30;

interface ChartProps {
  lines: { name?: string; points: Point[] }[];
  label: string;
  unit: string;
}

export function Chart({ lines, label, unit }: ChartProps) {
  /** How many looks before now the pointer is at, or the keys are. */
  const [before, setBefore] = useState<number>();
  const all = lines.flatMap(({ points }) => points.filter((point) => point !== undefined));
  const highest = niceCeiling(Math.max(0, ...all));
  const count = lines[0]?.points.length ?? 0;
  const left = WIDTH - (count - 1) * STEP;
  const at = (index: number) => (left + index * STEP).toFixed(1);
  const y = (value: number) => (HEIGHT - (value / highest) * (HEIGHT - TOP)).toFixed(1);

  const point = (event: PointerEvent<HTMLDivElement>) => {
    const { right, width } = event.currentTarget.getBoundingClientRect();
    const looks = Math.round(((right - event.clientX) / width) * LATEST);
    setBefore(Math.min(LATEST, Math.max(0, looks)));
  };
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const now = before ?? 0;
    const to = { ArrowLeft: now + 1, ArrowDown: now + 1, ArrowRight: now - 1, ArrowUp: now - 1 }[event.key];
    const far = { PageDown: now + PAGE, PageUp: now - PAGE, Home: LATEST, End: 0 }[event.key];
    const chosen = to ?? far;
    if (event.key === 'Escape') setBefore(undefined);
    if (chosen === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    setBefore(Math.min(LATEST, Math.max(0, chosen)));
  };
  const pointed = before === undefined ? undefined : count - 1 - before;
  const said = lines.map(({ name, points }) => {
    const value = pointed === undefined ? undefined : points[pointed];
    return `${name === undefined ? '' : `${name} `}${value === undefined ? 'not known' : withUnit(value, unit)}`;
  });
  const isKnown = pointed !== undefined && lines.some(({ points }) => points[pointed] !== undefined);
  const values = `${isKnown ? said.join(', ') : 'not known'}, ${ago(before ?? 0)}`;

  return (
    <figure className="chart">
      <div className="plane">
        <span className="scale" aria-hidden="true">
          {withUnit(highest, unit)}
        </span>
        <span className="scale half" aria-hidden="true">
          {withUnit(highest / 2, unit)}
        </span>
        <span className="scale zero" aria-hidden="true">
          0
        </span>
        {/* A slider, since the arrow keys move along it. */}
        <div
          className="reader"
          role="slider"
          tabIndex={0}
          aria-label={label}
          aria-orientation="horizontal"
          aria-valuemin={-LATEST * (LOOK_EVERY_MS / 1_000)}
          aria-valuemax={0}
          aria-valuenow={-(before ?? 0) * (LOOK_EVERY_MS / 1_000)}
          aria-valuetext={before === undefined ? 'Arrow keys tell the values' : values}
          onKeyDown={move}
          onBlur={() => setBefore(undefined)}
          onPointerMove={point}
          onPointerDown={point}
          onPointerLeave={() => setBefore(undefined)}
        >
          <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
            <line x1="0" x2={WIDTH} y1={TOP} y2={TOP} />
            <line x1="0" x2={WIDTH} y1={(HEIGHT + TOP) / 2} y2={(HEIGHT + TOP) / 2} />
            <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} className="base" />
            {lines.map(({ name = '', points }, index) => (
              <g key={name} data-line={index}>
                {runsOf(points).map(({ start, values }) => {
                  // A number alone is a short line.
                  const drawn = values.length > 1 ? values : [...values, ...values];
                  const line = drawn.map((value, index) => `${at(start + index)},${y(value)}`).join(' ');
                  const end = start + drawn.length - 1;
                  return (
                    <g key={points.length - start}>
                      {lines.length === 1 && (
                        <polygon points={`${at(start)},${HEIGHT} ${line} ${at(end)},${HEIGHT}`} />
                      )}
                      <polyline points={line} />
                    </g>
                  );
                })}
              </g>
            ))}
            {pointed !== undefined && (
              <line className="pointer" x1={at(pointed)} x2={at(pointed)} y1={TOP} y2={HEIGHT} />
            )}
          </svg>
        </div>
      </div>
      <figcaption>
        {before === undefined ? (
          <>
            <span>{(LOOKS_KEPT * LOOK_EVERY_MS) / 60_000} minutes ago</span>
            <span>now</span>
          </>
        ) : (
          <span className="pointed">{values}</span>
        )}
      </figcaption>
    </figure>
  );
}

export function withUnit(value: number, unit: string): string {
  return `${formatted(value)}${unit.startsWith('/') ? unit : unit && ` ${unit}`}`;
}

function ago(looks: number): string {
  const seconds = (looks * LOOK_EVERY_MS) / 1_000;
  if (seconds === 0) return 'now';
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  return `${minutes > 0 ? `${minutes} min ` : ''}${rest} s ago`;
}

interface Run {
  start: number;
  values: number[];
}

/** The stretches without a gap. */
export function runsOf(points: Point[]): Run[] {
  const runs: Run[] = [];
  points.forEach((point, index) => {
    if (point === undefined) return;
    const last = runs.at(-1);
    if (last && last.start + last.values.length === index) last.values.push(point);
    else runs.push({ start: index, values: [point] });
  });
  return runs;
}

/** The next of 1, 2, 5, 10, 20, 50, … so that the scale rarely changes. */
export function niceCeiling(value: number): number {
  if (value <= 1) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((candidate) => candidate * magnitude >= value) ?? 10;
  return step * magnitude;
}
