// The plan of the operation that ran last, as a picture: a bar for each fetch, as long as it took, below one
// another in their order, with a line from each to those that waited for it.

import type { GraphiQLPlugin } from '@graphiql/react';
import { parse, print } from 'graphql';
import { useSyncExternalStore } from 'react';

import { lastPlan, onPlan, type PlannedFetch, type QueryPlan } from './plans';

const WIDTH = 360;
const ROW = 44;
const BAR = 12;
const BAR_MIN = 3;
/** For the times beside the bars. */
const MARGIN = 70;

export const planTab: GraphiQLPlugin = { title: 'Query plan', icon: PlanIcon, content: PlanTab };

function PlanIcon() {
  return (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M1 3h6M5 8h6M9 13h6" />
    </svg>
  );
}

function PlanTab() {
  const plan = useSyncExternalStore(onPlan, lastPlan);
  return (
    <section className="plan" aria-label="Query plan">
      <h2 className="plan-title">Query plan</h2>
      {plan ? (
        <Plan plan={plan} />
      ) : (
        <p>Run a query or a mutation: its fetches and their times appear here.</p>
      )}
    </section>
  );
}

function Plan({ plan }: { plan: QueryPlan }) {
  const { fetches, milliseconds } = plan;
  return (
    <>
      <p>
        {fetches.length === 1 ? '1 fetch' : `${fetches.length} fetches`} in {time(milliseconds)}
      </p>
      <Picture plan={plan} />
      <ol className="plan-fetches">
        {fetches.map((fetch) => (
          <li key={fetch.number}>
            <details>
              <summary>{summary(fetch)}</summary>
              {fetch.entities?.map(({ paths, by }) => (
                <p key={paths.join()}>
                  for <code>{paths.join(', ')}</code> by <code>{by}</code>
                </p>
              ))}
              {fetch.failure && <p role="alert">{fetch.failure}</p>}
              <pre>{formatted(fetch.operation)}</pre>
            </details>
          </li>
        ))}
      </ol>
    </>
  );
}

function Picture({ plan: { fetches, milliseconds } }: { plan: QueryPlan }) {
  const scale = (ms: number) => (ms / Math.max(milliseconds, 0.001)) * (WIDTH - MARGIN);
  const start = (fetch: PlannedFetch) => scale(fetch.sentAtMs ?? 0);
  const length = (fetch: PlannedFetch) => Math.max(scale(fetch.tookMs ?? 0), BAR_MIN);
  const middle = (fetch: PlannedFetch) => (fetch.number - 1) * ROW + ROW - BAR;
  const subgraphs = [...new Set(fetches.map((fetch) => fetch.subgraph))];
  return (
    <svg
      className="plan-picture"
      viewBox={`0 0 ${WIDTH} ${fetches.length * ROW}`}
      role="img"
      aria-label={fetches.map(summary).join('; ')}
    >
      {fetches.flatMap((fetch) =>
        fetch.after.map((number) => {
          const before = fetches[number - 1];
          if (!before) return null;
          const [x, y] = [start(before) + length(before), middle(before)];
          const line = `M${x} ${y} V${middle(fetch)} H${start(fetch)}`;
          return <path key={`${number}-${fetch.number}`} className="plan-line" d={line} />;
        }),
      )}
      {fetches.map((fetch) => (
        <g key={fetch.number} className={`plan-bar plan-color-${subgraphs.indexOf(fetch.subgraph) % 6}`}>
          <text x={start(fetch) + 4} y={middle(fetch) - BAR}>
            {fetch.number}. {fetch.subgraph}
          </text>
          <rect
            className={
              fetch.failure ? 'plan-failed' : fetch.sentAtMs === undefined ? 'plan-unsent' : undefined
            }
            x={start(fetch)}
            y={middle(fetch) - BAR / 2}
            width={length(fetch)}
            height={BAR}
            rx={2}
          />
          <text x={start(fetch) + length(fetch) + 4} y={middle(fetch) + 4}>
            {outcome(fetch)}
          </text>
        </g>
      ))}
    </svg>
  );
}

function summary(fetch: PlannedFetch): string {
  const after = fetch.after.length > 0 ? `, after ${fetch.after.join(' and ')}` : '';
  return `${fetch.number}. ${fetch.subgraph}${after}: ${outcome(fetch)}, ${fetch.bytes} bytes`;
}

function outcome(fetch: PlannedFetch): string {
  if (fetch.failure) return 'failed';
  return fetch.tookMs === undefined ? 'not needed' : time(fetch.tookMs);
}

function time(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function formatted(operation: string): string {
  try {
    return print(parse(operation));
  } catch {
    return operation;
  }
}
