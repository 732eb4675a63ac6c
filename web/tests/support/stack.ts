// A stack to test against: a running one at BASE_URL, or one of its own on a throwaway folder.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM =
  process.env.STACK ??
  join(process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, '../../../target'), 'debug/stack');
/** Fetching a mongod, the first time on a machine, takes the longest. */
const READY_WITHIN_MS = 180_000;

/** Options of a stack in which nobody signs in, so that everybody may change everything. */
export const OPEN_TO_ALL = ['--no-issuer'];

/** Settings of a stack whose pages come empty: a test sees how they load by themselves. */
export const PLAIN = { PAGES_URL: '' };
/** A slow machine gets rendered pages, too. */
const PATIENT = { RENDER_TIMEOUT: '50s', PAGES_TIMEOUT: '55s' };

type Service = 'posts' | 'comments' | 'gateway' | 'pages';

export interface Stack {
  /** The gateway's address, with a slash at the end. */
  url: string;
  /** Kills a service, the hard way if nothing else is said; the stack starts it again. False where that
   *  cannot be done. */
  kill(service: Service, signal?: NodeJS.Signals): Promise<boolean>;
  /** The GraphQL address of a subgraph; undefined where that cannot be found. */
  subgraph(service: 'posts' | 'comments'): Promise<string | undefined>;
  /** A setting with which the stack runs a service; undefined where that cannot be found. */
  setting(service: Service, name: string): Promise<string | undefined>;
  stop(): Promise<void>;
}

/** `settings` and `options` are for a stack of its own. */
export async function startStack(
  settings: Record<string, string> = {},
  options: string[] = [],
): Promise<Stack> {
  const url = process.env.BASE_URL;
  if (url)
    return {
      url: new URL('/', url).href,
      kill: async () => false,
      subgraph: async () => undefined,
      setting: async () => undefined,
      stop: async () => {},
    };

  const folder = await mkdtemp(join(tmpdir(), 'rejoinder-web-'));
  const child = spawn(PROGRAM, ['--port', '0', '--data-dir', folder, ...options], {
    env: { ...process.env, ...PATIENT, ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return {
    url: await readyUrl(child),
    kill: async (service, signal = 'SIGKILL') => {
      process.kill(await pidOf(child.pid ?? 0, service), signal);
      return true;
    },
    subgraph: (service) => settingOf(child.pid ?? 0, 'gateway', `SUBGRAPH_URL_${service.toUpperCase()}`),
    setting: (service, name) => settingOf(child.pid ?? 0, service, name),
    stop: async () => {
      const ended = once(child, 'exit');
      // It may have ended by itself, which would be its last word.
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGINT');
        await ended;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGINT');
      reject(new Error('the stack was not ready in time'));
    }, READY_WITHIN_MS);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the stack ended with code ${code} before it was ready`)));
    if (!child.stdout) throw new Error('the stack has no standard output');
    createInterface(child.stdout).on('line', (line) => {
      const url = /^ready: (\S+)/.exec(line)?.[1];
      if (url === undefined) return;
      clearTimeout(timer);
      resolve(url);
    });
  });
}

/** Services are children of the stack, called by their names. */
async function pidOf(stack: number, service: Service): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      const parent = /\) \S (\d+)/.exec(await readFile(`/proc/${pid}/stat`, 'utf8'))?.[1];
      const name = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')[0];
      if (Number(parent) === stack && name === service) return Number(pid);
    } catch {
      // It ended while it was looked at.
    }
  }
  throw new Error(`the stack runs no ${service}`);
}

async function settingOf(stack: number, service: Service, name: string): Promise<string | undefined> {
  const pid = await pidOf(stack, service);
  const settings = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
  return settings.find((setting) => setting.startsWith(`${name}=`))?.slice(name.length + 1);
}
