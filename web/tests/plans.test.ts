// What GraphiQL's plan tab takes out of an answer.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { fetchWithPlan, lastPlan, onPlan } from '../src/graphiql/plans';

const realFetch = globalThis.fetch;

afterEach(() => {
  globalThis.fetch = realFetch;
});

/** The text of the answer that GraphiQL gets where the gateway answers with `body`. */
async function answered(body: string, contentType = 'application/json'): Promise<string> {
  globalThis.fetch = (_, init) => {
    assert.equal(new Headers(init?.headers).get('rejoinder-query-plan'), 'include');
    assert.equal(new Headers(init?.headers).get('x-own'), 'kept');
    return Promise.resolve(new Response(body, { status: 503, headers: { 'content-type': contentType } }));
  };
  const response = await fetchWithPlan('/graphql', { headers: { 'x-own': 'kept' } });
  assert.equal(response.status, 503);
  return response.text();
}

const fetches = [{ number: 1, subgraph: 'posts', after: [], operation: '{a}', bytes: 9 }];

test('a plan is kept, and the answer is shown without it', async () => {
  let calls = 0;
  const stop = onPlan(() => (calls += 1));
  const queryPlan = { milliseconds: 2, fetches };
  const shown = await answered(JSON.stringify({ data: { a: 1 }, extensions: { queryPlan } }));
  assert.equal(shown, '{"data":{"a":1}}');
  assert.deepEqual(lastPlan(), queryPlan);
  const cost = { estimated: 1 };
  const other = await answered(JSON.stringify({ data: null, extensions: { cost, queryPlan } }));
  assert.deepEqual(JSON.parse(other), { data: null, extensions: { cost } });
  assert.equal(calls, 2);
  stop();
});

test('what has no fetches is not the last plan', async () => {
  const before = lastPlan();
  const queryPlan = { milliseconds: 1, fetches: [] };
  const shown = await answered(JSON.stringify({ data: { __schema: {} }, extensions: { queryPlan } }));
  assert.equal(shown, '{"data":{"__schema":{}}}');
  assert.equal(lastPlan(), before);
});

test('anything else passes as it is', async () => {
  for (const body of ['{"data": {"a": 1}}', 'null', '{"data":', '[]']) {
    assert.equal(await answered(body), body);
  }
  const page = '{"extensions":{"queryPlan":{"fetches":[]}}}';
  assert.equal(await answered(page, 'text/plain'), page);
});
