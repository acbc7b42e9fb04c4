/** The faults of the chaos tests. Each strikes, waits for the state that shows it, and heals; what the cluster does meanwhile is judged by chaos.ts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../cluster.ts';
import { FAKETIME } from './faketime.ts';
import type { ChaosCluster, Machine } from './cluster.ts';

const HOLD_MS = 10_000;
const API_SERVER = ['capstan', ' apiserver '];
const CONTROLLERS = ['capstan', ' controller-manager '];
const ETCD = ['/etcd ', '--data-dir='];

const LEASE_PATH = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager';
const DEPOSED = 'no longer leading component="kube-controller-manager"';

export interface Fault {
  readonly name: string;
  /** Of the control planes; default: the one that the seed says. */
  readonly victim?: ((cluster: ChaosCluster) => Promise<Machine>) | undefined;
  /** Some writes go on while it lasts. Default true. */
  readonly keepsQuorum?: boolean;
  /** How long it lasts at least. */
  readonly holdMs?: number;
  /** One control plane is gone: what that costs clients is reported. */
  readonly losesControlPlane?: boolean;
  /** Machines whose programs cannot reach the cluster while it lasts. */
  cutOff?(cluster: ChaosCluster, victim: Machine): readonly Machine[];
  /** Why it cannot be here. */
  readonly obstacle?: string | undefined;
  strike(cluster: ChaosCluster, victim: Machine): void | Promise<void>;
  heal?(cluster: ChaosCluster, victim: Machine): void | Promise<void>;
}

const etcdLeader = (cluster: ChaosCluster): Promise<Machine> => cluster.etcdLeader();

/** One of each kind, for the gate. */
export const SHORT_FAULTS: readonly Fault[] = [
  {
    name: 'kill -9 of an API server',
    strike: (cluster, victim) => signalled(cluster, { victim, signal: 'SIGKILL', words: API_SERVER }),
  },
  {
    name: "kill -9 of etcd's leader",
    victim: etcdLeader,
    strike: (cluster, victim) => signalled(cluster, { victim, signal: 'SIGKILL', words: ETCD }),
  },
  {
    name: 'loss of a zone, 20 s',
    holdMs: 2 * HOLD_MS,
    losesControlPlane: true,
    cutOff: workersBeside,
    strike: loseZone,
    heal: returnZone,
  },
  stopped('SIGSTOP of an API server, 10 s', { words: API_SERVER }),
  {
    name: 'SIGSTOP of the leading controllers until others lead',
    victim: controllersLeader,
    strike: deposeControllers,
    heal: (cluster, victim) => void cluster.signal(victim, { signal: 'SIGCONT', words: CONTROLLERS }),
  },
  {
    name: "etcd's leader receives and does not send, 10 s",
    holdMs: HOLD_MS,
    victim: etcdLeader,
    strike: (cluster, victim) => cluster.setMute(victim, true),
    heal: (cluster, victim) => cluster.setMute(victim, false),
  },
  {
    name: 'flapping partition of a machine, 10 s',
    strike: flap,
    heal: (cluster, victim) => cluster.setLink(victim, 'up'),
  },
  wrongClock('clock 1 h ahead', 3_600),
  {
    name: "slow disk of etcd's leader, 10 s",
    holdMs: HOLD_MS,
    victim: etcdLeader,
    strike: (_cluster, { disk }) => disk?.makeSlow(6 * (HOLD_MS / 1000)),
    heal: (_cluster, { disk }) => disk?.restore(),
  },
  {
    name: "full disk of etcd's leader, 10 s",
    holdMs: HOLD_MS,
    victim: etcdLeader,
    strike: (_cluster, { disk }) => disk?.fill(),
    heal: (_cluster, { disk }) => disk?.restore(),
  },
];

