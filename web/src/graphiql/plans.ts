// Asks the gateway for the plan of each operation, and keeps the last one for the plan's tab. The response
// pane shows the answer without it.

import { fetchAuthorized } from './authorization';

export interface PlannedFetch {
  number: number;
  subgraph: string;
  /** The fetches that it waits for. */
  after: number[];
  operation: string;
  /** Where the objects are that it completes, and what of them it sends. */
  entities?: { paths: string[]; by: string }[];
  /** From the start of the execution; absent where it was not needed. */
  sentAtMs?: number;
  tookMs?: number;
  /** Of its answer. */
  bytes: number;
  failure?: string;
}

export interface QueryPlan {
  milliseconds: number;
  fetches: PlannedFetch[];
}

interface Answer {
  extensions?: { queryPlan?: QueryPlan; [name: string]: unknown };
}

let last: QueryPlan | null = null;
const listeners = new Set<() => void>();

export function lastPlan(): QueryPlan | null {
  return last;
}

/** Calls `listener` at each new plan, until the function that it returns is called. */
export function onPlan(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** `fetch` for GraphiQL's queries and mutations. */
export async function fetchWithPlan(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const headers = new Headers(init?.headers);
  headers.set('rejoinder-query-plan', 'include');
  const response = await fetchAuthorized(input, { ...init, headers });
  if (!/json/.test(response.headers.get('content-type') ?? '')) return response;
  const text = await response.text();
  const { status, statusText } = response;
  return new Response(withoutPlan(text), { status, statusText, headers: response.headers });
}

function withoutPlan(text: string): string {
  const answer = parsed(text);
  const plan = answer?.extensions?.queryPlan;
  if (!answer || !plan) return text;
  // What GraphiQL asks of the schema needs no fetch, and is not what was run last.
  if (plan.fetches.length > 0) {
    last = plan;
    for (const listener of listeners) listener();
  }
  const extensions = { ...answer.extensions };
  delete extensions.queryPlan;
  return JSON.stringify({
    ...answer,
    extensions: Object.keys(extensions).length > 0 ? extensions : undefined,
  });
}

function parsed(text: string): Answer | null {
  try {
    return JSON.parse(text) as Answer | null;
  } catch {
    return null;
  }
}
