/**
 * The scheduler through the real API, in the way of upstream's scheduler_perf: an API server, a scheduler and the client that creates pods, each a process
 * of its own; nodes are objects without an agent. For each kind of pods: how fast they are created and bound, from the first create to the last binding, and
 * the processor time that each process takes for one pod.
 *
 *   node bench/scheduler-api.ts [--nodes=5000] [--pods=5000] [--init=1000] [--only=NAME,…] [--against=GIT-REF] [--rounds=1] [--upstream=DIR] [--cpu-prof=DIR] [--backlog]
 *
 * --against: the API server and the scheduler of another version of this repository too, in turn with ours. --upstream: the kube-scheduler of that directory
 * too, on our API server. --backlog: the scheduler starts once all pods are
 * there, so that creates take nothing from it; its figure begins with the first binding. --init: pods that are bound before, and not counted.
 */
import { execFileSync, fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import {
  deviceClasses,
  namespaces,
  nodes,
  pods,
  resourceClaims,
  resourceSlices,
  serviceAccounts,
} from '#client/refs.ts';
import { NODE_FLAGS } from '#deploy/daemon.ts';
import { cel, deviceClaim, deviceClass, DRIVER, exactly, slice } from '#scheduler/testing/devices.ts';
import { realClock } from '#stdx/clock.ts';
import { containerOf, KINDS, nodeOf, podOf, type Kind } from './pod-kinds.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '5000' },
    pods: { type: 'string', default: '5000' },
    init: { type: 'string', default: '1000' },
    only: { type: 'string' },
    against: { type: 'string' },
    upstream: { type: 'string' },
    rounds: { type: 'string', default: '1' },
    'cpu-prof': { type: 'string' },
    backlog: { type: 'boolean', default: false },
  },
});
const NODES = Number(values.nodes);
/** Requests at a time. */
const WRITERS = 64;
const LIMIT_MS = 300_000;
const DEVICES_PER_NODE = 8;
/** Of pods that no node takes, while others are measured; as upstream's churn. */
const CHURN_EVERY_MS = 200;
const TICKS_PER_SECOND = 100;
const MICROSECONDS_PER_TICK = 1_000_000 / TICKS_PER_SECOND;
const ROOT = join(import.meta.dirname, '..');
const work = mkdtempSync(join(tmpdir(), 'capstan-scheduler-api-'));

interface Row {
  readonly pods: string;
  readonly version: string;
  readonly perSecond: number;
  readonly createdPerSecond: number;
  readonly apiServerMicroseconds: number;
  readonly schedulerMicroseconds: number;
  readonly clientMicroseconds: number;
}

/** Processor time of a process so far. */
function cpuMicroseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MICROSECONDS_PER_TICK;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

interface Version {
  readonly name: string;
  /** Of the repository. */
  readonly root: string;
  /** Of upstream, instead of ours. */
  readonly scheduler?: string;
}

/** An API server and a scheduler of one version. */
class Cluster {
  readonly #dir: string;
  readonly #root: string;
  readonly #upstream: string | undefined;
  readonly #profile: readonly string[];
  readonly #kubeconfig: string;
  #apiServer: ChildProcess | undefined;
  #scheduler: ChildProcess | undefined;
  #close: (() => Promise<void>) | undefined;

  constructor(
    { root, scheduler }: Version,
    { dir, profile }: { readonly dir: string; readonly profile: string | undefined },
  ) {
    this.#root = root;
    this.#upstream = scheduler;
    this.#dir = dir;
    this.#kubeconfig = join(dir, 'kubeconfig');
    this.#profile = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
    mkdirSync(dir, { recursive: true });
  }

