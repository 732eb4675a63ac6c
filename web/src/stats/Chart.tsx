// One number over the last minutes, as a line with gaps where it is not known.

import { LOOK_EVERY_MS, LOOKS_KEPT, type Point } from './useHistory';

const WIDTH = 320;
const HEIGHT = 96;
/** Room for the stroke at the top. */
const TOP = 4;
const STEP = WIDTH / (LOOKS_KEPT - 1);

interface ChartProps {
  points: Point[];
  label: string;
}

export function Chart({ points, label }: ChartProps) {
  const highest = niceCeiling(Math.max(0, ...points.filter((point) => point !== undefined)));
  const left = WIDTH - (points.length - 1) * STEP;
  const at = (index: number) => (left + index * STEP).toFixed(1);
  const y = (value: number) => (HEIGHT - (value / highest) * (HEIGHT - TOP)).toFixed(1);

  return (
    <figure className="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
        <line x1="0" x2={WIDTH} y1={TOP} y2={TOP} />
        <line x1="0" x2={WIDTH} y1={(HEIGHT + TOP) / 2} y2={(HEIGHT + TOP) / 2} />
        <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} className="base" />
        {runsOf(points).map(({ start, values }) => {
          const line = values.map((value, index) => `${at(start + index)},${y(value)}`).join(' ');
          const end = start + values.length - 1;
          return (
            <g key={points.length - start}>
              <polygon points={`${at(start)},${HEIGHT} ${line} ${at(end)},${HEIGHT}`} />
              <polyline points={line} />
            </g>
          );
        })}
      </svg>
      <figcaption>
        <span>{(LOOKS_KEPT * LOOK_EVERY_MS) / 60_000} minutes ago</span>
        <span>up to {highest.toLocaleString()}</span>
        <span>now</span>
      </figcaption>
    </figure>
  );
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
