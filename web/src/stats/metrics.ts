// Which metrics are plotted, and how.

import type { Sample } from './openMetrics';
import { type Buckets, bucketsOf, quantile } from './quantiles';

/** A service whose metrics are plotted. */
export interface Source {
  title: string;
  path: string;
  /** In a sentence. */
  name: string;
  /** The metrics of its requests begin with it. */
  prefix: string;
}

// The services' pages are there where METRICS_PAGES names them.
export const SOURCES = {
  gateway: { title: 'Gateway', path: '/metrics', name: 'gateway', prefix: 'gateway' },
  comments: {
    title: 'Comments service',
    path: '/metrics/comments',
    name: 'comments service',
    prefix: 'subgraph',
  },
  posts: { title: 'Posts service', path: '/metrics/posts', name: 'posts service', prefix: 'subgraph' },
} satisfies Record<string, Source>;

export type SourceName = keyof typeof SOURCES;
export const SOURCE_NAMES = Object.keys(SOURCES) as SourceName[];

/** One number, or several of the same unit. */
export interface Plot {
  title: string;
  explanation: string;
  unit: string;
  /** Said while there is no number. */
  nothing?: string;
  source: SourceName;
  lines: Line[];
}

export interface Line {
  /** Of several. */
  name?: string;
  /** A counter is plotted as its rate per second, a gauge as it is. */
  kind: 'counter' | 'gauge';
  /** Reads one look at the metrics; `undefined` when they do not have the number. Called once for each look. */
  read: (samples: readonly Sample[]) => number | undefined;
}

/** So many looks before now, the times to answer begin: of too few requests, a percentile says nothing. */
const LATENCY_LOOKS = 5;

export const PLOTS: Plot[] = [
  ...requestPlots('gateway'),
  {
    title: 'Live clients',
    explanation: 'Open connections that wait for events',
    unit: '',
    source: 'gateway',
    lines: [{ kind: 'gauge', read: sumOf('gateway_live_clients') }],
  },
  {
    title: 'Deliveries',
    explanation: 'Events written to clients',
    unit: '/s',
    source: 'gateway',
    lines: [{ kind: 'counter', read: sumOf('gateway_deliveries_total') }],
  },
  {
    title: 'Shared subscriptions',
    explanation: 'Running at the services for all clients',
    unit: '',
    source: 'gateway',
    lines: [{ kind: 'gauge', read: sumOf('gateway_upstream_subscriptions') }],
  },
  ...requestPlots('comments'),
  {
    title: 'Feed lag',
    explanation: 'Since the live feed was level with the comments',
    unit: 'ms',
    source: 'comments',
    lines: [{ kind: 'gauge', read: scaled(largestOf('changefeed_hub_lag_seconds'), 1_000) }],
  },
  {
    title: 'Changes',
    explanation: 'Comments added, edited and deleted',
    unit: '/s',
    source: 'comments',
    lines: [{ kind: 'counter', read: sumOf('changefeed_hub_changes_total') }],
  },
  {
    title: 'Subscribers',
    explanation: 'Of the live feed; the gateway shares each among its clients',
    unit: '',
    source: 'comments',
    lines: [{ kind: 'gauge', read: sumOf('changefeed_hub_subscribers') }],
  },
  ...requestPlots('posts'),
  {
    title: 'Projection lag',
    explanation: 'Since the posts were level with their comments',
    unit: 'ms',
    source: 'posts',
    lines: [{ kind: 'gauge', read: scaled(largestOf('changefeed_projection_lag_seconds'), 1_000) }],
  },
  {
    title: 'Comments counted',
    explanation: 'Changes that the posts have taken in',
    unit: '/s',
    source: 'posts',
    lines: [{ kind: 'counter', read: sumOf('changefeed_projection_changes_total') }],
  },
];

/** How many requests and subscriptions ended with each code, since the service was started. */
export function errorsByCode(source: SourceName, samples: readonly Sample[]): Map<string, number> {
  const name = `${SOURCES[source].prefix}_refusals_total`;
  const errors = new Map<string, number>();
  for (const sample of samples) {
    if (sample.name !== name || sample.value === 0) continue;
    const code = sample.labels.code ?? 'unknown';
    errors.set(code, (errors.get(code) ?? 0) + sample.value);
  }
  return errors;
}

/** What each service says of its requests. */
function requestPlots(source: SourceName): Plot[] {
  const { prefix } = SOURCES[source];
  const whose = source === 'gateway' ? 'Queries, mutations and new subscriptions' : 'From the gateway';
  return [
    {
      title: 'Requests',
      explanation: whose,
      unit: '/s',
      source,
      lines: [{ kind: 'counter', read: sumOf(`${prefix}_requests_total`) }],
    },
    {
      title: 'Time to answer',
      explanation: 'Half, 95% and 99% of the last 10 seconds’ requests were faster',
      unit: 'ms',
      nothing: 'no requests yet',
      source,
      lines: latencies(`${prefix}_request_seconds`, [50, 95, 99]),
    },
    {
      title: 'Errors',
      explanation: 'Requests refused, and subscriptions that ended with an error',
      unit: '/s',
      source,
      lines: [{ kind: 'counter', read: sumOf(`${prefix}_refusals_total`, 0) }],
    },
  ];
}

type Read = Line['read'];

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

function latencies(name: string, percents: number[]): Line[] {
  return percents.map((percent) => {
    const looks: Buckets[] = [];
    return {
      name: `p${percent}`,
      kind: 'gauge',
      read: (samples) => {
        const now = bucketsOf(samples, name);
        if (!now) return undefined;
        looks.push(now);
        const before = looks[0] ?? now;
        if (looks.length > LATENCY_LOOKS) looks.shift();
        const seconds = quantile(percent / 100, before, now);
        // After a start, the counts of before are of no use.
        if (isLess(now, before)) looks.splice(0, looks.length, now);
        return seconds === undefined ? undefined : seconds * 1_000;
      },
    };
  });
}

function isLess(now: Buckets, before: Buckets): boolean {
  return [...now].some(([bound, count]) => count < (before.get(bound) ?? 0));
}
