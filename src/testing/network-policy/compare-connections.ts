/** For tests only: random clusters on a real network, every connection predicted by the model and tried. What differs fails with the seed. */
import assert from 'node:assert/strict';
import { seededRandom } from '#stdx/random.ts';
import { Connections, type Connection } from './connections.ts';
import { PORTS, RandomCluster } from './random-cluster.ts';
import { RealNetwork, type NetworkHost } from './real-network.ts';

interface CompareOptions {
  readonly seed: number;
  /** Ends after the round that is under way then. */
  readonly durationMs: number;
  readonly nodes: number;
  readonly podsPerNode: number;
}

interface Compared {
  readonly rounds: number;
  readonly allowed: number;
  readonly denied: number;
}

interface Tried extends Connection {
  readonly from: NetworkHost;
  readonly to: NetworkHost;
  /** The host's own, where the Service's leads. */
  readonly endpoint: string;
}

const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
/** More than the kernel's second try at a connection, for a machine that is busy. */
const PATIENCE_MS = 5_000;
const GRACE_MS = 50;
const WARM_TRIES = 20;
const WARM_MS = 500;
/** Of the differences that a failure shows. */
const SHOWN = 10;

export async function compareConnections({ seed, durationMs, ...size }: CompareOptions): Promise<Compared> {
  const network = new RealNetwork(size);
  try {
    const connections = await Connections.open(network.hosts, PORTS);
    try {
      await awaitNetwork(network, connections);
      const cluster = new RandomCluster(network, seededRandom(seed));
      const untilMs = performance.now() + durationMs;
      const total = { rounds: 0, allowed: 0, denied: 0 };
      do {
        cluster.change();
        const { allowed, denied } = await compareOnce({
          network,
          connections,
          cluster,
          seed,
          round: total.rounds,
        });
        total.rounds += 1;
        total.allowed += allowed;
        total.denied += denied;
      } while (performance.now() < untilMs);
      return total;
    } finally {
      connections.close();
    }
  } finally {
    await network.close();
  }
}

/** Without rules everything is through, once addresses are usable and neighbours are known. */
async function awaitNetwork(network: RealNetwork, connections: Connections): Promise<void> {
  const all = everyConnection(network.hosts);
  const expected = new Set(all);
  for (let tries = 0, missing = all.length; missing > 0; tries++) {
    assert.ok(tries < WARM_TRIES, `without policies ${missing} of ${all.length} connections are not through`);
    const through = await connections.attempt(all, { expected, patienceMs: WARM_MS, graceMs: 0 });
    missing = all.length - through.size;
  }
}

interface Round {
  readonly network: RealNetwork;
  readonly connections: Connections;
  readonly cluster: RandomCluster;
  readonly seed: number;
  readonly round: number;
}

async function compareOnce({
  network,
  connections,
  cluster,
  seed,
  round,
}: Round): Promise<Omit<Compared, 'rounds'>> {
  const all = everyConnection(network.hosts);
  const expected = new Set(all.filter((one) => cluster.isAllowed({ ...one, destination: one.endpoint })));
  const through = await connections.attempt(all, { expected, patienceMs: PATIENCE_MS, graceMs: GRACE_MS });
  const differing = all.filter((one) => expected.has(one) !== through.has(one));
  if (differing.length > 0)
    assert.fail(
      [
        `seed ${seed}, round ${round}: ${differing.length} of ${all.length} connections are not as predicted`,
        ...differing
          .slice(0, SHOWN)
          .map((one) => `${describe(one)}: ${through.has(one) ? 'through' : 'not through'}`),
        String(cluster),
      ].join('\n'),
    );
  return { allowed: expected.size, denied: all.length - expected.size };
}

function everyConnection(hosts: readonly NetworkHost[]): Tried[] {
  return hosts.flatMap((from) =>
    hosts.flatMap((to) =>
      to.addresses.flatMap((endpoint, family) => {
        // A pod's way back to itself by a Service needs the proxy's translation of the source; nobody outside has the cluster's addresses.
        const service = from === to || from.node === undefined ? undefined : to.serviceAddresses[family];
        return [endpoint, ...(service === undefined ? [] : [service])].flatMap((destination) =>
          PROTOCOLS.flatMap((protocol) =>
            PORTS.map((port) => ({
              from,
              to,
              source: from.addresses[family]!,
              destination,
              endpoint,
              protocol,
              port,
            })),
          ),
        );
      }),
    ),
  );
}

function describe({ from, to, source, destination, protocol, port }: Tried): string {
  return `${from.name} (${source}) → ${to.name} (${destination}) ${protocol} ${port}`;
}
