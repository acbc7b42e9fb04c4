/**
 * The local balancer: one address on this machine for every API server. It forwards TCP; TLS stays between clients and servers.
 *
 *   EndpointSlice default/kubernetes ─┐                        ┌─ checks: /readyz of each, every second
 *   last good list on disk ───────────┼─► servers ─► pool ◄────┤
 *   seeds (never forgotten) ──────────┘                ▲       └─ dials that are refused
 *   127.0.0.1:7445, [::1]:7445 ──connection──► relay ──┘       bytes without an answer ─► silence ─► probe, ejection
 *
 * The slice is watched through the balancer itself. Design: docs/designs/0002-several-machines.md.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { EndpointSlice } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { endpointSlices } from '#client/refs.ts';
import type { Component } from '#runtime/component.ts';
import type { Clock } from '#stdx/clock.ts';
import { label } from '#stdx/instruments.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { formatAddress, type Address } from './address.ts';
import { Checker, type CheckTrust } from './checker.ts';
import { MAX_SERVERS, readLastGoodList, writeLastGoodList } from './last-good-list.ts';
import { BalancerMetrics } from './metrics.ts';
import { Patience } from './patience.ts';
import { ServerPool, type PoolServer } from './pool.ts';
import { Relay, RELAY_SOCKET } from './relay.ts';
import { Seeds, type Resolve } from './seeds.ts';
import { SilenceDetector } from './silence.ts';
import { StatusListener } from './status-listener.ts';

export interface BalancerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** In [0, 1). */
  readonly random: () => number;
  /** IP addresses and ports. */
  readonly listen: readonly Address[];
  /** The servers of join: addresses or names. */
  readonly seeds: readonly Address[];
  readonly resolve: Resolve;
  /** File of the last good list; undefined: not stored. */
  readonly listFile?: string | undefined;
  /** A client that leads through this balancer. Without one (the machine has no credentials yet), the list is not watched. */
  readonly api?: Client | undefined;
  readonly trust: () => CheckTrust;
  /** Where /healthz, /readyz and /metrics are served. */
  readonly status?: Address | undefined;
  /** Default MAX_CONNECTIONS. */
  readonly maxConnections?: number;
}

/** Further ones are closed at once and counted. */
const MAX_CONNECTIONS = 4_096;
const BACKLOG = 1_024;
/**
 * After a server was suspected: what its clients wait for may be its etcd, which it notices a moment later than we that something is wrong. Then /readyz fails, and
 * it must not take a whole period of checks to be heard of.
 */
const FOLLOW_UP_MS = [350, 700];
/** Servers asked for comparison when one is suspected to be silent. */
const COMPARED_SERVERS = 2;

/** What the balancer has for each server. */
interface Watched {
  readonly checker: Checker;
  readonly silence: SilenceDetector;
}

export interface Balancer extends Component {
  /** The machine has credentials now. */
  follow(api: Client): void;
  /** Of the listeners, in the order of `listen`. */
  readonly ports: readonly number[];
  readonly servers: readonly PoolServer[];
  metrics(): string;
}

export function createBalancer(options: BalancerOptions): Balancer {
  return new LocalBalancer(options);
}

class LocalBalancer implements Balancer {
  readonly name = 'balancer';
  readonly #options: BalancerOptions;
  readonly #log: Logger;
  readonly #metrics = new BalancerMetrics();
  readonly #pool: ServerPool;
  readonly #seeds: Seeds;
  /** Of all checks: what makes one server slow, a busy machine, makes the others slow too. */
  readonly #patience: Patience;
  readonly #watched = new Map<string, Watched>();
  readonly #clients = new Set<Socket>();
  readonly #status: StatusListener | undefined;
  #listeners: readonly Server[] = [];
  #unsubscribe: (() => void) | undefined;
  /** From the slice; until that was read, from the file. */
  #list: readonly Address[] = [];
  #fail: (error: Error) => void = () => {};
  #stopped = false;