export const FAULTS: readonly Fault[] = [
  ...SHORT_FAULTS,
  {
    name: 'power cut of a machine',
    losesControlPlane: true,
    strike: (cluster, victim) => cluster.killMachine(victim),
    heal: (cluster, victim) => cluster.boot(victim),
  },
  stopped("SIGSTOP of etcd's leader, 10 s", { words: ETCD, victim: etcdLeader }),
  {
    name: 'partition of a machine, 10 s',
    holdMs: HOLD_MS,
    losesControlPlane: true,
    strike: (cluster, victim) => cluster.setLink(victim, 'down'),
    heal: (cluster, victim) => cluster.setLink(victim, 'up'),
  },
  {
    name: "partition of etcd's leader, 10 s",
    holdMs: HOLD_MS,
    losesControlPlane: true,
    victim: etcdLeader,
    strike: (cluster, victim) => cluster.setLink(victim, 'down'),
    heal: (cluster, victim) => cluster.setLink(victim, 'up'),
  },
  {
    name: "etcd's leader sends and does not receive, 10 s",
    holdMs: HOLD_MS,
    victim: etcdLeader,
    strike: (cluster, victim) => cluster.setDeaf(victim, true),
    heal: (cluster, victim) => cluster.setDeaf(victim, false),
  },
  wrongClock('clock 1 h behind', -3_600),
  {
    name: 'kill -9 of every member of etcd',
    keepsQuorum: false,
    strike(cluster) {
      for (const victim of cluster.planes) signalled(cluster, { victim, signal: 'SIGKILL', words: ETCD });
    },
  },
];

function stopped(
  name: string,
  { words, victim }: { readonly words: readonly string[]; readonly victim?: Fault['victim'] },
): Fault {
  return {
    name,
    victim,
    holdMs: HOLD_MS,
    strike: (cluster, machine) => signalled(cluster, { victim: machine, signal: 'SIGSTOP', words }),
    heal: (cluster, machine) => void cluster.signal(machine, { signal: 'SIGCONT', words }),
  };
}

const FLAPS = 10;

async function flap(cluster: ChaosCluster, victim: Machine): Promise<void> {
  for (let i = 0; i < FLAPS; i += 1) {
    cluster.setLink(victim, 'down');
    await sleep(HOLD_MS / FLAPS / 2);
    cluster.setLink(victim, 'up');
    await sleep(HOLD_MS / FLAPS / 2);
  }
}

function workersBeside({ workers }: ChaosCluster, { zone }: Machine): readonly Machine[] {
  return workers.filter((worker) => worker.zone === zone);
}

/** Its control plane has no power and its worker no network: pods of the worker must go on. */
function loseZone(cluster: ChaosCluster, victim: Machine): void {
  for (const worker of workersBeside(cluster, victim)) cluster.setLink(worker, 'down');
  cluster.killMachine(victim);
}

function returnZone(cluster: ChaosCluster, victim: Machine): void {
  for (const worker of workersBeside(cluster, victim)) cluster.setLink(worker, 'up');
  cluster.boot(victim);
}

/** It boots with a wrong clock, takes part as it can, and boots with the right one. */
function wrongClock(name: string, clockSeconds: number): Fault {
  return {
    name,
    obstacle: FAKETIME.obstacle,
    holdMs: 2 * HOLD_MS,
    strike(cluster, victim) {
      cluster.killMachine(victim);
      cluster.boot(victim, { clockSeconds });
    },
    heal(cluster, victim) {
      cluster.killMachine(victim);
      cluster.boot(victim);
    },
  };
}

/** Those that stood still stop acting as soon as they go on. */
async function deposeControllers(cluster: ChaosCluster, victim: Machine): Promise<void> {
  const deposed = (): number => controllersLog(victim).split(DEPOSED).length;
  const before = deposed();
  signalled(cluster, { victim, signal: 'SIGSTOP', words: CONTROLLERS });
  await until('other controllers to lead', async () => (await controllersLeader(cluster)) !== victim);
  cluster.signal(victim, { signal: 'SIGCONT', words: CONTROLLERS });
  await until('the former leader to notice', () => deposed() > before);
}

async function controllersLeader(cluster: ChaosCluster): Promise<Machine> {
  return until('controllers to lead', async () => {
    const body = (await cluster.request('GET', LEASE_PATH)).replace(/^200 /, '');
    const { spec } = JSON.parse(body) as { spec?: { holderIdentity?: string } };
    const holder = `identity="${spec?.holderIdentity}"`;
    return cluster.planes.find((plane) => controllersLog(plane).includes(holder));
  });
}

function controllersLog({ rootfs }: Machine): string {
  return readFileSync(join(rootfs, 'var/log/capstan/control.log'), 'utf8');
}

interface Signalled {
  readonly victim: Machine;
  readonly signal: NodeJS.Signals;
  readonly words: readonly string[];
}

function signalled(cluster: ChaosCluster, { victim, signal, words }: Signalled): void {
  if (cluster.signal(victim, { signal, words }) === 0)
    throw new Error(`${victim.name} runs no process of ${words.join(' ')}`);
}
