// What docker-compose.yml promises, seen: `containers/try.sh`. Each step asserts what it says.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

import type { Browser } from 'playwright-core';

import {
  closePage,
  launchBrowser,
  openPage,
  waitForComments,
  waitForState,
  waitForTitle,
} from '../tests/support/browser';
import { Graph } from '../tests/support/graph';
import { eventually } from '../tests/support/waiting';
import { Engine, SERVICES } from './engine';
import { Follower } from './follower';

/** The settings' names are those of the compose file. */
const [port, operationsPort] = await Promise.all([freePort(), freePort()]);
const url = `http://127.0.0.1:${port}/`;
const operations = `http://127.0.0.1:${operationsPort}/`;
const project = `rejoinder-try-${process.pid}`;
const image = process.env.REJOINDER_IMAGE;

const engine = new Engine(process.env.ENGINE ?? 'docker', project, {
  PUBLISHED_PORT: String(port),
  PUBLISHED_OPERATIONS_PORT: String(operationsPort),
  REJOINDER_IMAGE: image ?? 'rejoinder',
});
const graph = new Graph(url);
const begun = Date.now();

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void engine.remove().finally(() => process.exit(1)));

let browser: Browser | undefined;
let follower: Follower | undefined;
try {
  await step('everything starts from nothing', async () => {
    if (image === undefined) await engine.runCompose(['build']);
    await engine.up(['--no-build']);
    await gatewayIsReady();
  });
  browser = await launchBrowser();
  await step('containers run without rights', containersAreConfined);
  await step('secrets are where they are needed, and nowhere else', secretsAreKept);
  await step('the gateway does not reach the database, and nobody passes it', networksAreApart);
  await step('two windows show what one of them writes', pagesAreLive);
  await step('pages are there without JavaScript, too', pagesAreRendered);
  await step('metrics and statistics', metricsAreServed);
  await step('a WebSocket receives what a mutation writes', async () => {
    follower = await Follower.begin(graph);
  });
  for (const service of ['posts', 'comments', 'gateway', 'pages'] as const)
    await step(`${service} is killed, and started again`, () => during(() => engine.killProcess(service)));
  await step('MongoDB is restarted', () =>
    during(() =>
      engine.startsAgain('mongo', async ({ Id: id }) => {
        // Podman's `restart` refuses a container that depends on one that has ended.
        await engine.run('stop', id);
        await engine.run('start', id);
      }),
    ),
  );
  await step('MongoDB is killed', () =>
    during(() =>
      engine.startsAgain('mongo', async ({ Id: id }) => {
        await engine.run('kill', '--signal', 'KILL', id);
        // An engine does not start again what was killed by its own command.
        await engine.up(['--no-build']);
      }),
    ),
  );
  await step('GraphiQL in development', graphiqlWorks);
  await step('another image takes the place of this one', imageIsReplaced);
  await step('no log has a secret', logsAreClean);
  await step('both secrets are replaced', secretsAreReplaced);
  await step('down and up again', () =>
    during(async () => {
      await engine.runCompose(['down']);
      await engine.up(['--no-build']);
    }),
  );
  console.log(`${follower?.count} comments arrived, each once and in order. ${await usage()}`);
} catch (error) {
  for (const service of SERVICES)
    console.log(
      `--- ${service}\n${await engine.logs(service, ['--tail', '10']).catch((reason) => String(reason))}`,
    );
  console.log(error);
  process.exitCode = 1;
} finally {
  follower?.stop();
  await browser?.close();
  if (process.env.KEEP === 'true') console.log(`${url} is left running: project ${project}`);
  else await step('nothing is left behind', () => engine.remove());
}

async function step(name: string, act: () => Promise<unknown>): Promise<void> {
  const stepBegun = Date.now();
  const told = await act();
  const seconds = (since: number) => ((Date.now() - since) / 1_000).toFixed(1);
  const detail = typeof told === 'string' ? `: ${told}` : '';
  console.log(`ok ${name}${detail} (${seconds(stepBegun)} s, ${seconds(begun)} s in all)`);
}

/** Writes all the while, under the eyes of the follower. */
async function during(act: () => Promise<unknown>): Promise<string> {
  assert.ok(follower, 'somebody follows');
  const longest = await follower.during(act);
  return `a write took ${(longest / 1_000).toFixed(1)} s at most`;
}

async function containersAreConfined(): Promise<void> {
  for (const service of SERVICES) {
    const { HostConfig: config } = await engine.container(service);
    assert.ok(config.ReadonlyRootfs, `${service} cannot write to its files`);
    assert.ok(config.Memory > 0, `${service} has a limit of memory`);
    assert.ok(config.PidsLimit > 0, `${service} has a limit of processes`);
    assert.ok(config.LogConfig.Config?.['max-size'] ?? engine.isPodman, `the log of ${service} has a limit`);
    // What the kernel says, of each process in the container.
    const statuses = await engine.beside(service, 'pid', 'cat /proc/[0-9]*/status');
    const facts = (name: string) => new Set(statuses.match(new RegExp(`^${name}:.*$`, 'gm')));
    const user = service === 'mongo' ? 999 : 10001;
    assert.deepEqual(facts('Uid'), new Set([`Uid:\t${user}\t${user}\t${user}\t${user}`]), service);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
      assert.deepEqual(facts(set), new Set([`${set}:\t0000000000000000`]), service);
  }
}

