/**
 * One API server in the world: the server of production with its registry, handlers and watch cache, over the etcd driver of production, on the node's clock. Only
 * the listener is replaced, by the simulated network.
 *
 *   down ──boot()──▶ opening the store ──▶ serving ──kill()──▶ down
 *                        └── no etcd ── BOOT_RETRY_MS ──▶ opening …
 */
import { allowAll } from '#apiserver/authz/authorizer.ts';
import type { ApiRequest, ApiResponse } from '#apiserver/http/request.ts';
import { createApiServer, type ApiServer } from '#apiserver/server.ts';
import { RESOURCES } from '#resources/registry.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
import type { ResponseSink } from '#stdx/response-sink.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import type { Store } from '#storage/store.ts';
import type { EtcdCluster } from './etcd-cluster.ts';
import { EtcdLink } from './etcd-link.ts';
import type { Connection, Network } from './network.ts';
import type { SimNode, World } from './world.ts';

const BOOT_RETRY_MS = 500;
const SERVED = new Set(['configmaps', 'namespaces']);
const REGISTRY = RESOURCES.filter(({ group, plural }) => group === '' && SERVED.has(plural));
const USER = { name: 'client', groups: ['system:masters'] };

/** Put between the driver and the server: records, or plants a fault. */
export type StoreLayer = (store: Store, server: SimApiServer) => Store;

interface SimApiServerOptions {
  readonly node: SimNode;
  readonly network: Network;
  readonly cluster: EtcdCluster;
  readonly layers: readonly StoreLayer[];
  /** Of old history, by one of the servers. 0: never. */
  readonly compactionIntervalMs: number;
}

export interface SimRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly body?: object | undefined;
  /** Default: application/json. */
  readonly contentType?: string | undefined;
}

/** What of a response reaches the client, in order. */
interface SimResponseEnds {
  readonly head: (status: number, body: string | undefined) => void;
  readonly chunk: (text: string) => void;
  readonly end: () => void;
}

export class SimApiServer {
  readonly node: SimNode;
  readonly #options: SimApiServerOptions;
  #server: ApiServer | undefined;
  isBooting = false;

  constructor(options: SimApiServerOptions) {
    this.#options = options;
    this.node = options.node;
  }

  get world(): World {
    return this.node.world;
  }

  get isServing(): boolean {
    return this.#server !== undefined;
  }

  /** 'api1 (life 2)' */
  get identity(): string {
    return `${this.node.name} (life ${this.node.life})`;
  }

  boot(): void {
    const { life } = this.node;
    this.isBooting = true;
    this.#boot().then(
      (server) => {
        if (life !== this.node.life) return;
        this.#server = server;
        this.isBooting = false;
      },
      (error: unknown) => {
        if (life !== this.node.life) return;
        this.world.note(`${this.identity} does not start: ${errorMessage(error)}`);
        this.node.clock.after(BOOT_RETRY_MS, () => this.boot());
      },
    );
  }

  async #boot(): Promise<ApiServer> {
    const { node, network, cluster, layers, compactionIntervalMs } = this.#options;
    const { clock } = node;
    const { identity } = this;
    const log = createLogger({
      level: 'error',
      write: (line) => this.world.errors.push(`${this.world.nowMs.toFixed(0)} ${identity} ${line.trim()}`),
    });
    const driver = await openEtcdStore({
      endpoints: cluster.members.map((member) => member.node.name),
      clock,
      log,
      compactionIntervalMs,
      createMember: (endpoint) => {
        const member = cluster.members.find((one) => one.node.name === endpoint)!;
        return new EtcdLink({ node, member, network });
      },
    });
    return createApiServer({
      store: layers.reduce((store, layer) => layer(store, this), driver),
      registry: REGISTRY,
      authentication: () => ({ authenticator: { authenticate: () => ({ user: USER }) } }),
      authorization: () => allowAll,
      bootstrapObjects: false,
      clock,
      log,
    });
  }

  /** As by SIGKILL: connections are reset by the kernel. */
  kill(): void {
    this.node.die();
    this.#server = undefined;
    this.isBooting = false;
    this.#options.network.resetConnections(this.node);
  }

  /** A request arrived over this connection; the response goes back over it. */
  serve(request: SimRequest, { connection, ends }: { connection: Connection; ends: SimResponseEnds }): void {
    const answers = connection.openLane('client');
    const refuse = (code: number, text: string): void => answers(() => ends.head(code, text));
    if (!this.#server) return refuse(503, '{}');
    this.#server
      .handler(toApiRequest(request, connection))
      .then(({ status, body }) => {
        if (typeof body !== 'function') return answers(() => ends.head(status, textOf(body)));
        answers(() => ends.head(status, undefined));
        body(new SimSink({ answers, ends, connection }));
      })
      .catch((error: unknown) => {
        this.world.errors.push(`${this.identity}: the handler failed: ${errorMessage(error)}`);
        refuse(500, '{}');
      });
  }
}

function toApiRequest(
  { method, path, query, body, contentType = 'application/json' }: SimRequest,
  connection: Connection,
): ApiRequest {
  const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
  return {
    method,
    path,
    query,
    headers: { 'content-type': contentType, 'audit-id': 'simulation' },
    remoteAddress: '127.0.0.1',
    onAbort: (callback) => void connection.onBreak(callback, 'server'),
    body: () => Promise.resolve(bytes),
  };
}

function textOf(body: Exclude<ApiResponse['body'], (sink: ResponseSink) => void>): string {
  return (Buffer.isBuffer(body) ? body : Buffer.concat(body as Buffer[])).toString();
}

interface SimSinkOptions {
  readonly answers: (deliver: () => void) => void;
  readonly ends: SimResponseEnds;
  readonly connection: Connection;
}

/** Of what is written at one moment, so much arrives in two pieces. */
const SPLIT = 0.2;

/** How much the server writes at once depends on the real time that it took: what it writes at one moment of the world is one message. */
class SimSink implements ResponseSink {
  readonly bufferedBytes = 0;
  closed = false;
  #text = '';
  readonly #options: SimSinkOptions;

  constructor(options: SimSinkOptions) {
    this.#options = options;
    this.closed = options.connection.broken !== undefined;
    options.connection.onBreak(() => (this.closed = true), 'server');
  }

  write(chunk: Buffer): boolean {
    if (this.closed) return true;
    if (this.#text === '') this.#options.connection.ends[1].clock.after(0, () => this.#flush());
    this.#text += chunk.toString();
    return true;
  }

  #flush(): void {
    const { answers, ends, connection } = this.#options;
    const text = this.#text;
    this.#text = '';
    if (text === '' || connection.broken !== undefined) return;
    const at = connection.random() < SPLIT ? Math.floor(connection.random() * text.length) : text.length;
    for (const piece of [text.slice(0, at), text.slice(at)])
      if (piece !== '') answers(() => ends.chunk(piece));
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  end(): void {
    if (this.closed) return;
    const { answers, ends } = this.#options;
    this.#flush();
    answers(() => ends.end());
    this.closed = true;
  }

  onClose(callback: () => void): void {
    if (this.#options.connection.broken !== undefined) return callback();
    this.#options.connection.onBreak(callback, 'server');
  }
}