  constructor(options: BalancerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#patience = new Patience(options.clock);
    this.#pool = new ServerPool({
      random: options.random,
      localAddresses,
      events: {
        added: (server) => this.#added(server),
        removed: (server) => this.#removed(server),
        ready: ({ key }) => this.#log.info('API server is ready', { server: key }),
        ejected: ({ key }, problem) => this.#ejected(key, problem),
        cut: ({ key }, connections) => {
          this.#metrics.cut.add(label('server', key), connections);
          this.#log.info('closing connections to an ejected API server', { server: key, connections });
        },
      },
    });
    this.#seeds = new Seeds({ ...options, changed: () => this.#refresh() });
    this.#status =
      options.status &&
      new StatusListener({
        address: options.status,
        isReady: () => this.#pool.hasReady,
        metrics: () => this.metrics(),
      });
  }

  get ports(): readonly number[] {
    return this.#listeners.map((listener) => (listener.address() as { readonly port: number }).port);
  }

  get servers(): readonly PoolServer[] {
    return this.#pool.servers;
  }

  metrics(): string {
    return this.#metrics.render(this.#pool.servers);
  }

  onFailure(callback: (error: Error) => void): void {
    this.#fail = callback;
  }

  async start(): Promise<void> {
    const { listen, listFile, api } = this.#options;
    if (listFile !== undefined) this.#list = readLastGoodList(listFile, this.#log);
    this.#refresh();
    this.#seeds.start();
    this.#listeners = await Promise.all(listen.map((address) => this.#listen(address)));
    await this.#status?.start();
    this.#log.info('balancer listening', {
      listen: listen.map(formatAddress).join(' '),
      servers: this.#pool.servers.map(({ key }) => key).join(' '),
    });
    if (api) this.follow(api);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    this.#seeds.close();
    for (const watched of this.#watched.values()) close(watched);
    const closed = this.#listeners.map((listener) => new Promise((resolve) => listener.close(resolve)));
    for (const client of this.#clients) client.destroy();
    await Promise.all([...closed, this.#status?.stop()]);
  }

  follow(api: Client): void {
    this.#unsubscribe?.();
    const slices = api.informer(endpointSlices, {
      namespace: 'default',
      fieldSelector: 'metadata.name=kubernetes',
    });
    const changed = (): void => this.#listChanged(slices);
    this.#unsubscribe = slices.subscribe({ added: changed, updated: changed });
  }

  #listen(address: Address): Promise<Server> {
    const server = createServer({ ...RELAY_SOCKET, pauseOnConnect: true });
    server.on('connection', (client) => this.#accept(client));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG, ipv6Only: true }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#fail(error));
        resolve(server);
      });
    });
  }

  #accept(client: Socket): void {
    const { clock, maxConnections = MAX_CONNECTIONS } = this.#options;
    if (this.#stopped || this.#clients.size >= maxConnections) {
      this.#metrics.rejected.add(label('reason', 'limit'));
      client.destroy();
      return;
    }
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    const relay = new Relay({
      client,
      clock,
      candidates: this.#pool.candidates(),
      dialing: ({ key }, connection) => {
        this.#pool.attach(key, connection);
        this.#watched.get(key)?.silence.sent();
      },
      dialFailed: ({ key }, { relay: connection, problem }) => {
        this.#pool.detach(key, connection);
        if (problem === undefined) return;
        this.#metrics.dialFailures.add(label('server', key));
        this.#pool.failed(key, problem);
      },
      connected: ({ key }) => this.#metrics.connections.add(label('server', key)),
      sent: ({ key }) => this.#watched.get(key)?.silence.sent(),
      received: ({ key }) => this.#watched.get(key)?.silence.received(),
      closed: ({ key }, connection) => {
        this.#metrics.sent.add(label('server', key), connection.sentBytes);
        this.#metrics.received.add(label('server', key), connection.receivedBytes);
        this.#pool.detach(key, connection);
      },
      unserved: () => this.#metrics.rejected.add(label('reason', 'no_server')),
    });
    void relay.run();
  }

  #added({ key, address }: PoolServer): void {
    const { clock, trust } = this.#options;
    const silence = new SilenceDetector({
      clock,
      isWatched: () => this.#pool.isReady(key),
      probe: () => this.#probe(key),
      hasOtherAnswered: (askedMs) => this.#others(key).some(({ checker }) => checker.answeredMs >= askedMs),
      silent: () => this.#pool.failed(key, 'no answer, while another API server answers'),
    });
    const checker = new Checker({
      address,
      clock,
      trust,
      asked: () => silence.sent(),
      timeoutMs: () => this.#patience.timeoutMs,
      passed: () => {
        silence.received();
        this.#patience.answered(key);
        this.#pool.passed(key);
      },
      failed: (problem) => this.#pool.failed(key, problem),
      late: (problem) => {
        if (this.#pool.isReady(key)) this.#patience.late(key);
        this.#pool.failed(key, problem);
      },
    });
    this.#watched.set(key, { checker, silence });
    checker.now();
  }

  #probe(key: string): void {
    const checker = this.#watched.get(key)?.checker;
    checker?.probe();
    for (const ms of FOLLOW_UP_MS) this.#options.clock.after(ms, () => checker?.now());
    for (const { checker } of this.#others(key).slice(0, COMPARED_SERVERS)) checker.now();
  }

  /** The other servers that are ready, the one that answered last first. */
  #others(key: string): Watched[] {
    return [...this.#watched]
      .filter(([other]) => other !== key && this.#pool.isReady(other))
      .map(([, watched]) => watched)
      .toSorted((one, other) => other.checker.answeredMs - one.checker.answeredMs);
  }

  #removed({ key }: PoolServer): void {
    const watched = this.#watched.get(key);
    if (watched) close(watched);
    this.#watched.delete(key);
    this.#patience.forget(key);
    this.#metrics.gone(key);
    this.#log.info('API server removed', { server: key });
  }

  #ejected(key: string, problem: string): void {
    this.#metrics.ejections.add(label('server', key));
    this.#log.warn('API server ejected', { server: key, problem });
  }

  /** An empty list is ignored: some server served it. */
  #listChanged(slices: Informer<EndpointSlice>): void {
    const named = slices.list().flatMap(listServers).slice(0, MAX_SERVERS);
    const unique = [...new Map(named.map((address) => [formatAddress(address), address])).values()];
    if (unique.length === 0 || sameServers(unique, this.#list)) return;
    this.#list = unique;
    this.#log.info('list of API servers changed', { servers: unique.map(formatAddress).join(' ') });
    this.#refresh();
    this.#keepList();
  }

  #keepList(): void {
    const { listFile } = this.#options;
    if (listFile === undefined) return;
    try {
      writeLastGoodList(listFile, this.#list);
    } catch (error) {
      this.#log.error('error storing the list of API servers', {
        path: listFile,
        error: errorMessage(error),
      });
    }
  }

  /** Seeds first, so that a long list does not push them out; never the balancer itself. */
  #refresh(): void {
    if (this.#stopped) return;
    const own = new Set(this.#options.listen.map(formatAddress));
    const all = [...this.#seeds.addresses, ...this.#list].filter(
      (address) => !own.has(formatAddress(address)),
    );
    if (all.length > MAX_SERVERS)
      this.#log.warn('more API servers than the balancer supports', {
        servers: all.length,
        taken: MAX_SERVERS,
      });
    this.#pool.setServers(all.slice(0, MAX_SERVERS));
  }
}

function close({ checker, silence }: Watched): void {
  checker.close();
  silence.close();
}

function listServers({ endpoints = [], ports = [] }: EndpointSlice): Address[] {
  const port = (ports.find(({ name }) => name === 'https') ?? ports[0])?.port;
  if (port === undefined) return [];
  return endpoints
    .filter(({ conditions }) => conditions?.ready !== false)
    .flatMap(({ addresses }) => addresses.map((host) => ({ host, port })));
}

function sameServers(one: readonly Address[], other: readonly Address[]): boolean {
  const text = (addresses: readonly Address[]): string => addresses.map(formatAddress).sort().join();
  return text(one) === text(other);
}

function localAddresses(): ReadonlySet<string> {
  return new Set(
    Object.values(networkInterfaces()).flatMap((found) => (found ?? []).map(({ address }) => address)),
  );
}
