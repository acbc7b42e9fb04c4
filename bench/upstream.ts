/** Upstream's API server and etcd, from binaries the reader has at hand, as bench/apiserver.ts loads them beside Capstan's: on loopback, over TLS, with the same users. */
import { spawn, type ChildProcess } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { TOKENS, freePort } from './shared.ts';

interface UpstreamOptions {
  /** Holds kube-apiserver and etcd. */
  readonly binaries: string;
  readonly dir: string;
  readonly cert: string;
  readonly key: string;
}

export interface Usage {
  readonly cpuMicroseconds: number;
  readonly longestDelayMs: number;
}

const POLL_MS = 50,
  START_MS = 60_000;

export class Upstream {
  readonly ready: Promise<{ readonly port: number; readonly startMs: number; readonly etcd: string }>;
  readonly #processes: ChildProcess[] = [];
  readonly #options: UpstreamOptions;
  #lastCpu = 0;
  #lastEtcdCpu = 0;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true });
    this.ready = this.#start();
    this.ready.catch(() => {});
  }

  async #start(): Promise<{ port: number; startMs: number; etcd: string }> {
    const { dir, cert, key } = this.#options;
    const files = {
      cert: join(dir, 'tls.crt'),
      key: join(dir, 'tls.key'),
      accounts: join(dir, 'sa.key'),
      tokens: join(dir, 'tokens.csv'),
    };
    const [client, peer, port] = [await freePort(), await freePort(), await freePort()];
    writeFileSync(files.cert, cert);
    writeFileSync(files.key, key);
    writeFileSync(
      files.accounts,
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    );
    writeFileSync(files.tokens, TOKENS);
    const startedMs = performance.now();
    this.#run('etcd', [
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${client}`,
      `--advertise-client-urls=http://127.0.0.1:${client}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      '--log-level=error',
    ]);
    this.#run('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${client}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      `--tls-cert-file=${files.cert}`,
      `--tls-private-key-file=${files.key}`,
      `--token-auth-file=${files.tokens}`,
      '--authorization-mode=Node,RBAC',
      '--service-cluster-ip-range=10.96.0.0/16',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${files.accounts}`,
      `--service-account-signing-key-file=${files.accounts}`,
      '--enable-bootstrap-token-auth',
      '--enable-admission-plugins=NodeRestriction',
      `--cert-dir=${join(dir, 'certs')}`,
    ]);
    while (!(await isReady(port))) {
      if (performance.now() - startedMs > START_MS)
        throw new Error(
          `upstream's API server is not ready after ${START_MS / 1000} s; see ${dir}/kube-apiserver.log`,
        );
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return { port, startMs: performance.now() - startedMs, etcd: `http://127.0.0.1:${client}` };
  }

  #run(name: string, args: readonly string[]): void {
    const log = openSync(join(this.#options.dir, `${name}.log`), 'w');
    this.#processes.push(spawn(join(this.#options.binaries, name), args, { stdio: ['ignore', log, log] }));
  }

  async memory(): Promise<string> {
    await this.ready;
    const [etcd, server] = this.#processes.map(({ pid }) =>
      Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024),
    );
    return `resident ${server} MB, etcd ${etcd} MB`;
  }

  /** Microseconds of etcd alone, since the last call. */
  etcdUsage(): number {
    const cpu = cpuOf(this.#processes[0]!),
      since = cpu - this.#lastEtcdCpu;
    this.#lastEtcdCpu = cpu;
    return since;
  }

  /** Of both processes, since the last call. */
  async usage(): Promise<Usage> {
    await this.ready;
    const cpu = this.#processes.reduce((sum, process) => sum + cpuOf(process), 0),
      since = cpu - this.#lastCpu;
    this.#lastCpu = cpu;
    return { cpuMicroseconds: since, longestDelayMs: 0 };
  }

  async stop(): Promise<void> {
    for (const child of this.#processes.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
  }
}

/** Microseconds since its start. */
function cpuOf({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        path: '/readyz',
        rejectUnauthorized: false,
        headers: { authorization: 'Bearer root' },
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      },
    );
    asked.on('error', () => resolve(false)).end();
  });
}
