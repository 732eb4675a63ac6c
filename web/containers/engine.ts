// A container engine and the project that a walk starts with it: Docker with Docker Compose, or Podman with
// podman-compose.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { eventually } from '../tests/support/waiting';

const ROOT = join(import.meta.dirname, '../..');
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const HEALTH_EVERY_MS = 2_000;

/** The services that run on; `make-secrets` ends. */
export const SERVICES = ['mongo', 'posts', 'comments', 'gateway', 'pages'] as const;
export type Service = (typeof SERVICES)[number];

/** What is read of `inspect`. */
export interface Container {
  Id: string;
  Image: string;
  State: { Status: string; StartedAt: string; Health?: { Status: string } };
  Config: { User: string; Image: string };
  HostConfig: {
    ReadonlyRootfs: boolean;
    Memory: number;
    PidsLimit: number;
    LogConfig: { Type: string; Config: Record<string, string> | null };
  };
}

export class Engine {
  readonly isPodman: boolean;
  private readonly compose: string[];
  private isStopped = false;

  constructor(
    private readonly program: string,
    readonly project: string,
    /** What the compose file takes from the environment. */
    private readonly settings: Record<string, string>,
  ) {
    this.isPodman = basename(program).startsWith('podman');
    // Without a pod, whose containers nothing outside it may stand beside.
    const compose = this.isPodman ? 'podman-compose --in-pod=false' : `${program} compose`;
    // Without a .env of somebody's, which may stand beside the compose file.
    this.compose = [...compose.split(' '), '--env-file', '/dev/null', '-p', project];
    if (this.isPodman) void this.checkHealth();
  }

  /** Runs the engine, and gives what it wrote to standard output. */
  async run(...parameters: string[]): Promise<string> {
    return (await this.execute([this.program, ...parameters])).stdout.trim();
  }

  /** Runs Compose, with more settings than the project's where they are for one call. */
  async runCompose(parameters: string[], settings: Record<string, string> = {}): Promise<string> {
    return (await this.execute([...this.compose, ...parameters], settings)).stdout;
  }

  /** Starts what does not run yet, and what has other settings now, and waits until all of it is healthy. */
  async up(options: string[] = [], settings: Record<string, string> = {}): Promise<void> {
    if (this.isPodman) {
      // Before version 4.6 Podman does not wait for conditions.
      await this.runCompose(['up', '-d', ...options, 'mongo'], settings);
      await this.healthy('mongo');
    }
    await this.runCompose(['up', '-d', ...options], settings);
    await this.allHealthy();
  }

  /** Replaces the services one after the other, so that only one is away at a time. Podman 4 cannot. */
  async replace(settings: Record<string, string>): Promise<void> {
    if (this.isPodman) return this.up(['--no-build'], settings);
    for (const service of ['posts', 'comments', 'pages', 'gateway'] as const) {
      await this.runCompose(['up', '-d', '--no-build', '--no-deps', service], settings);
      await this.healthy(service);
    }
  }

  async container(service: Service): Promise<Container> {
    const id = await this.run('ps', '-aq', ...this.labels(service));
    assert.match(id, /^[0-9a-f]+$/, `${service} has one container`);
    const [container] = JSON.parse(await this.run('inspect', id)) as [Container];
    return container;
  }

  async healthy(service: Service): Promise<void> {
    await eventually(async () => {
      const { State: state } = await this.container(service);
      assert.equal(state.Status, 'running', service);
      assert.equal(state.Health?.Status, 'healthy', service);
    });
  }

  async allHealthy(): Promise<void> {
    for (const service of SERVICES) await this.healthy(service);
  }

  /** Runs a shell beside a service, with its network or its processes, as its user and without its files. */
  async beside(service: Service, share: 'network' | 'pid', script: string): Promise<string> {
    const { Id: id } = await this.container(service);
    // The image of the services has no shell.
    const { Image: image } = await this.container('mongo');
    const user = service === 'mongo' ? 'mongodb' : '10001';
    const options = ['run', '--rm', `--${share}`, `container:${id}`, '--user', user, '--cap-drop', 'ALL'];
    return this.run(...options, '--entrypoint', 'bash', image, '-c', script);
  }

  /** Kills a service's process: its container ends by that, and is started again. */
  async killProcess(service: Service): Promise<void> {
    const script = `for process in /proc/[0-9]*; do
      read -r name <$process/comm
      if [[ $name == ${service} ]]; then kill -KILL \${process#/proc/}; fi
    done`;
    await this.startsAgain(service, () => this.beside(service, 'pid', script));
  }

  /** Waits, after what is done, until the service's container runs for another time, and is healthy. */
  async startsAgain(service: Service, act: (container: Container) => Promise<unknown>): Promise<void> {
    const before = await this.container(service);
    await act(before);
    await eventually(async () => {
      const { Id: id, State: now } = await this.container(service);
      // Podman 4 does not follow a policy if the container depends on one that has ended, as `make-secrets` does.
      if (this.isPodman && now.Status !== 'running') await this.run('start', id);
      assert.notEqual(now.StartedAt, before.State.StartedAt, `${service} was started again`);
    });
    await this.healthy(service);
  }

  /** What a service's container has logged since it was created. */
  async logs(service: Service, options: string[] = []): Promise<string> {
    const { Id: id } = await this.container(service);
    const { stdout, stderr } = await this.execute([this.program, 'logs', ...options, id]);
    return stdout + stderr;
  }

  /** Removes everything that the project has. */
  async remove(): Promise<void> {
    this.isStopped = true;
    await this.runCompose(['down', '-v']);
    const filter = ['--filter', `label=com.docker.compose.project=${this.project}`];
    assert.equal(await this.run('ps', '-aq', ...filter), '', 'no container is left');
    assert.equal(await this.run('volume', 'ls', '-q', ...filter), '', 'no volume is left');
  }

  private labels(service: string): string[] {
    return ['project', 'service'].flatMap((kind) => {
      const value = kind === 'project' ? this.project : service;
      return ['--filter', `label=com.docker.compose.${kind}=${value}`];
    });
  }

  private async execute(command: string[], settings: Record<string, string> = {}) {
    const [program, ...parameters] = command;
    assert.ok(program, 'a command');
    return promisify(execFile)(program, parameters, {
      cwd: ROOT,
      env: { ...process.env, ...this.settings, ...settings },
      maxBuffer: OUTPUT_BYTES_MAX,
    });
  }

  /** Podman leaves its health checks to timers of systemd, which not every machine has. */
  private async checkHealth(): Promise<void> {
    while (!this.isStopped) {
      for (const service of SERVICES) {
        try {
          await this.run('healthcheck', 'run', (await this.container(service)).Id);
        } catch {
          // It does not run, or is not healthy yet.
        }
      }
      await sleep(HEALTH_EVERY_MS);
    }
  }
}
