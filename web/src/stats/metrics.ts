// Which metrics are plotted, and how.

import type { Sample } from './openMetrics';

/** A page of metrics, and which plots are empty without it. */
export interface Source {
  path: string;
  /** What to say when it cannot be read. */
  trouble: string;
}

export const SOURCES = {
  gateway: { path: '/metrics', trouble: 'The gateway’s metrics cannot be read.' },
  // There where the gateway is told of it (METRICS_PAGES).
  posts: { path: '/metrics/posts', trouble: 'The posts service’s metrics cannot be read.' },
} satisfies Record<string, Source>;

export type SourceName = keyof typeof SOURCES;

/** How a plot reads one look at the metrics; `undefined` when they do not have its number. */
export interface Plot {
  title: string;
  explanation: string;
  unit: string;
  /** Said while there is no number. */
  nothing?: string;
  source: SourceName;
  /** A counter is plotted as its rate per second, a gauge as it is. */
  kind: 'counter' | 'gauge';
  read: (samples: Sample[]) => number | undefined;
}

export const PLOTS: Plot[] = [
  {
    title: 'Requests',
    explanation: 'Queries, mutations and new subscriptions',
    unit: '/s',
    source: 'gateway',
    kind: 'counter',
    read: sumOf('gateway_requests_total'),
  },
  {
    title: 'Time to answer',
    explanation: 'The average over the last seconds',
    unit: 'ms',
    nothing: 'no requests',
    source: 'gateway',
    kind: 'gauge',
    read: averageMs('gateway_request_seconds'),
  },
  {
    title: 'Live clients',
    explanation: 'Open connections that wait for events',
    unit: '',
    source: 'gateway',
    kind: 'gauge',
    read: sumOf('gateway_live_clients'),
  },
  {
    title: 'Deliveries',
    explanation: 'Events written to clients',
    unit: '/s',
    source: 'gateway',
    kind: 'counter',
    read: sumOf('gateway_deliveries_total'),
  },
  {
    title: 'Projection lag',
    explanation: 'Since the posts were level with their comments',
    unit: 'ms',
    source: 'posts',
    kind: 'gauge',
    read: scaled(largestOf('changefeed_projection_lag_seconds'), 1_000),
  },
  {
    title: 'Comments counted',
    explanation: 'Changes that the posts have taken in',
    unit: '/s',
    source: 'posts',
    kind: 'counter',
    read: sumOf('changefeed_projection_changes_total'),
  },
  {
    title: 'Shared subscriptions',
    explanation: 'Running at the services for all clients',
    unit: '',
    source: 'gateway',
    kind: 'gauge',
    read: sumOf('gateway_upstream_subscriptions'),
  },
  {
    title: 'Refusals',
    explanation: 'Requests and subscriptions that ended with an error',
    unit: '/s',
    source: 'gateway',
    kind: 'counter',
    read: sumOf('gateway_refusals_total', 0),
  },
];

type Read = Plot['read'];

function sumOf(name: string, whenMissing?: number): Read {
  return (samples) => {
    const found = samples.filter((sample) => sample.name === name);
    return found.length === 0 ? whenMissing : found.reduce((sum, sample) => sum + sample.value, 0);
  };
}

function largestOf(name: string): Read {
  return (samples) => {
    const values = samples.filter((sample) => sample.name === name).map((sample) => sample.value);
    return values.length === 0 ? undefined : Math.max(...values);
  };
}

function scaled(read: Read, factor: number): Read {
  return (samples) => {
    const value = read(samples);
    return value === undefined ? undefined : value * factor;
  };
}

/** The average of what a histogram took in since the last look; `undefined` when it took in nothing. */
function averageMs(name: string): Read {
  const sum = sumOf(`${name}_sum`);
  const count = sumOf(`${name}_count`);
  let before: { sum: number; count: number } | undefined;
  return (samples) => {
    const now = { sum: sum(samples), count: count(samples) };
    if (now.sum === undefined || now.count === undefined) return undefined;
    const last = before ?? { sum: now.sum, count: now.count };
    before = { sum: now.sum, count: now.count };
    const observations = now.count - last.count;
    return observations > 0 ? ((now.sum - last.sum) / observations) * 1_000 : undefined;
  };
}
