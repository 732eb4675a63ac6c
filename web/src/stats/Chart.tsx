// One number over the last minutes, as a line with gaps where it is not known. Under the pointer it tells its values.

import { type PointerEvent, useState } from 'react';

import { formatted } from './formatted';
import { LOOK_EVERY_MS, LOOKS_KEPT, type Point } from './useHistory';

const WIDTH = 320;
const HEIGHT = 96;
/** Room for the stroke at the top. */
const TOP = 4;
const STEP = WIDTH / (LOOKS_KEPT - 1);

interface ChartProps {
  points: Point[];
  label: string;
  unit: string;
}

export function Chart({ points, label, unit }: ChartProps) {
  /** How many looks before now the pointer is at. */
  const [before, setBefore] = useState<number>();
  const highest = niceCeiling(Math.max(0, ...points.filter((point) => point !== undefined)));
  const left = WIDTH - (points.length - 1) * STEP;
  const at = (index: number) => (left + index * STEP).toFixed(1);
  const y = (value: number) => (HEIGHT - (value / highest) * (HEIGHT - TOP)).toFixed(1);
  const withUnit = (value: number) =>
    `${formatted(value)}${unit.startsWith('/') ? unit : unit && ` ${unit}`}`;

  const point = (event: PointerEvent<SVGSVGElement>) => {
    const { right, width } = event.currentTarget.getBoundingClientRect();
    const looks = Math.round(((right - event.clientX) / width) * (LOOKS_KEPT - 1));
    setBefore(Math.min(LOOKS_KEPT - 1, Math.max(0, looks)));
  };
  const pointed = before === undefined ? undefined : points.length - 1 - before;
  const value = pointed === undefined ? undefined : points[pointed];

  return (
    <figure className="chart">
      <div className="plane">
        <span className="scale" aria-hidden="true">
          {withUnit(highest)}
        </span>
        <span className="scale half" aria-hidden="true">
          {withUnit(highest / 2)}
        </span>
        <span className="scale zero" aria-hidden="true">
          0
        </span>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={label}
          onPointerMove={point}
          onPointerDown={point}
          onPointerLeave={() => setBefore(undefined)}
        >
          <line x1="0" x2={WIDTH} y1={TOP} y2={TOP} />
          <line x1="0" x2={WIDTH} y1={(HEIGHT + TOP) / 2} y2={(HEIGHT + TOP) / 2} />
          <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} className="base" />
          {runsOf(points).map(({ start, values }) => {
            // A number alone is a short line.
            const drawn = values.length > 1 ? values : [...values, ...values];
            const line = drawn.map((value, index) => `${at(start + index)},${y(value)}`).join(' ');
            const end = start + drawn.length - 1;
            return (
              <g key={points.length - start}>
                <polygon points={`${at(start)},${HEIGHT} ${line} ${at(end)},${HEIGHT}`} />
                <polyline points={line} />
              </g>
            );
          })}
          {pointed !== undefined && (
            <line className="pointer" x1={at(pointed)} x2={at(pointed)} y1={TOP} y2={HEIGHT} />
          )}
        </svg>
      </div>
      <figcaption>
        {before === undefined ? (
          <>
            <span>{(LOOKS_KEPT * LOOK_EVERY_MS) / 60_000} minutes ago</span>
            <span>now</span>
          </>
        ) : (
          <span className="pointed">
            {value === undefined ? 'not known' : withUnit(value)}, {ago(before)}
          </span>
        )}
      </figcaption>
    </figure>
  );
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
