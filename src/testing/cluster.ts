/** A whole cluster for integration tests, as a user has it: started by `./capstan up --detach` in a data directory of the test, killed or stopped, deleted at the end. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { liveLockHolder } from '#stdx/process-lock.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | undefined;
  /** Default 120 s; then the command is killed. */
  readonly timeoutMs?: number;
}

/** Runs a command to its end; never throws for its exit code. */
export function runCommand(command: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  return new Promise((done, reject) => {
    const child = spawn(command[0] ?? '', command.slice(1), {
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs ?? 120_000,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => done({ code, stdout, stderr }));
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });
}

export function capstan(words: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  return runCommand([CAPSTAN, ...words], options);
}

/** Waits until check() answers something else than undefined or false; a check that throws counts as not yet. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
  everyMs = 50,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const value = await check();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, everyMs));
  }
  throw new Error(`waited ${timeoutMs / 1000} s in vain for: ${what}`, { cause: last });
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts something on a free port: on another one when somebody else took it meanwhile. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(await freePort());
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === 5) throw error;
    }
  }
}

export interface TestCluster {
  readonly dir: string;
  readonly port: number;
  readonly kubeconfig: string;
  /** `capstan up --detach`; throws with its output when it fails. */
  up(): Promise<void>;
  down(): Promise<void>;
  /** SIGKILL to the program, at once. */
  kill(): Promise<void>;
  readonly pid: number | undefined;
  /** A client by the admin kubeconfig; the caller closes it. */
  client(): Promise<Client>;
  kubectl(words: readonly string[], options?: RunOptions): Promise<CommandResult>;
  /** `capstan delete --yes`; nothing when it is gone already. */
  delete(): Promise<void>;
}

interface TestClusterOptions {
  readonly runtime: 'cri' | 'simulated';
  readonly nodes?: number;
  /** Further ones of `capstan up`. */
  readonly flags?: readonly string[];
  /** Path of a kubectl. */
  readonly kubectl?: string;
}

export async function testCluster(options: TestClusterOptions): Promise<TestCluster> {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-e2e-'));
  const port = await freePort();
  const kubeconfig = join(dir, 'admin.kubeconfig');
  const lock = join(dir, 'run/lock');
  const must = async (words: readonly string[]): Promise<void> => {
    const result = await capstan([...words, '--data-dir', dir]);
    if (result.code !== 0)
      throw new Error(
        `capstan ${words.join(' ')} failed (${result.code}):\n${result.stdout}${result.stderr}\n${tail(join(dir, 'logs/capstan.log'))}`,
      );
  };
  return {
    dir,
    port,
    kubeconfig,
    get pid() {
      return liveLockHolder(lock)?.pid;
    },
    up: () =>
      must([
        'up',
        '--detach',
        '--https-port',
        String(port),
        '--runtime',
        options.runtime,
        ...(options.nodes === undefined ? [] : ['--nodes', String(options.nodes)]),
        ...(options.flags ?? []),
      ]),
    down: () => must(['down']),
    async kill() {
      const pid = liveLockHolder(lock)?.pid;
      if (pid === undefined) return;
      process.kill(pid, 'SIGKILL');
      await until('the killed program to be gone', () => liveLockHolder(lock) === undefined, 10_000);
    },
    async client() {
      return createClient(await createKubeconfigTransport({ path: kubeconfig }), {
        userAgent: 'capstan-test',
      });
    },
    kubectl: (words, more = {}) =>
      runCommand([options.kubectl ?? 'kubectl', '--kubeconfig', kubeconfig, ...words], more),
    async delete() {
      if (existsSync(dir)) await must(['delete', '--yes']);
    },
  };
}

function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(-20).join('\n');
  } catch {
    return '';
  }
}