  get pids(): { readonly apiServer: number; readonly scheduler: number } {
    return { apiServer: this.#apiServer!.pid!, scheduler: this.#scheduler?.pid ?? 0 };
  }

  async start(): Promise<Client> {
    const child = fork(join(this.#root, 'bench/apiserver-server.ts'), {
      cwd: this.#root,
      execArgv: [...NODE_FLAGS, ...this.#profile],
      env: {
        ...process.env,
        BENCH_CONFIG: JSON.stringify({
          kind: 'api',
          listBytes: 0,
          longBytes: 0,
          dir: join(this.#dir, 'api'),
          // New nodes would wait for an agent's report.
          disabledPlugins: ['TaintNodesByCondition'],
          hasNoAgents: true,
        }),
      },
    });
    this.#apiServer = child;
    const [{ port }] = (await once(child, 'message')) as [{ readonly port: number }];
    writeFileSync(this.#kubeconfig, JSON.stringify(this.#config(port)));
    const transport = createKubeconfigTransport({ path: this.#kubeconfig, clock: realClock });
    const client = createClient(transport, { userAgent: 'bench' });
    this.#close = () => client.close();
    return client;
  }

  #config(port: number): object {
    const ca = readFileSync(join(this.#dir, 'api/pki/ca.crt')).toString('base64');
    return {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'c',
      clusters: [
        { name: 'c', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': ca } },
      ],
      users: [{ name: 'u', user: { token: 'root' } }],
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    };
  }

  startScheduler(): void {
    if (this.#upstream !== undefined) {
      const flags = [
        `--kubeconfig=${this.#kubeconfig}`,
        '--leader-elect=false',
        '--bind-address=127.0.0.1',
        '--secure-port=0',
        '--kube-api-qps=5000',
        '--kube-api-burst=5000',
      ];
      this.#scheduler = spawn(this.#upstream, flags, { stdio: 'ignore' });
      return;
    }
    this.#scheduler = spawn(
      process.execPath,
      [
        ...NODE_FLAGS,
        ...this.#profile,
        join(this.#root, 'src/cli/main.ts'),
        'scheduler',
        `--kubeconfig=${this.#kubeconfig}`,
        '--leader-elect=false',
        '--secure-port=0',
        '--log-level=warn',
      ],
      { cwd: this.#root, stdio: ['ignore', 'inherit', 'inherit'] },
    );
  }

  /** At once. */
  kill(): void {
    this.#scheduler?.kill('SIGKILL');
    this.#apiServer?.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    if (this.#scheduler) {
      this.#scheduler.kill('SIGTERM');
      await ended(this.#scheduler);
    }
    await this.#close?.();
    if (!this.#apiServer) return;
    this.#apiServer.send('stop');
    await ended(this.#apiServer);
  }
}

async function many(count: number, write: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < count) await write(next++);
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

/** Follows which pods are bound, with a watch of its own. */
class BoundPods {
  bound = 0;
  firstMs = Infinity;
  lastMs = 0;

  constructor(client: Client) {
    client.informer(pods).subscribe({
      added: (pod) => this.#seen(pod, undefined),
      updated: (pod, before) => this.#seen(pod, before),
      deleted: () => {},
    });
  }

  #seen(pod: Pod, before: Pod | undefined): void {
    if (!pod.spec?.nodeName || before?.spec?.nodeName) return;
    this.bound += 1;
    this.lastMs = performance.now();
    this.firstMs = Math.min(this.firstMs, this.lastMs);
  }

  async reach(count: number): Promise<void> {
    const deadlineMs = performance.now() + LIMIT_MS;
    while (this.bound < count) {
      if (performance.now() > deadlineMs) throw new Error(`${this.bound} of ${count} pods bound in time`);
      await sleep(20);
    }
  }
}

async function fill(client: Client, kind: Kind): Promise<void> {
  const names = kind.namespace
    ? [...new Set(Array.from({ length: 100 }, (_, index) => kind.namespace!(index)))]
    : [];
  for (const name of names) await client.create(namespaces, { metadata: { name, labels: { team: 'dev' } } });
  for (const namespace of new Set(['default', ...names]))
    await client.create(serviceAccounts, { metadata: { name: 'default', namespace } });
  await many(NODES, (index) => client.create(nodes, nodeOf(index, '64')));
  if (!kind.devices) return;
  await client.create(
    deviceClasses,
    deviceClass('gpus', { selectors: [cel(`device.driver == "${DRIVER}"`)] }),
  );
  await many(NODES, (index) => client.create(resourceSlices, slicesOf(index)));
}

function slicesOf(index: number): ReturnType<typeof slice> {
  const devices = Array.from({ length: DEVICES_PER_NODE }, (_, number) => ({
    name: `gpu-${number}`,
    attributes: { model: { string: number % 2 === 0 ? 'a' : 'b' } },
    capacity: { memory: { value: '40Gi' } },
  }));
  const name = `node-${index}`;
  return slice(devices, { name, pool: name, nodeName: name });
}

const SELECTOR = cel(
  `device.attributes["${DRIVER}"].model == "a" && device.capacity["${DRIVER}"].memory.isGreaterThan(quantity("1Gi"))`,
);

async function createPod(
  client: Client,
  { kind, index }: { readonly kind: Kind; readonly index: number },
): Promise<void> {
  const { metadata, spec } = podOf(index, kind.unschedulable ? { ...kind, spec: () => ({}) } : kind);
  const { uid: _uid, ...named } = metadata!;
  if (!kind.devices) return void (await client.create(pods, { metadata: named, spec: spec! }));
  const claim = deviceClaim([exactly('r', { selectors: [SELECTOR] })], { name: `claim-${index}` });
  await client.create(resourceClaims, {
    ...claim,
    metadata: { name: `claim-${index}`, namespace: 'default' },
  });
  await client.create(pods, {
    metadata: named,
    spec: { ...spec!, resourceClaims: [{ name: 'gpu', resourceClaimName: `claim-${index}` }] },
  });
}

/** Until the signal: pods that no node takes, one after another. */
async function churn(client: Client, signal: AbortSignal): Promise<void> {
  for (let index = 0; !signal.aborted; index += 1) {
    await client.create(pods, {
      metadata: { name: `large-${index}`, namespace: 'default' },
      spec: { containers: [containerOf('900', '1Gi')] },
    });
    await sleep(CHURN_EVERY_MS);
  }
}

async function measure(kind: Kind, cluster: Cluster): Promise<Omit<Row, 'version' | 'pods'>> {
  const client = await cluster.start();
  const most = Math.floor(
    NODES * Math.min(kind.perNode ?? 20, kind.devices ? DEVICES_PER_NODE / 4 : Infinity),
  );
  const init = values.backlog ? 0 : Math.min(Number(values.init), most >> 1);
  const count = Math.min(Number(values.pods), most - init);
  await fill(client, kind);
  const bound = new BoundPods(client);
  if (!values.backlog) cluster.startScheduler();
  await many(init, (index) => createPod(client, { kind, index }));
  await bound.reach(init);
  await sleep(1000);
  const cpu = (): number[] => [
    cpuMicroseconds(cluster.pids.apiServer),
    cluster.pids.scheduler ? cpuMicroseconds(cluster.pids.scheduler) : 0,
    cpuMicroseconds(process.pid),
  ];
  const stop = new AbortController();
  const churning = kind.unschedulable ? churn(client, stop.signal) : undefined;
  let before = cpu();
  let startMs = performance.now();
  await many(count, (index) => createPod(client, { kind, index: init + index }));
  const createdMs = performance.now() - startMs;
  if (values.backlog) {
    cluster.startScheduler();
    before = cpu();
    await bound.reach(1);
    startMs = bound.firstMs;
  }
  await bound.reach(init + count);
  const after = cpu();
  stop.abort();
  await churning;
  const [apiServer, scheduler, creator] = after.map((total, index) =>
    Math.round((total - before[index]!) / count),
  );
  const rate = (ms: number): number => Math.round((count / ms) * 1000);
  return {
    perSecond: rate(bound.lastMs - startMs),
    createdPerSecond: rate(createdMs),
    apiServerMicroseconds: apiServer!,
    schedulerMicroseconds: scheduler!,
    clientMicroseconds: creator!,
  };
}

/** A checkout of another version, with the packages of this one. */
function checkout(ref: string): string {
  const dir = join(work, 'against');
  execFileSync('git', ['worktree', 'add', '--detach', dir, ref], { cwd: ROOT, stdio: 'ignore' });
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  return dir;
}

const wanted = values.only?.split(',');
const kinds = KINDS.filter(({ name, preempts }) => !preempts && (wanted?.includes(name) ?? true));
const versions: Version[] = [{ name: 'this', root: ROOT }];
let round = 0;
/** The one that is measured. */
let running: Cluster | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    running?.kill();
    rmSync(work, { recursive: true, force: true });
    process.exit(1);
  });
try {
  if (values.against !== undefined) versions.push({ name: values.against, root: checkout(values.against) });
  if (values.upstream !== undefined)
    versions.push({ name: 'upstream', root: ROOT, scheduler: join(values.upstream, 'kube-scheduler') });
  const rows: Row[] = [];
  for (const kind of kinds)
    for (let time = 0; time < Number(values.rounds); time += 1)
      for (const version of time % 2 === 0 ? versions : versions.toReversed()) {
        const dir = join(work, String(round++));
        const cluster = new Cluster(version, { dir, profile: values['cpu-prof'] });
        running = cluster;
        try {
          const row = { pods: kind.name, version: version.name, ...(await measure(kind, cluster)) };
          console.log(JSON.stringify(row));
          rows.push(row);
        } finally {
          await cluster.stop();
        }
        rmSync(dir, { recursive: true, force: true });
      }
  console.table(rows);
} finally {
  if (values.against !== undefined)
    execFileSync('git', ['worktree', 'remove', '--force', join(work, 'against')], { cwd: ROOT });
  rmSync(work, { recursive: true, force: true });
}
