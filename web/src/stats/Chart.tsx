// One number over the last minutes, as a line.

import { LOOK_EVERY_MS, LOOKS_KEPT } from './useHistory';

const WIDTH = 320;
const HEIGHT = 96;
/** Room for the stroke at the top. */
const TOP = 4;

interface ChartProps {
  values: number[];
  label: string;
}

export function Chart({ values, label }: ChartProps) {
  const highest = niceCeiling(Math.max(...values, 0));
  const step = WIDTH / (LOOKS_KEPT - 1);
  const left = WIDTH - (values.length - 1) * step;
  const points = values.map((value, index) => {
    const y = HEIGHT - (value / highest) * (HEIGHT - TOP);
    return `${(left + index * step).toFixed(1)},${y.toFixed(1)}`;
  });

  return (
    <figure className="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
        <line x1="0" x2={WIDTH} y1={TOP} y2={TOP} />
        <line x1="0" x2={WIDTH} y1={(HEIGHT + TOP) / 2} y2={(HEIGHT + TOP) / 2} />
        <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} className="base" />
        {points.length > 1 && (
          <>
            <polygon points={`${left.toFixed(1)},${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`} />
            <polyline points={points.join(' ')} />
          </>
        )}
      </svg>
      <figcaption>
        <span>{(LOOKS_KEPT * LOOK_EVERY_MS) / 60_000} minutes ago</span>
        <span>up to {highest.toLocaleString()}</span>
        <span>now</span>
      </figcaption>
    </figure>
  );
}

/** The next of 1, 2, 5, 10, 20, 50, … so that the scale rarely changes. */
export function niceCeiling(value: number): number {
  if (value <= 1) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((candidate) => candidate * magnitude >= value) ?? 10;
  return step * magnitude;
}
