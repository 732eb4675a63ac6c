// What first visits cost, as Lighthouse would say it: `npm run vitals`, after `npm run build` and `cargo build`. It
// starts a stack of its own (or uses BASE_URL), fills it, and prints a table in Markdown. Run it with nothing beside it.

import type { Browser } from 'playwright-core';

import { launchBrowser } from '../tests/support/browser';
import { Graph } from '../tests/support/graph';
import { startStack } from '../tests/support/stack';
import { textKinds } from '../tests/support/texts';
import {
  bytesOf,
  DESKTOP_VISITOR,
  fill,
  fillLongest,
  measureVisit,
  PHONE_VISITOR,
  SLOW_NETWORK_VISITOR,
  type Visitor,
  type Vitals,
} from '../tests/support/vitals';

/** The median of so many visits; one before them meets services that have not answered before. */
const VISITS = 5;

const stack = await startStack();
const browser = await launchBrowser();
try {
  const post = await fill(new Graph(stack.url));
  const pages = [
    { name: 'list', url: stack.url, selector: '.posts li', ready: '.badge[data-state="live"]' },
    {
      name: 'post',
      url: `${stack.url}posts/${post}`,
      selector: '.comment',
      ready: '.badge[data-state="live"]',
    },
    { name: 'GraphiQL', url: `${stack.url}graphql`, selector: '.graphiql-container', ready: '.view-lines' },
  ];
  console.log(
    '| page | visitor | shown | first paint | largest paint | layout shift | blocked | compressed, by kind |',
  );
  console.log('|---|---|---:|---:|---:|---:|---:|---|');
  for (const { name, url, selector, ready } of pages)
    for (const visitor of [DESKTOP_VISITOR, SLOW_NETWORK_VISITOR, PHONE_VISITOR])
      console.log(
        `| ${name} | ${visitor.name} | ${row(await visits(browser, url, visitor, selector, ready))} |`,
      );
  console.log('\n| longest texts | page | compressed, by kind |');
  console.log('|---|---|---|');
  for (const [kind, write] of textKinds()) {
    const { newest } = await fillLongest(new Graph(stack.url), write);
    for (const [name, path, selector] of [
      ['list', '', '.posts li'],
      ['post', `posts/${newest}`, '.comment'],
    ] as const) {
      const ready = '.badge[data-state="live"]';
      const visit = await measureVisit(browser, stack.url + path, DESKTOP_VISITOR, selector, ready);
      console.log(`| ${kind} | ${name} | ${weight(visit)} |`);
    }
  }
} finally {
  await browser.close();
  await stack.stop();
}

async function visits(
  browser: Browser,
  url: string,
  visitor: Visitor,
  selector: string,
  ready: string,
): Promise<Vitals[]> {
  await measureVisit(browser, url, visitor, selector, ready);
  const measured: Vitals[] = [];
  for (let visit = 1; visit <= VISITS; visit++)
    measured.push(await measureVisit(browser, url, visitor, selector, ready));
  return measured;
}

function row(visits: readonly Vitals[]): string {
  const median = (of: (vitals: Vitals) => number) =>
    visits.map(of).sort((one, other) => one - other)[Math.floor(visits.length / 2)] ?? 0;
  const seconds = (of: (vitals: Vitals) => number) => `${(median(of) / 1_000).toFixed(2)} s`;
  return [
    seconds((it) => it.shownMs),
    seconds((it) => it.firstContentfulPaintMs),
    seconds((it) => it.largestContentfulPaintMs),
    median((it) => it.layoutShift).toFixed(3),
    `${median((it) => it.blockingMs).toFixed(0)} ms`,
    visits.slice(-1).map(weight).join(),
  ].join(' | ');
}

function weight(visit: Vitals): string {
  const kinds = [...visit.bytes]
    .sort(([, one], [, other]) => other - one)
    .map(([kind, each]) => `${kind} ${(each / 1_000).toFixed(1)}`);
  return `${(bytesOf(visit) / 1_000).toFixed(1)} kB: ${kinds.join(', ')}`;
}
