/** One world from its beginning to its judgement: three API servers on three members of etcd, clients that write, read and watch, and whatever the seed lets go wrong. */
import { ApiClient } from './api-client.ts';
import { SimApiServer, type StoreLayer } from './api-server.ts';
import { EtcdCluster } from './etcd-cluster.ts';
import { FaultSchedule } from './faults.ts';
import { History, readTruth, type Truth } from './history.ts';
import { judge } from './judge.ts';
import { Network } from './network.ts';
import { Reflector } from './reflector.ts';
import { StoreRecorder } from './store-recorder.ts';
import { Reader, Writer, type Workers } from './workload.ts';
import { SimNode, World } from './world.ts';

const SERVERS = 3;
const WRITERS = 3;
const READERS = 2;
const REFLECTORS = 4;
const START_MS = 30_000;
/** Of worlds, so many have an etcd that tells of progress which its watches have not made. */
const OLD_ETCD = 0.2;
const OLD_VERSION = '3.5.12';
/** Of faults. */
const STORM_MS = 12_000;
/** For everything to recover. */
const CALM_MS = 30_000;
/** Without writes, so that every watch can have been told everything. */
const QUIET_MS = 8_000;

interface SimulationOptions {
  readonly seed: number;
  /** Planted faults. Default: none. */
  readonly plants?: readonly StoreLayer[] | undefined;
  /** Only those whose name matches. Default: all. */
  readonly faults?: RegExp | undefined;
}

export interface Report {
  readonly seed: number;
  /** One sentence each; empty: everything held. */
  readonly breaches: readonly string[];
  readonly trace: readonly string[];
  /** Logged by servers. */
  readonly errors: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
  readonly history: History;
  readonly truth: Truth;
}

export async function simulate({ seed, plants = [], faults = /./ }: SimulationOptions): Promise<Report> {
  const simulation = new Simulation(seed, plants);
  await simulation.run(faults);
  return simulation.report();
}

class Simulation {
  readonly #world: World;
  readonly #network: Network;
  readonly #cluster: EtcdCluster;
  readonly #servers: readonly SimApiServer[];
  readonly #history = new History();
  readonly #recorder: StoreRecorder;
  readonly #clients: SimNode[] = [];
  readonly #reflectors: Reflector[] = [];
  #writersOver = false;
  #over = false;

  constructor(seed: number, plants: readonly StoreLayer[]) {
    const world = (this.#world = new World(seed));
    this.#network = new Network(world);
    this.#cluster = new EtcdCluster(world, { version: world.chance(OLD_ETCD) ? OLD_VERSION : undefined });
    this.#recorder = new StoreRecorder(this.#cluster.log);
    const compactionIntervalMs = world.chance(0.5) ? 3_000 : 0;
    this.#servers = Array.from(
      { length: SERVERS },
      (_, i) =>
        new SimApiServer({
          node: new SimNode(`api${i + 1}`, world),
          network: this.#network,
          cluster: this.#cluster,
          layers: [...plants, this.#recorder.layer],
          compactionIntervalMs,
        }),
    );
  }

  get #areServing(): boolean {
    return this.#servers.every(({ isServing }) => isServing);
  }

  async run(faults: RegExp): Promise<void> {
    const world = this.#world;
    for (const server of this.#servers) server.boot();
    if (!(await world.runUntil(() => this.#areServing, START_MS)))
      this.#history.faults.push('the API servers did not start');
    this.#startClients();
    const schedule = new FaultSchedule({
      world,
      network: this.#network,
      cluster: this.#cluster,
      servers: this.#servers,
      clients: this.#clients,
      faults,
    });
    schedule.start();
    await world.run(STORM_MS);
    schedule.stop();
    if (!(await world.runUntil(() => this.#areServing, CALM_MS)))
      this.#history.faults.push('not every API server recovered');
    this.#writersOver = true;
    await world.run(QUIET_MS);
    if (!(await world.runUntil(() => this.#reflectors.every(({ isWatching }) => isWatching), CALM_MS)))
      this.#history.faults.push('not every reflector recovered');
    await world.run(QUIET_MS);
    const { revision } = this.#cluster.log.state;
    for (const reflector of this.#reflectors) reflector.finish(revision);
    this.#over = true;
    for (const server of this.#servers) server.kill();
    await world.run(1_000);
  }

  #startClients(): void {
    for (let i = 1; i <= WRITERS; i++) new Writer(this.#worker(`writer${i}`, () => this.#writersOver)).run();
    for (let i = 1; i <= READERS; i++) new Reader(this.#worker(`reader${i}`, () => this.#over)).run();
    for (let i = 1; i <= REFLECTORS; i++) {
      const reflector = new Reflector(
        this.#worker(`reflector${i}`, () => this.#over),
        { labelled: i % 2 === 0, floor: () => this.#cluster.log.agreedFloor },
      );
      this.#reflectors.push(reflector);
      reflector.run();
    }
  }

  #worker(name: string, isOver: () => boolean): Workers {
    const node = new SimNode(name, this.#world);
    this.#clients.push(node);
    const client = new ApiClient(node, { servers: this.#servers, network: this.#network });
    return { node, client, history: this.#history, state: this.#cluster.log.state, isOver };
  }

  report(): Report {
    const truth = readTruth(this.#cluster.log.state);
    const history = this.#history;
    const { seed, trace, errors } = this.#world;
    const { writes, reads, lists, streams } = history;
    const counts = {
      changes: truth.changes.length,
      writes: writes.length,
      unknown: writes.filter(({ outcome }) => outcome.kind === 'unknown').length,
      reads: reads.length,
      lists: lists.length,
      streams: streams.length,
      expired: streams.filter(({ expired }) => expired !== undefined).length,
      events: streams.reduce((sum, { entries }) => sum + entries.length, 0),
      storeWatches: this.#recorder.watches.length,
    };
    const breaches = [...judge(history, truth), ...this.#recorder.judge()];
    return { seed, breaches, trace, errors, counts, history, truth };
  }
}
