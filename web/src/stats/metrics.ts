// Which of the gateway's metrics are plotted, and how.

import type { Sample } from './openMetrics';

/** How a plot reads one look at the metrics; `undefined` when the server has no such metric. */
export interface Plot {
  title: string;
  explanation: string;
  unit: string;
  /** A counter is plotted as its rate per second, a gauge as it is. */
  kind: 'counter' | 'gauge';
  read: (samples: Sample[]) => number | undefined;
  /** Shown only where the server has it. */
  optional?: boolean;
}

export const METRICS_PATH = '/metrics';

export const PLOTS: Plot[] = [
  {
    title: 'Requests',
    explanation: 'Queries, mutations and new subscriptions',
    unit: '/s',
    kind: 'counter',
    read: sumOf('gateway_requests_total'),
  },
  {
    title: 'Time to answer',
    explanation: 'The average over the last seconds',
    unit: 'ms',
    kind: 'gauge',
    read: averageMs('gateway_request_seconds'),
  },
  {
    title: 'Live clients',
    explanation: 'Open connections that wait for events',
    unit: '',
    kind: 'gauge',
    read: sumOf('gateway_live_clients'),
  },
  {
    title: 'Deliveries',
    explanation: 'Events written to clients',
    unit: '/s',
    kind: 'counter',
    read: sumOf('gateway_deliveries_total'),
  },
  {
    title: 'Shared subscriptions',
    explanation: 'Running at the services; clients with the same one share it',
    unit: '',
    kind: 'gauge',
    read: sumOf('gateway_upstream_subscriptions'),
  },
  {
    title: 'Projection lag',
    explanation: 'How far the posts are behind their comments',
    unit: 'ms',
    kind: 'gauge',
    read: scaled(largestOf('changefeed_projection_lag_seconds'), 1_000),
    optional: true,
  },
  {
    title: 'Refusals',
    explanation: 'Requests refused, subscriptions ended with an error',
    unit: '/s',
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

/** The average of what a histogram took in since the last look; 0 when it took in nothing. */
function averageMs(name: string): Read {
  const sum = sumOf(`${name}_sum`);
  const count = sumOf(`${name}_count`);
  let before = { sum: 0, count: 0 };
  return (samples) => {
    const now = { sum: sum(samples), count: count(samples) };
    if (now.sum === undefined || now.count === undefined) return undefined;
    const seconds = now.sum - before.sum;
    const observations = now.count - before.count;
    before = { sum: now.sum, count: now.count };
    return observations > 0 ? (seconds / observations) * 1_000 : 0;
  };
}
