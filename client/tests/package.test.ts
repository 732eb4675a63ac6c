// The package as npm makes it: what is in it, its types in each module resolution, and its entries in Node.js without
// peers that nobody asked for.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

const CLIENT = join(import.meta.dirname, '..');
/** What each entry needs beside itself. */
const PEERS: Record<string, string[]> = {
  'rejoinder-client': [],
  'rejoinder-client/collection': [],
  'rejoinder-client/graphql-ws': ['graphql-ws', 'graphql'],
  'rejoinder-client/sse': [],
  'rejoinder-client/apollo': [
    '@apollo/client',
    'graphql',
    'rxjs',
    '@wry',
    'optimism',
    'tslib',
    'graphql-tag',
    '@graphql-typed-document-node',
  ],
  'rejoinder-client/urql': ['@urql/core', 'wonka', '@0no-co'],
};
/** An import by somebody who uses the types. */
const CONSUMER = `
import { ApolloClient, InMemoryCache } from '@apollo/client';
import { Client } from '@urql/core';
import { createClient } from 'graphql-ws';
import { resumingLink } from 'rejoinder-client/apollo';
import { collection, type Snapshot } from 'rejoinder-client/collection';
import { graphqlWs } from 'rejoinder-client/graphql-ws';
import { eventSource, fetchEvents } from 'rejoinder-client/sse';
const other = fetchEvents(new URL('http://localhost/graphql'), { fetch, headers: new Headers(), credentials: 'include' });
export const all = [other, eventSource('/graphql', { EventSource }), sessionStore('cursors', localStorage)];
import { resumingExchange } from 'rejoinder-client/urql';
import { type CursorStore, sessionStore, subscribe, type SubscriptionFailure } from 'rejoinder-client';

const transport = graphqlWs(createClient({ url: 'ws://localhost/graphql' }));
export const apollo = new ApolloClient({ link: resumingLink(transport), cache: new InMemoryCache() });
export const urql = new Client({ url: '/graphql', preferGetMethod: false, exchanges: [resumingExchange(transport)] });
const store: CursorStore = { get: async () => null, set: async () => {} };
interface Data { ticks: { number: number } }
export const stop: () => void = subscribe<Data>(
  eventSource('/graphql'),
  { query: 'subscription { ticks { number } }' },
  {
    next({ data }) {
      const number: number | undefined = data?.ticks.number;
      // @ts-expect-error: it is a number
      const text: string | undefined = data?.ticks.number;
      console.log(number, text);
    },
    gap: ({ isFirst }) => console.log(isFirst),
    error: (failure: SubscriptionFailure) => console.log(failure.code),
  },
  { store, key: 'ticks', after: undefined },
);
export const comments = collection<{ id: string }, Data>({
  follow: (listener, after) =>
    subscribe(fetchEvents('/graphql'), { query: '' }, listener, { after, store: sessionStore() }),
  read: async () => ({ items: [] }),
  changeOf: ({ ticks }) => ({ put: { id: String(ticks.number) } }),
});
export const shown: Snapshot<{ id: string }> = comments.getSnapshot();
// @ts-expect-error: there is no such option
export const wrong = resumingLink(transport, { nothing: true });
`;

/** An import by somebody who has no types of browsers, and checks those of packages. */
const WITHOUT_BROWSER = `
import { collection } from 'rejoinder-client/collection';
import { eventSource, fetchEvents } from 'rejoinder-client/sse';
import { sessionStore, subscribe } from 'rejoinder-client';
class Source { addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => void) {} close() {} }
export const transport = eventSource({ href: 'http://localhost/graphql' }, { EventSource: Source });
const store = sessionStore('cursors', { getItem: () => null, setItem() {} });
const headers = async () => ({ authorization: 'Bearer x' });
subscribe(fetchEvents('/graphql', { headers }), { query: '' }, { next() {}, gap: async () => {} }, { store });
export { collection };
`;

let folder: string;
let files: string[];
const run = promisify(execFile);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rejoinder-client-'));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: CLIENT });
  // The build's own words come first.
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as {
    filename: string;
    files: { path: string }[];
  }[];
  files = packed?.files.map(({ path }) => path) ?? [];
  await run('tar', ['-xf', join(folder, packed?.filename ?? '')], { cwd: folder });
});

after(() => rm(folder, { recursive: true }));

