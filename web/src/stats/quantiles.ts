// Quantiles of a histogram's last observations, as Prometheus computes them: within a bucket, observations are taken to
// be spread evenly. Source: https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile

import type { Sample } from './openMetrics';

/** The counts of a histogram up to each bound, of all its labels together. */
export type Buckets = Map<number, number>;

export function bucketsOf(samples: readonly Sample[], name: string): Buckets | undefined {
  const buckets: Buckets = new Map();
  for (const { name: found, labels, value } of samples) {
    if (found !== `${name}_bucket`) continue;
    const bound = labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return buckets.size === 0 ? undefined : buckets;
}

/** Of what came after `before`; `undefined` when that is nothing, or when the service was started again. */
export function quantile(share: number, before: Buckets, now: Buckets): number | undefined {
  const counts = [...now]
    .sort(([one], [other]) => one - other)
    .map(([bound, count]) => ({ bound, count: count - (before.get(bound) ?? 0) }));
  const all = counts.at(-1)?.count ?? 0;
  if (all <= 0 || counts.some(({ count }) => count < 0)) return undefined;
  const rank = share * all;
  let lower = { bound: 0, count: 0 };
  for (const upper of counts) {
    if (upper.count >= rank) {
      // Above the highest bound nothing is known but that.
      if (upper.bound === Number.POSITIVE_INFINITY) return lower.bound;
      const within = (rank - lower.count) / (upper.count - lower.count);
      return lower.bound + (upper.bound - lower.bound) * within;
    }
    lower = upper;
  }
  return undefined;
}
