/**
 * The cluster of the chaos tests: three control planes and two workers in three zones, as network namespaces with real etcd, made by init and join. Each control
 * plane has a disk of its own (a loop device). Workers run real containers where containerd is installed; nodes of control planes are simulated.
 */
import assert from 'node:assert/strict';
import { spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { processStartTime } from '#stdx/process-lock.ts';
import { buildBusyboxImage } from '../busybox.ts';
import { runCommand, until } from '../cluster.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '../lan.ts';
import { etcdProgram } from '../etcd-members.ts';
import { AUDIT_POLICY } from './acts.ts';
import { Disk } from './disk.ts';
import { FAKETIME } from './faketime.ts';
import { LAN_ID, makeBase, sweepLeftovers } from './leftovers.ts';

const MAIN = resolve(import.meta.dirname, '../../cli/main.ts');
const PROBER = resolve(import.meta.dirname, 'prober.ts');
const LOAD = resolve(import.meta.dirname, 'load.ts');
const REQUEST = resolve(import.meta.dirname, '../api-request.ts');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
const BALANCER = 'https://127.0.0.1:7445';
const SUBNET = '10.219.0';
/** Of a machine that many share. */
const TIMEOUT_MS = 240_000;
/** Of each line of the logs that a failure prints. */
const LINE_CHARACTERS = 240;
const COMMON = ['--ignore-preflight-errors=all'];
const SIMULATED = '--runtime=simulated';
/** Workers run real containers. */
const HAS_CONTAINERS = existsSync('/usr/bin/containerd') && existsSync('/bin/busybox');
/** The argument by which the process of a worker's pod is found on this machine. */
const SLEEP_SECONDS = 1_000_000 + process.pid;

export const chaosObstacle: string | false = !etcdProgram
  ? 'no etcd 3.5'
  : !canHaveNamespaces() && 'needs root and ip netns';

export interface Machine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly zone: 'a' | 'b' | 'c';
  readonly lan: LanMachine;
  /** Of control planes. */
  readonly disk?: Disk;
}

export class ChaosCluster {
  readonly planes: readonly Machine[];
  readonly workers: readonly Machine[];
  readonly #base = makeBase();
  readonly #lan: Lan = createLan(LAN_ID, SUBNET);

  /** What a killed run left goes first: it has the same addresses. */
  static create(): ChaosCluster {
    sweepLeftovers((namespace, rootfs) => {
      const words = [`--net=/run/netns/${namespace}`, ...resetWords(rootfs)];
      spawnSync('nsenter', words, { stdio: 'ignore', timeout: TIMEOUT_MS });
    });
    return new ChaosCluster();
  }