async function secretsAreKept(): Promise<void> {
  for (const [volume, names] of [
    ['gateway-secret', ['subgraph-secret']],
    ['database-secret', ['mongo-uri', 'password']],
  ] as const)
    assert.deepEqual(
      await listOf(volume),
      names.map((name) => `0 644 ${name}`),
      volume,
    );
  assert.match(await inMongo('stat -c "%u %a" /data/db/admin-password'), /^999 600$/m);
  const values = await allSecrets();
  for (const [service, mounts] of [
    ['mongo', ['/run/secrets/database']],
    ['posts', ['/run/secrets/database', '/run/secrets/gateway']],
    ['comments', ['/run/secrets/database', '/run/secrets/gateway']],
    ['gateway', ['/run/secrets/gateway']],
    ['pages', []],
  ] as const) {
    const { Id: id } = await engine.container(service);
    const all = JSON.parse(await engine.run('inspect', '--format', '{{json .Mounts}}', id)) as Mount[];
    const secrets = all.filter(({ Destination: path }) => path.startsWith('/run/secrets'));
    assert.deepEqual(secrets.map(({ Destination: path }) => path).sort(), mounts, service);
    assert.ok(!secrets.some(({ RW: isWritable }) => isWritable), `${service} cannot change its secrets`);
    const described = JSON.stringify(await engine.container(service));
    for (const value of values) assert.ok(!described.includes(value), `${service} shows a secret`);
  }
}

interface Mount {
  Destination: string;
  RW: boolean;
}

async function networksAreApart(): Promise<void> {
  const resolves = (name: string) => `getent hosts ${name} >/dev/null && echo yes || echo no`;
  assert.equal(await engine.beside('gateway', 'network', resolves('posts')), 'yes');
  assert.equal(await engine.beside('gateway', 'network', resolves('mongo')), 'no');
  assert.equal(await engine.beside('pages', 'network', resolves('mongo')), 'no');
  const body = JSON.stringify({ query: '{ __typename }' });
  const request = [
    'POST /graphql HTTP/1.1',
    'host: posts',
    'content-type: application/json',
    `content-length: ${body.length}`,
    'connection: close',
    '',
    body,
  ].join('\\r\\n');
  const ask = `exec 3<>/dev/tcp/posts/4001 && printf '${request}' >&3 && head -n 1 <&3`;
  assert.match(await engine.beside('gateway', 'network', ask), / 40[13] /, 'an unsigned request is refused');
  const refused = await inMongo(
    "mongosh --quiet --norc rejoinder --eval 'try { db.posts.findOne() } catch (error) { print(error.codeName) }'",
  );
  assert.match(refused, /Unauthorized/, 'the database wants a login');
  const update = 'mutation ($input: UpdateCommentInput!) { updateComment(input: $input) { comment { id } } }';
  const comment = await graph.createComment(await graph.createPost('A guest’s'), 'As it was');
  const change = graph.run(update, { input: { id: comment, text: 'Changed' } });
  await assert.rejects(change, /UNAUTHENTICATED/, 'guests change nothing');
}

async function pagesAreLive(): Promise<void> {
  assert.ok(browser, 'a browser');
  const post = await graph.createPost('Two windows');
  const [writer, reader] = await Promise.all([
    openPage(browser, `${url}posts/${post}`),
    openPage(browser, `${url}posts/${post}`),
  ]);
  await Promise.all([waitForState(writer, 'Live'), waitForState(reader, 'Live')]);
  await writer.getByLabel('Your comment').fill('Seen in both');
  await writer.getByRole('button', { name: 'Comment', exact: true }).click();
  for (const page of [writer, reader]) await waitForComments(page, ['Seen in both']);
  await Promise.all([closePage(writer), closePage(reader)]);
}

async function pagesAreRendered(): Promise<void> {
  assert.ok(browser, 'a browser');
  const post = await graph.createPost('Without a script');
  await graph.createComment(post, 'Rendered');
  const page = await openPage(browser, `${url}posts/${post}`, { javaScriptEnabled: false });
  await waitForTitle(page, /Without a script/);
  await waitForComments(page, ['Rendered']);
  await closePage(page);
  for (const path of ['feed.atom', `posts/${post}/feed.atom`, 'robots.txt', 'sitemap.xml'])
    assert.equal((await fetch(url + path)).status, 200, path);
}

