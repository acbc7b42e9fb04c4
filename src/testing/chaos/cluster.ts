/** The cluster of the chaos tests: three control planes and a worker as network namespaces, with real etcd and simulated nodes, made by init and join. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runCommand, until } from '../cluster.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '../lan.ts';
import { etcdProgram } from '../etcd-members.ts';

const MAIN = resolve(import.meta.dirname, '../../cli/main.ts');
const LOAD = resolve(import.meta.dirname, 'load.ts');
const REQUEST = resolve(import.meta.dirname, '../api-request.ts');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
const BALANCER = 'https://127.0.0.1:7445';
const SUBNET = '10.219.0';
/** Of a machine that many share. */
const TIMEOUT_MS = 240_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=all'];

export const chaosObstacle: string | false = !etcdProgram
  ? 'no etcd 3.5'
  : !canHaveNamespaces() && 'needs root and ip netns';

export interface Machine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

export class ChaosCluster {
  readonly planes: readonly Machine[];
  readonly worker: Machine;
  readonly #base = mkdtempSync(join(tmpdir(), 'capstan-chaos-'));
  readonly #lan: Lan = createLan(`cc${process.pid}`, SUBNET);

  constructor() {
    this.planes = [1, 2, 3].map((index) => this.#machine(`m${index}`, index));
    this.worker = this.#machine('w1', 4);
  }

  async start(): Promise<void> {
    const [first, ...others] = this.planes as [Machine, ...Machine[]];
    const etcd = `--etcd-binary=${etcdProgram}`;
    const endpoint = `--control-plane-endpoint=${first.address}:6443`;
    const printed = await this.#capstan(first, [
      'init',
      ...COMMON,
      '--node-name=m1',
      '--upload-certs',
      endpoint,
      etcd,
    ]);
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
    const token = `--token=${word(/--token (\S+)/)}`;
    const hash = `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`;
    const key = `--certificate-key=${word(/--certificate-key (\S+)/)}`;
    const joinAs = (machine: Machine, ...more: readonly string[]): Promise<string> =>
      this.#capstan(machine, [
        'join',
        `${first.address}:6443`,
        token,
        hash,
        `--node-name=${machine.name}`,
        ...COMMON,
        ...more,
      ]);
    for (const plane of others) await joinAs(plane, '--control-plane', key, etcd);
    await joinAs(this.worker);
    await this.healthy();
  }

  /** Every API server is ready, and every member of etcd. */
  async healthy(): Promise<void> {
    for (const { name, address } of this.planes) {
      await until(`the API server of ${name} to be ready`, () => this.#isReady(address), TIMEOUT_MS);
      await until(
        `etcd of ${name} to be healthy`,
        () => this.etcdctl(address, 'endpoint', 'health'),
        TIMEOUT_MS,
      );
    }
  }

  async #isReady(address: string): Promise<boolean> {
    const words = ['curl', '--silent', '--insecure', '--fail', '--max-time', '2', '--output', '/dev/null'];
    const url = `https://${address}:6443/readyz`;
    return (await runCommand(inside(this.worker, [...words, url]))).code === 0;
  }

  /** What it printed; it must succeed. Asked from the worker, with the files of the first control plane. */
  async etcdctl(address: string, ...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runCommand(
      inside(this.worker, this.etcdctlWords(address, ...words)),
      { timeoutMs: 10_000, env: { ETCDCTL_API: '3' } },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  }

  etcdctlWords(address: string, ...words: readonly string[]): string[] {
    const pki = join(this.planes[0]!.rootfs, 'etc/kubernetes/pki');
    return [
      'etcdctl',
      `--endpoints=https://${address}:2379`,
      `--cacert=${pki}/etcd/ca.crt`,
      `--cert=${pki}/apiserver-etcd-client.crt`,
      `--key=${pki}/apiserver-etcd-client.key`,
      ...words,
    ];
  }

  async etcdLeader(): Promise<Machine> {
    return until('a leader of etcd', async () => {
      for (const plane of this.planes) {
        const [status] = JSON.parse(
          await this.etcdctl(plane.address, 'endpoint', 'status', '--write-out=json'),
        ) as { Status: { leader: number; header: { member_id: number } } }[];
        if (status?.Status.leader === status?.Status.header.member_id) return plane;
      }
      return undefined;
    });
  }

  /** Status and body, asked on the worker through its balancer. */
  request(...words: readonly string[]): Promise<string> {
    return this.requestAt(BALANCER, ...words);
  }

  async requestAt(server: string, ...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runCommand(
      inside(this.worker, [...NODE, REQUEST, this.#admin, server, ...words]),
      { timeoutMs: 20_000 },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** A program of load.ts on the worker. */
  startLoad(name: string, seed: number): ChildProcess {
    return this.worker.lan.start([...NODE, LOAD, this.#admin, BALANCER, name, String(seed)]);
  }

  pids(machine: Machine, ...words: readonly string[]): number[] {
    return machine.lan.pids().filter((pid) => words.every((word) => commandLine(pid).includes(word)));
  }

  signal(machine: Machine, { signal, words }: { signal: NodeJS.Signals; words: readonly string[] }): number {
    const pids = this.pids(machine, ...words);
    for (const pid of pids) kill(pid, signal);
    return pids.length;
  }

  /** A power cut. */
  killMachine(machine: Machine): void {
    while (this.signal(machine, { signal: 'SIGKILL', words: [] }) > 0);
  }

  /** As its init system does. */
  boot({ lan, rootfs }: Machine): void {
    const child = lan.start([...NODE, MAIN, 'supervise', `--rootfs=${rootfs}`]);
    child.stdout?.resume();
    child.stderr?.resume();
  }

  /** Its wire, both ways. */
  setLink({ name }: Machine, state: 'up' | 'down'): void {
    this.#lan.outside.run('ip', 'link', 'set', name, state);
  }

  /** What comes to the machine over its wire is lost; what it sends arrives. */
  setDeaf({ lan }: Machine, deaf: boolean): void {
    if (!deaf) return void lan.try('nft', 'delete', 'table', 'inet', 'chaos');
    lan.run('nft', 'add', 'table', 'inet', 'chaos');
    lan.run('nft', 'add chain inet chaos in { type filter hook input priority -300; }');
    lan.run('nft', 'add', 'rule', 'inet', 'chaos', 'in', 'iifname', 'eth0', 'drop');
  }

  logs(): string {
    return [...this.planes, this.worker]
      .flatMap(({ name, rootfs }) =>
        ['supervisor', 'etcd', 'apiserver', 'control', 'node'].map(
          (service) => `\n${name} ${service}.log:\n${tail(join(rootfs, `var/log/capstan/${service}.log`))}`,
        ),
      )
      .join('');
  }

  async close(): Promise<void> {
    for (const machine of [...this.planes, this.worker]) this.killMachine(machine);
    await this.#lan.close();
    rmSync(this.#base, { recursive: true, force: true });
  }

  get #admin(): string {
    return join(this.planes[0]!.rootfs, 'etc/kubernetes/admin.conf');
  }

  #machine(name: string, index: number): Machine {
    const lan = this.#lan.machine(name, `${SUBNET}.${index}`);
    lan.run('ip', 'route', 'add', 'default', 'via', `${SUBNET}.254`);
    return { name, address: lan.address, rootfs: join(this.#base, name), lan };
  }

  async #capstan(machine: Machine, words: readonly string[]): Promise<string> {
    const command = inside(machine, [...NODE, MAIN, ...words, `--rootfs=${machine.rootfs}`]);
    const { code, stdout, stderr } = await runCommand(command, { timeoutMs: TIMEOUT_MS });
    assert.equal(code, 0, `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}${this.logs()}`);
    return stdout;
  }
}

export function inside({ lan }: Machine, words: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', lan.name, ...words];
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // ended in the meantime
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-8).join('\n');
  } catch {
    return '';
  }
}