  private constructor() {
    this.planes = (['a', 'b', 'c'] as const).map((zone, i) =>
      this.#machine(`m${i + 1}`, { zone, index: i + 1, hasDisk: true }),
    );
    this.workers = (['a', 'b'] as const).map((zone, i) => this.#machine(`w${i + 1}`, { zone, index: i + 4 }));
  }

  get machines(): readonly Machine[] {
    return [...this.planes, ...this.workers];
  }

  /** Of the test's own questions: its wire is never cut. */
  get outside(): Pick<Machine, 'lan'> {
    return { lan: this.#lan.outside };
  }

  async start(): Promise<void> {
    const [first, ...others] = this.planes as [Machine, ...Machine[]];
    const etcd = `--etcd-binary=${etcdProgram}`;
    const printed = await this.#capstan(first, [
      'init',
      ...COMMON,
      SIMULATED,
      '--node-name=m1',
      '--upload-certs',
      `--config=${this.#config(first)}`,
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
    this.#keepAccess(first);
    for (const plane of others) await joinAs(plane, '--control-plane', key, etcd, SIMULATED);
    for (const worker of this.workers) await joinAs(worker, ...(HAS_CONTAINERS ? [] : [SIMULATED]));
    await this.healthy();
    await this.#startPods();
  }

  /** Every API server tells in its log who wrote what (acts.ts). */
  #config({ address }: Machine): string {
    const [policy, config] = [join(this.#base, 'audit-policy.json'), join(this.#base, 'init.json')];
    writeFileSync(policy, AUDIT_POLICY);
    const extraArgs = [
      { name: 'audit-policy-file', value: policy },
      { name: 'audit-log-path', value: '-' },
    ];
    const cluster = {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'ClusterConfiguration',
      controlPlaneEndpoint: `${address}:6443`,
      apiServer: { extraArgs },
    };
    writeFileSync(config, JSON.stringify(cluster));
    return config;
  }

  /** Of an API server, with those before it that are kept. */
  auditLog({ rootfs }: Machine): string {
    const logs = join(rootfs, 'var/log/capstan');
    return readdirSync(logs)
      .filter((name) => name.startsWith('apiserver.log'))
      .map((name) => readFileSync(join(logs, name), 'utf8'))
      .join('\n');
  }

  /** Of the test itself, apart from disks that are going to be slow or full. */
  #keepAccess({ rootfs }: Machine): void {
    copyFileSync(join(rootfs, 'etc/kubernetes/admin.conf'), this.#admin);
    cpSync(join(rootfs, 'etc/kubernetes/pki'), join(this.#base, 'pki'), { recursive: true });
  }

  /** One on each worker, which nothing may disturb from now on. */
  async #startPods(): Promise<void> {
    const image = HAS_CONTAINERS ? await buildBusyboxImage() : undefined;
    for (const worker of this.workers) {
      if (image) await this.#loadImage(worker, image.path);
      const container = {
        name: 'stays',
        image: image?.name ?? 'capstan.test/none:1',
        imagePullPolicy: 'Never',
        command: ['sleep', String(SLEEP_SECONDS)],
      };
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `stays-${worker.name}`, labels: { chaos: 'stays' } },
        spec: { nodeName: worker.name, automountServiceAccountToken: false, containers: [container] },
      };
      const path = '/api/v1/namespaces/default/pods';
      await until('a pod to be accepted', async () =>
        /^(201|409) /.test(await this.request('POST', path, JSON.stringify(pod))),
      );
      await until(
        `pod ${pod.metadata.name} to run`,
        async () => /"phase":"Running"/.test(await this.request('GET', `${path}/${pod.metadata.name}`)),
        TIMEOUT_MS,
      );
    }
    if (image) rmSync(dirname(image.path), { recursive: true });
  }

  async #loadImage({ lan, rootfs }: Machine, path: string): Promise<void> {
    const dir = join(rootfs, 'var/lib/capstan/node');
    await until(
      'the image to be loaded',
      async () => {
        const load = lan.start([...NODE, MAIN, 'image', 'load', path, `--data-dir=${dir}`], {
          keepsSys: true,
        });
        load.stdout?.resume();
        load.stderr?.resume();
        const [code] = (await once(load, 'exit')) as [number | null];
        return code === 0;
      },
      TIMEOUT_MS,
    );
  }

  /** The processes of the pods, each with the time it started; empty without real containers. */
  podProcesses(): string[] {
    return HAS_CONTAINERS ? processesOf(['sleep', String(SLEEP_SECONDS)]) : [];
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
    return (await runCommand(inside(this.outside, [...words, url]))).code === 0;
  }

  /** What it printed; it must succeed. Asked from outside. */
  async etcdctl(address: string, ...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runCommand(
      inside(this.outside, this.etcdctlWords(address, ...words)),
      { timeoutMs: 10_000, env: { ETCDCTL_API: '3' } },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  }

  etcdctlWords(address: string, ...words: readonly string[]): string[] {
    const pki = join(this.#base, 'pki');
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

  /** Status and body, of the first API server that answers. */
  async request(...words: readonly string[]): Promise<string> {
    const errors: unknown[] = [];
    for (const { address } of this.planes)
      try {
        return await this.requestAt(`https://${address}:6443`, ...words);
      } catch (error) {
        errors.push(error);
      }
    throw new AggregateError(errors, 'no API server answers');
  }

  async requestAt(server: string, ...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runCommand(
      inside(this.outside, [...NODE, REQUEST, this.#admin, server, ...words]),
      { timeoutMs: 20_000 },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** A program of load.ts on a worker, through its balancer. */
  startLoad({ lan, name }: Machine, seed: number): ChildProcess {
    // A value's text has letters only before its numbers.
    return lan.start([...NODE, LOAD, this.#admin, BALANCER, name === 'w1' ? 'a' : 'b', String(seed)]);
  }

  /** prober.ts outside, through whichever API server answers. */
  startProber(): ChildProcess {
    const servers = this.planes.map(({ address }) => `https://${address}:6443`);
    return this.outside.lan.start([...NODE, PROBER, this.#admin, ...servers]);
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

  /** As its init system does. clockSeconds: how far its clock is wrong, for programs that take the time from libc (etcd does not). */
  boot({ lan, rootfs }: Machine, { clockSeconds = 0 }: { readonly clockSeconds?: number } = {}): void {
    const env = clockSeconds === 0 ? process.env : { ...process.env, ...FAKETIME.environment(clockSeconds) };
    const child = lan.start([...NODE, MAIN, 'supervise', `--rootfs=${rootfs}`], { env });
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

  /** What it sends over its wire is lost; what comes arrives. */
  setMute({ lan }: Machine, mute: boolean): void {
    if (!mute) return void lan.try('nft', 'delete', 'table', 'inet', 'chaos');
    lan.run('nft', 'add', 'table', 'inet', 'chaos');
    lan.run('nft', 'add chain inet chaos out { type filter hook output priority -300; }');
    lan.run('nft', 'add', 'rule', 'inet', 'chaos', 'out', 'oifname', 'eth0', 'drop');
  }

  logs(): string {
    return this.machines
      .flatMap(({ name, rootfs }) =>
        ['supervisor', 'etcd', 'apiserver', 'control', 'node'].map(
          (service) => `\n${name} ${service}.log:\n${tail(join(rootfs, `var/log/capstan/${service}.log`))}`,
        ),
      )
      .join('');
  }

  /** Copies every log file to a directory, whose path is returned. */
  keepLogs(): string {
    const kept = mkdtempSync(join(tmpdir(), 'capstan-chaos-logs-'));
    for (const { name, rootfs } of this.machines) {
      const logs = join(rootfs, 'var/log/capstan');
      if (existsSync(logs)) cpSync(logs, join(kept, name), { recursive: true });
    }
    return kept;
  }

  async close(): Promise<void> {
    for (const { disk } of this.planes) disk?.restore();
    if (HAS_CONTAINERS)
      for (const worker of this.workers) {
        this.setLink(worker, 'up');
        await this.#reset(worker);
      }
    for (const machine of this.machines) this.killMachine(machine);
    await this.#lan.close();
    for (const { disk } of this.planes) disk?.close();
    rmSync(this.#base, { recursive: true, force: true });
  }

  /** Ends its containers, and takes away what they left on this machine. */
  async #reset({ lan, rootfs }: Machine): Promise<void> {
    const child = lan.start(resetWords(rootfs), { keepsSys: true });
    child.stdout?.resume();
    child.stderr?.resume();
    await once(child, 'exit');
  }

  get #admin(): string {
    return join(this.#base, 'admin.conf');
  }

  #machine(
    name: string,
    { zone, index, hasDisk = false }: { zone: Machine['zone']; index: number; hasDisk?: boolean },
  ): Machine {
    const lan = this.#lan.machine(name, `${SUBNET}.${index}`);
    lan.run('ip', 'route', 'add', 'default', 'via', `${SUBNET}.254`);
    const rootfs = join(this.#base, name);
    mkdirSync(rootfs);
    return {
      name,
      zone,
      address: lan.address,
      rootfs,
      lan,
      ...(hasDisk && { disk: new Disk(rootfs) }),
    };
  }

  async #capstan(machine: Machine, words: readonly string[]): Promise<string> {
    const program = [...NODE, MAIN, ...words, `--rootfs=${machine.rootfs}`];
    // Containers need the cgroups of this machine, which 'ip netns exec' hides.
    const command =
      machine.disk || !HAS_CONTAINERS
        ? inside(machine, program)
        : ['nsenter', `--net=/run/netns/${machine.lan.name}`, ...program];
    const { code, stdout, stderr } = await runCommand(command, { timeoutMs: TIMEOUT_MS });
    assert.equal(code, 0, `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}${this.logs()}`);
    return stdout;
  }
}

export function inside({ lan }: Pick<Machine, 'lan'>, words: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', lan.name, ...words];
}

function resetWords(rootfs: string): string[] {
  return [...NODE, MAIN, 'reset', '--force', `--rootfs=${rootfs}`];
}

/** Anywhere on this machine, whose words are these: pid and start time of each. */
function processesOf(words: readonly string[]): string[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && commandLine(pid).trimEnd() === words.join(' '))
    .map((pid) => `${pid} since ${processStartTime(pid)}`);
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
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-8);
    return lines.map((line) => line.slice(0, LINE_CHARACTERS)).join('\n');
  } catch {
    return '';
  }
}
