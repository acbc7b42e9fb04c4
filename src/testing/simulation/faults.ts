/** What goes wrong in one world, chosen by its seed: one fault after the other, some at the same time, each with its end. */
import type { SimApiServer } from './api-server.ts';
import type { EtcdCluster } from './etcd-cluster.ts';
import type { Network } from './network.ts';
import type { SimNode, World } from './world.ts';

interface FaultTargets {
  readonly world: World;
  readonly network: Network;
  readonly cluster: EtcdCluster;
  readonly servers: readonly SimApiServer[];
  readonly clients: readonly SimNode[];
  /** Of their names. */
  readonly faults: RegExp;
}

interface Fault {
  readonly name: string;
  /** Against the others. */
  readonly weight: number;
  /** Begins it, and returns what ends it. */
  begin(targets: FaultTargets): () => void;
}

const HOUR_MS = 3_600_000;
const nothing = (): void => {};

function later(
  { world }: FaultTargets,
  { low, high }: { low: number; high: number },
  callback: () => void,
): void {
  world.clock.after(world.between(low, high), callback);
}

const FAULTS: readonly Fault[] = [
  {
    name: 'connections of a node are reset',
    weight: 3,
    begin: (targets) => {
      const { world, network } = targets;
      network.resetConnections(anyNode(targets));
      if (world.chance(0.5)) network.resetConnections(anyNode(targets));
      return nothing;
    },
  },
  {
    name: 'a partition between two nodes, one way or both',
    weight: 3,
    begin: (targets) => {
      const { world, network } = targets;
      const [one, other] = [anyNode(targets), anyNode(targets)];
      network.cut(one, other);
      if (world.chance(0.6)) network.cut(other, one);
      return () => {
        network.restore(one, other);
        network.restore(other, one);
      };
    },
  },
  {
    name: 'an API server is cut off from etcd',
    weight: 2,
    begin: ({ world, network, cluster, servers }) => {
      const { node } = world.pick(servers);
      for (const member of cluster.members) network.cut(member.node, node);
      return () => {
        for (const member of cluster.members) network.restore(member.node, node);
      };
    },
  },
  {
    name: 'messages take long and overtake each other',
    weight: 2,
    begin: ({ network }) => {
      network.delays = { lowMs: 0.1, highMs: 400 };
      return () => network.resetDelays();
    },
  },
  {
    name: 'an API server is killed',
    weight: 3,
    begin: (targets) => {
      const server = targets.world.pick(targets.servers);
      server.kill();
      later(targets, { low: 10, high: 2_000 }, () => server.isServing || server.boot());
      return nothing;
    },
  },
  {
    name: 'an API server stands still',
    weight: 2,
    begin: ({ world, servers }) => {
      const { node } = world.pick(servers);
      node.pause();
      return () => node.resume();
    },
  },
  {
    name: 'a member of etcd is killed',
    weight: 2,
    begin: ({ world, network, cluster }) => {
      const member = world.pick(cluster.members);
      network.resetConnections(member.node);
      member.restart();
      return nothing;
    },
  },
  {
    name: 'a member of etcd stands still',
    weight: 2,
    begin: ({ world, cluster }) => {
      const { node } = world.pick(cluster.members);
      node.pause();
      return () => node.resume();
    },
  },
  {
    name: 'the disk of a member is slow',
    weight: 2,
    begin: ({ world, cluster }) => {
      const member = world.pick(cluster.members);
      member.slowDown();
      return () => member.speedUp();
    },
  },
  {
    name: 'etcd has no leader',
    weight: 2,
    begin: ({ cluster: { log } }) => {
      log.loseLeader();
      return () => log.electLeader();
    },
  },
  {
    name: 'etcd is compacted',
    weight: 4,
    begin: ({ world, cluster: { log } }) => {
      const back = world.chance(0.5) ? 0 : Math.floor(world.between(0, 40));
      log.propose({ compact: Math.max(1, log.state.revision - back) }, nothing);
      return nothing;
    },
  },
  {
    name: 'the clock of an API server is wrong',
    weight: 1,
    begin: ({ world, servers }) => {
      const { node } = world.pick(servers);
      node.skewMs = world.pick([-HOUR_MS, HOUR_MS]);
      return () => void (node.skewMs = 0);
    },
  },
];

const BETWEEN_MS = { low: 50, high: 1_500 };
const LASTING_MS = { low: 50, high: 5_000 };

function anyNode({ world, cluster, servers, clients }: FaultTargets): SimNode {
  const { node } = world.pick([...cluster.members, ...servers, ...servers]);
  return world.chance(0.2) ? world.pick(clients) : node;
}

export class FaultSchedule {
  readonly #targets: FaultTargets;
  /** Each as often as it weighs. */
  readonly #wheel: readonly Fault[];
  readonly #lasting = new Set<() => void>();
  #stopped = false;

  constructor(targets: FaultTargets) {
    this.#targets = targets;
    this.#wheel = FAULTS.filter(({ name }) => targets.faults.test(name)).flatMap((fault) =>
      Array.from({ length: fault.weight }, () => fault),
    );
  }

  start(): void {
    if (this.#stopped || this.#wheel.length === 0) return;
    later(this.#targets, BETWEEN_MS, () => {
      if (this.#stopped) return;
      this.#begin(this.#targets.world.pick(this.#wheel));
      this.start();
    });
  }

  /** Everything that lasts ends. */
  stop(): void {
    this.#stopped = true;
    for (const end of Array.from(this.#lasting)) end();
    for (const server of this.#targets.servers) if (!server.isServing && !server.isBooting) server.boot();
  }

  #begin({ name, begin }: Fault): void {
    const { world } = this.#targets;
    world.note(`fault: ${name}`);
    const undo = begin(this.#targets);
    if (undo === nothing) return;
    const end = (): void => {
      if (!this.#lasting.delete(end)) return;
      world.note(`over: ${name}`);
      undo();
    };
    this.#lasting.add(end);
    later(this.#targets, LASTING_MS, end);
  }
}
