/** A world of a few API servers and a client of each, without chance: for tests that bring about one situation by hand. */
import assert from 'node:assert/strict';
import { ApiClient, type SimAnswer, type SimWatchEvent } from './api-client.ts';
import { SimApiServer, type StoreLayer } from './api-server.ts';
import { EtcdCluster } from './etcd-cluster.ts';
import { seenObject, type SeenObject } from './history.ts';
import { Network } from './network.ts';
import { MAPS } from './workload.ts';
import { SimNode, World } from './world.ts';

const START_MS = 30_000;
/** For one answer. */
const PATIENCE_MS = 60_000;

export interface SmallWorldOptions {
  readonly seed?: number | undefined;
  readonly servers?: number | undefined;
  readonly etcdVersion?: string | undefined;
  readonly layers?: readonly StoreLayer[] | undefined;
}

/** A watch, with what it has received so far. */
export interface SmallWatch {
  readonly events: SimWatchEvent[];
  readonly objects: SeenObject[];
  /** Of the newest event or bookmark. */
  readonly revision: number;
  readonly isOver: boolean;
}

export class SmallWorld {
  readonly world: World;
  readonly network: Network;
  readonly cluster: EtcdCluster;
  readonly servers: readonly SimApiServer[];
  readonly #clients: readonly ApiClient[];

  constructor({ seed = 1, servers = 1, etcdVersion, layers = [] }: SmallWorldOptions) {
    const world = (this.world = new World(seed));
    const network = (this.network = new Network(world));
    const cluster = (this.cluster = new EtcdCluster(world, { version: etcdVersion }));
    this.servers = Array.from({ length: servers }, (_, i) => {
      const node = new SimNode(`api${i + 1}`, world);
      return new SimApiServer({ node, network, cluster, layers, compactionIntervalMs: 0 });
    });
    this.#clients = this.servers.map((server, i) => {
      const node = new SimNode(`client${i + 1}`, world);
      return new ApiClient(node, { servers: [server], network });
    });
  }

  async start(which: readonly SimApiServer[] = this.servers): Promise<void> {
    for (const server of which) server.boot();
    const isUp = await this.world.runUntil(() => which.every(({ isServing }) => isServing), START_MS);
    assert.ok(isUp, 'the API servers did not start');
  }

  /** Between a server and every member of etcd, both ways. */
  cutOff({ node }: SimApiServer): void {
    for (const member of this.cluster.members) {
      this.network.cut(node, member.node);
      this.network.cut(member.node, node);
    }
  }

  restore({ node }: SimApiServer): void {
    for (const member of this.cluster.members) {
      this.network.restore(node, member.node);
      this.network.restore(member.node, node);
    }
  }

  /** By the server of that index. */
  async request(server: number, target: string, body?: object): Promise<SimAnswer> {
    return this.settle(this.begin(server, target, body));
  }

  /** Without waiting for the answer. */
  begin(server: number, target: string, body?: object): Promise<SimAnswer> {
    const [method = '', url = ''] = target.split(' ');
    const [path = '', query = ''] = url.split('?');
    return this.#clients[server]!.request({ method, path, query, body });
  }

  /** Runs the world until the promise is settled. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const over = (): void => void (isSettled = true);
    promise.then(over, over);
    assert.ok(await this.world.runUntil(() => isSettled, PATIENCE_MS), 'no answer');
    return promise;
  }

  /** Returns its resourceVersion. */
  async write(server: number, name: string, value: string): Promise<number> {
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { v: value } };
    const made = await this.request(server, `POST ${MAPS}`, object);
    const { status, body } =
      made.status === 409 ? await this.request(server, `PUT ${MAPS}/${name}`, object) : made;
    assert.ok(status === 200 || status === 201, JSON.stringify(body));
    return Number(body.metadata.resourceVersion);
  }

  /** Over a connection of its own. */
  watch(server: number, query: string): SmallWatch {
    const node = new SimNode(`watcher of api${server + 1}`, this.world);
    const client = new ApiClient(node, { servers: [this.servers[server]!], network: this.network });
    const events: SimWatchEvent[] = [];
    let isOver = false;
    const over = (): void => void (isOver = true);
    client
      .watch(
        { method: 'GET', path: MAPS, query: `watch=1&timeoutSeconds=3000&${query}` },
        { onBegin: () => {}, onEvent: (event) => events.push(event) },
      )
      .then(over, over);
    return {
      events,
      get objects() {
        return events.filter(({ type }) => type !== 'BOOKMARK').map(({ object }) => seenObject(object));
      },
      get revision() {
        return Number(events.at(-1)?.object.metadata.resourceVersion ?? 0);
      },
      get isOver() {
        return isOver;
      },
    };
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    assert.ok(await this.world.runUntil(condition, PATIENCE_MS), what);
  }

  stop(): void {
    for (const server of this.servers) server.kill();
  }
}