async function metricsAreServed(): Promise<void> {
  for (const path of ['metrics', 'metrics/posts', 'metrics/comments', 'metrics/pages']) {
    const response = await fetch(operations + path);
    assert.equal(response.status, 200, path);
    assert.match(await response.text(), /^# TYPE process_/m, path);
  }
  assert.equal((await fetch(`${url}metrics`)).status, 404, 'they are not on the port for everybody');
  assert.ok(browser, 'a browser');
  const page = await openPage(browser, `${operations}stats.html`);
  await page.locator('.plot').first().locator('polyline').first().waitFor({ state: 'attached' });
  await closePage(page);
}

async function graphiqlWorks(): Promise<string> {
  const introspect = () => graph.run('{ __schema { queryType { name } } }');
  await assert.rejects(introspect(), 'no introspection outside development');
  const told = await during(async () => {
    await engine.up(['--no-build'], { DEVELOPMENT: 'true' });
    await eventually(introspect);
    assert.ok(browser, 'a browser');
    const query = encodeURIComponent('{ posts(first: 1) { edges { node { __typename } } } }');
    const page = await openPage(browser, `${url}graphql?query=${query}`);
    await page.locator('.graphiql-query-editor .view-line', { hasText: 'posts' }).first().waitFor();
    for (const editor of ['.graphiql-query-editor', '.graphiql-editor-tool', '.result-window'])
      await page.locator(`${editor} .monaco-editor`).first().waitFor({ state: 'attached' });
    await page.getByRole('button', { name: /^Execute query/ }).click();
    await page.locator('.result-window', { hasText: '"Post"' }).waitFor();
    await closePage(page);
    await engine.up(['--no-build']);
    await gatewayIsReady();
  });
  await assert.rejects(introspect(), 'it is off again');
  return told;
}

async function imageIsReplaced(): Promise<string> {
  const { Config: config } = await engine.container('posts');
  const next = `${project}:next`;
  await engine.run('tag', config.Image, next);
  try {
    const told = await during(() => engine.replace({ REJOINDER_IMAGE: next }));
    for (const service of ['posts', 'comments', 'gateway', 'pages'] as const)
      assert.match((await engine.container(service)).Config.Image, new RegExp(next), service);
    const back = await during(() => engine.up(['--no-build']));
    return `one service after the other, ${told}; and back, all at once, ${back}`;
  } finally {
    await engine.run('rmi', next);
  }
}

async function secretsAreReplaced(): Promise<string> {
  const before = await allSecrets();
  const told = await during(async () => {
    for (const path of ['database/password', 'gateway/subgraph-secret'])
      await engine.runCompose([
        'run',
        '--rm',
        '--no-deps',
        '--entrypoint',
        'rm',
        'make-secrets',
        `/secrets/${path}`,
      ]);
    await engine.up(['--no-build', '--force-recreate']);
    await gatewayIsReady();
  });
  const after = await allSecrets();
  assert.equal(new Set([...before, ...after]).size, 4, 'both are new');
  return told;
}

async function logsAreClean(): Promise<void> {
  const secrets = await allSecrets();
  for (const service of SERVICES) {
    const log = await engine.logs(service);
    for (const secret of secrets) assert.ok(!log.includes(secret), `the log of ${service} has a secret`);
  }
}

/** The owners, modes and names of what is in a volume. */
async function listOf(volume: string): Promise<string[]> {
  const script = 'cd /volume && stat -c "%u %a %n" *';
  return (await inVolume(volume, script)).split('\n');
}

/** The database's password and the gateway's secret. */
async function allSecrets(): Promise<string[]> {
  return Promise.all([
    inVolume('database-secret', 'cat /volume/password'),
    inVolume('gateway-secret', 'cat /volume/subgraph-secret'),
  ]);
}

async function inVolume(volume: string, script: string): Promise<string> {
  const { Image: shell } = await engine.container('mongo');
  const mount = `${project}_${volume}:/volume:ro`;
  return engine.run(
    'run',
    '--rm',
    '--network',
    'none',
    '-v',
    mount,
    '--entrypoint',
    'bash',
    shell,
    '-c',
    script,
  );
}

async function inMongo(script: string): Promise<string> {
  return engine.run('exec', (await engine.container('mongo')).Id, 'bash', '-c', script);
}

async function usage(): Promise<string> {
  const all = await Promise.all(
    SERVICES.map(async (service) => {
      const { Id: id } = await engine.container(service);
      const used = await engine.run('stats', '--no-stream', '--format', '{{.MemUsage}}', id);
      return `${service} ${used.split(' ')[0]}`;
    }),
  );
  return `Memory: ${all.join(', ')}.`;
}

/** It is healthy a moment before Docker looks again. */
function gatewayIsReady(): Promise<void> {
  return eventually(async () => assert.equal((await fetch(`${url}health/ready`)).status, 200));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: free } = server.address() as AddressInfo;
  server.close();
  return free;
}
