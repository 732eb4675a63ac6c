// The alert rules and the dashboard, against the metrics that the services have.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { parser } from '@prometheus-io/lezer-promql';
import WebSocket from 'ws';
import { parse as parseYaml } from 'yaml';

import { parseOpenMetrics } from '../src/stats/openMetrics';
import { type Stack, startStack } from './support/stack';
import { eventually } from './support/waiting';

const ROOT = join(import.meta.dirname, '../..');
/** Labels that a scraper adds, and what it says of a target. */
const FROM_THE_SCRAPER = { labels: ['job', 'instance'], metrics: ['up'] };

interface Rule {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: { summary: string; runbook: string };
}

let stack: Stack;
/** The labels of each metric, of all services. */
const known = new Map<string, Set<string>>();

before(async () => {
  stack = await startStack();
  await meetWhatIsCountedByLabels();
  for (const page of ['', '/posts', '/comments', '/pages']) {
    const text = await (await fetch(`${stack.url}metrics${page}`)).text();
    for (const { name, labels } of parseOpenMetrics(text)) {
      const all = known.get(name) ?? new Set();
      Object.keys(labels).forEach((label) => all.add(label));
      known.set(name, all);
    }
  }
});

after(() => stack?.stop());

/** A metric with labels has no series until something is counted: a refused request, a subgraph's error, a closed WebSocket, a page. */
async function meetWhatIsCountedByLabels(): Promise<void> {
  await fetch(`${stack.url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{' }),
  });
  // The comments subgraph refuses it.
  await fetch(`${stack.url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ comment(id: "none") { text } }' }),
  });
  const socket = new WebSocket(`${stack.url.replace('http', 'ws')}graphql`, 'graphql-transport-ws');
  await new Promise((resolve, reject) => {
    socket.on('open', () => socket.send('no message'));
    socket.on('close', resolve);
    socket.on('error', reject);
  });
  await fetch(stack.url, { headers: { accept: 'text/html' } });
  await eventually(async () => {
    const text = await (await fetch(`${stack.url}metrics/pages`)).text();
    assert.match(text, /^pages_answers_total\{/m);
  });
  // The figures of partitions are there once the projection knows of them.
  await eventually(async () => {
    const text = await (await fetch(`${stack.url}metrics/posts`)).text();
    assert.match(text, /^changefeed_projection_partition_leading\{/m);
  });
}

async function rules(): Promise<Rule[]> {
  const file = await readFile(join(ROOT, 'deploy/monitoring/alerts.yml'), 'utf8');
  return (parseYaml(file) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
}

/** What is wrong with a PromQL expression: it cannot be parsed, or names what no service has. */
function faultsOf(expression: string): string[] {
  const faults: string[] = [];
  const text = (from: number, to: number): string => expression.slice(from, to);
  const metrics: string[] = [];
  const labels: string[] = [];
  // What Grafana puts in.
  const query = expression.replaceAll('$__rate_interval', '300s'.padEnd('$__rate_interval'.length));
  parser.parse(query).iterate({
    enter: ({ type, from, to }) => {
      if (type.isError) faults.push(`cannot be parsed at ${from}`);
      if (type.name === 'Identifier') metrics.push(text(from, to));
      if (type.name === 'LabelName') labels.push(text(from, to));
    },
  });
  const unknown = metrics.filter((name) => !known.has(name) && !FROM_THE_SCRAPER.metrics.includes(name));
  faults.push(...unknown.map((name) => `no service has ${name}`));
  const their = new Set(metrics.flatMap((name) => [...(known.get(name) ?? [])]));
  const strange = labels.filter((label) => !their.has(label) && !FROM_THE_SCRAPER.labels.includes(label));
  faults.push(...strange.map((label) => `none of its metrics has the label ${label}`));
  if (metrics.length === 0) faults.push('names no metric');
  return faults;
}

test('a wrong expression is found', () => {
  assert.deepEqual(faultsOf('sum by (transport) (rate(gateway_requests_total[$__rate_interval]))'), []);
  assert.deepEqual(faultsOf('rate(gateway_request_total[5m])'), ['no service has gateway_request_total']);
  assert.deepEqual(faultsOf('sum by (way) (gateway_requests_total)'), [
    'none of its metrics has the label way',
  ]);
  assert.notDeepEqual(faultsOf('sum(gateway_requests_total'), []);
});

test('each alert is of metrics that exist, and has its section in the runbook', async () => {
  const alerts = await rules();
  for (const { alert, expr, annotations, labels } of alerts) {
    assert.deepEqual(faultsOf(expr), [], alert);
    assert.equal(annotations.runbook, `docs/runbook.md#${alert.toLowerCase()}`);
    assert.match(labels.severity, /^(critical|warning)$/);
  }
  const runbook = await readFile(join(ROOT, 'docs/runbook.md'), 'utf8');
  const sections = [...runbook.matchAll(/^## (.*)$/gm)].map(([, name]) => name);
  assert.deepEqual(
    sections,
    alerts.map(({ alert }) => alert),
    'the same alerts, in the same order',
  );
});

test('each plot of the dashboard is of metrics that exist', async () => {
  const file = await readFile(join(ROOT, 'deploy/monitoring/dashboards/rejoinder.json'), 'utf8');
  const dashboard = JSON.parse(file) as {
    panels: { title: string; targets?: { expr: string }[] }[];
  };
  for (const { title, targets = [] } of dashboard.panels)
    for (const { expr } of targets) assert.deepEqual(faultsOf(expr), [], `${title}: ${expr}`);
});