/** A folder in which somebody installed the package, and some of the packages that are installed here. */
async function installed(name: string, peers: string[]): Promise<string> {
  const modules = join(folder, name, 'node_modules');
  await mkdir(modules, { recursive: true });
  await run('cp', ['-r', join(folder, 'package'), join(modules, 'rejoinder-client')]);
  for (const peer of peers) {
    await mkdir(join(modules, peer, '..'), { recursive: true });
    // Copied, so that they find no others.
    await run('cp', ['-r', join(CLIENT, 'node_modules', peer), join(modules, peer)]);
  }
  await writeFile(join(folder, name, 'package.json'), '{"type":"module"}');
  return join(folder, name);
}

test('it has its code, its types, its README and its licences, and no dependencies', async () => {
  assert.ok(
    files.every((path) =>
      /^(dist\/\w+\.(js|d\.ts)|package\.json|README\.md|LICENSE-(MIT|APACHE))$/.test(path),
    ),
    String(files),
  );
  for (const path of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'dist/index.js', 'dist/index.d.ts'])
    assert.ok(files.includes(path), path);
  const manifest = JSON.parse(await readFile(join(folder, 'package/package.json'), 'utf8')) as {
    dependencies?: object;
    exports: Record<string, { types: string; default: string } | string>;
    peerDependencies: object;
    peerDependenciesMeta: object;
  };
  assert.equal(manifest.dependencies, undefined);
  assert.deepEqual(Object.keys(manifest.peerDependenciesMeta), Object.keys(manifest.peerDependencies));
  const entries = Object.values(manifest.exports).flatMap((entry) =>
    typeof entry === 'string' ? entry : [entry.types, entry.default],
  );
  for (const entry of entries) assert.ok(files.includes(entry.slice(2)), entry);
});

for (const [entry, peers] of Object.entries(PEERS))
  test(`${entry} can be imported with no more than it needs`, async () => {
    const project = await installed(entry.replace('/', '-'), peers);
    const program = `const all = await import(${JSON.stringify(entry)}); console.log(Object.keys(all).length > 0)`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: project });
    assert.equal(stdout, 'true\n');
  });

test('its types are right in each module resolution', async () => {
  const project = await installed('types', []);
  const modules = join(project, 'node_modules');
  for (const peer of [...new Set(Object.values(PEERS).flat()), '@types', 'undici-types']) {
    await mkdir(join(modules, peer, '..'), { recursive: true });
    await symlink(join(CLIENT, 'node_modules', peer), join(modules, peer));
  }
  await writeFile(join(project, 'consumer.ts'), CONSUMER);
  const tsc = join(CLIENT, 'node_modules/typescript/bin/tsc');
  const resolutions = [
    ['ESNext', 'Bundler'],
    ['Node16', 'Node16'],
    ['NodeNext', 'NodeNext'],
  ] as const;
  await Promise.all(
    resolutions.map(async ([module, moduleResolution]) => {
      const compilerOptions = {
        ...{ module, moduleResolution, strict: true, exactOptionalPropertyTypes: true, noEmit: true },
        ...{ target: 'ES2022', lib: ['ES2022', 'DOM', 'DOM.Iterable'], types: [] },
      };
      const file = `tsconfig.${moduleResolution}.json`;
      await writeFile(join(project, file), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
      const ran = await run(process.execPath, [tsc, '-p', file], { cwd: project }).catch(
        ({ stdout }: { stdout: string }) => ({ stdout }),
      );
      // Other packages have faults of their own. The lines after the first of an error begin with spaces.
      const faults = ran.stdout.split('\n').filter((line) => /^\S/.test(line));
      const ours = faults.filter((line) => !/node_modules\/(?!rejoinder-client)/.test(line));
      assert.deepEqual(ours, [], moduleResolution);
    }),
  );
});

test('its types need none of a browser, nor of Node.js', async () => {
  const project = await installed('without-browser', []);
  await writeFile(join(project, 'consumer.ts'), WITHOUT_BROWSER);
  const tsc = join(CLIENT, 'node_modules/typescript/bin/tsc');
  const compilerOptions = {
    ...{ module: 'NodeNext', moduleResolution: 'NodeNext', strict: true, noEmit: true },
    ...{ target: 'ES2022', lib: ['ES2022'], types: [], skipLibCheck: false },
  };
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['consumer.ts'] }),
  );
  const ran = await run(process.execPath, [tsc, '-p', project], { cwd: project }).catch(
    ({ stdout }: { stdout: string }) => ({ stdout }),
  );
  assert.equal(ran.stdout, '');
});
