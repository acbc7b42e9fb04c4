/** The faults of the chaos tests. Each strikes, waits for the state that shows it, and heals; what the cluster does meanwhile is judged by chaos.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../cluster.ts';
import type { ChaosCluster, Machine } from './cluster.ts';

const STOPPED_MS = 10_000;
const API_SERVER = ['capstan', ' apiserver '];
const CONTROLLERS = ['capstan', ' controller-manager '];
const ETCD = ['/etcd ', '--data-dir='];

export interface Fault {
  readonly name: string;
  /** Of the control planes; default: the one that the seed says. */
  readonly victim?: (cluster: ChaosCluster) => Promise<Machine>;
  /** Some writes go on while it lasts. Default true. */
  readonly keepsQuorum?: boolean;
  strike(cluster: ChaosCluster, victim: Machine): void | Promise<void>;
  heal?(cluster: ChaosCluster, victim: Machine): void | Promise<void>;
}

const etcdLeader = (cluster: ChaosCluster): Promise<Machine> => cluster.etcdLeader();

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
    name: 'power cut of a machine',
    strike: (cluster, victim) => cluster.killMachine(victim),
    heal: (cluster, victim) => cluster.boot(victim),
  },
];

export const FAULTS: readonly Fault[] = [
  ...SHORT_FAULTS,
  {
    name: "SIGSTOP of etcd's leader, 10 s",
    victim: etcdLeader,
    strike: (cluster, victim) => signalled(cluster, { victim, signal: 'SIGSTOP', words: ETCD }),
    async heal(cluster, victim) {
      await sleep(STOPPED_MS);
      cluster.signal(victim, { signal: 'SIGCONT', words: ETCD });
    },
  },
  {
    name: 'SIGSTOP of an API server, 10 s',
    strike: (cluster, victim) => signalled(cluster, { victim, signal: 'SIGSTOP', words: API_SERVER }),
    async heal(cluster, victim) {
      await sleep(STOPPED_MS);
      cluster.signal(victim, { signal: 'SIGCONT', words: API_SERVER });
    },
  },
  {
    name: 'SIGSTOP of the leading controllers until others lead',
    victim: controllersLeader,
    async strike(cluster, victim) {
      signalled(cluster, { victim, signal: 'SIGSTOP', words: CONTROLLERS });
      await until('other controllers to lead', async () => (await controllersLeader(cluster)) !== victim);
    },
    heal: (cluster, victim) => void cluster.signal(victim, { signal: 'SIGCONT', words: CONTROLLERS }),
  },
  {
    name: 'partition of a machine',
    strike: (cluster, victim) => cluster.setLink(victim, 'down'),
    heal: (cluster, victim) => cluster.setLink(victim, 'up'),
  },
  {
    name: "partition of etcd's leader",
    victim: etcdLeader,
    strike: (cluster, victim) => cluster.setLink(victim, 'down'),
    heal: (cluster, victim) => cluster.setLink(victim, 'up'),
  },
  {
    name: 'a machine that sends and does not receive',
    strike: (cluster, victim) => cluster.setDeaf(victim, true),
    heal: (cluster, victim) => cluster.setDeaf(victim, false),
  },
  {
    name: 'kill -9 of every member of etcd',
    keepsQuorum: false,
    strike(cluster) {
      for (const victim of cluster.planes) signalled(cluster, { victim, signal: 'SIGKILL', words: ETCD });
    },
  },
];

async function controllersLeader(cluster: ChaosCluster): Promise<Machine> {
  return until('controllers to lead', async () => {
    const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager';
    const body = (await cluster.request('GET', path)).replace(/^200 /, '');
    const { spec } = JSON.parse(body) as { spec?: { holderIdentity?: string } };
    return cluster.planes.find(({ name }) => spec?.holderIdentity?.startsWith(`${name}_`));
  });
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
