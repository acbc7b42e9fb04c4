/**
 * The state of each API server: selects the server of a connection, and the connections to close. Pure; opens nothing.
 *
 *   unknown ──check passed──► ready ──dial refused, check failed──► ejected ──check passed──► ready
 *
 * Connections are closed as soon as a server is ejected while another one is ready. Where none is ready all are tried, and nothing is closed: a wrong health
 * check must not cause an outage. A server that leaves the list gets no new connections and is dropped with its last one.
 */
import { formatAddress, type Address } from './address.ts';

type Health = 'unknown' | 'ready' | 'ejected';

/** One connection that passes through. */
export interface Cuttable {
  cut(reason: string): void;
}

export interface PoolServer {
  readonly key: string;
  readonly address: Address;
  readonly health: Health;
  /** Why it is ejected. */
  readonly problem: string;
  readonly isListed: boolean;
  readonly isLocal: boolean;
  readonly connections: ReadonlySet<Cuttable>;
}

interface MutableServer extends PoolServer {
  health: Health;
  problem: string;
  isListed: boolean;
  isLocal: boolean;
  readonly connections: Set<Cuttable>;
}

interface PoolEvents {
  added(server: PoolServer): void;
  removed(server: PoolServer): void;
  ready(server: PoolServer): void;
  ejected(server: PoolServer, problem: string): void;
  cut(server: PoolServer, connections: number): void;
}

export interface PoolOptions {
  /** In [0, 1). */
  readonly random: () => number;
  /** Addresses of this machine: their server comes first. */
  readonly localAddresses: () => ReadonlySet<string>;
  readonly events: PoolEvents;
}

export class ServerPool {
  readonly #options: PoolOptions;
  readonly #servers = new Map<string, MutableServer>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get servers(): readonly PoolServer[] {
    return [...this.#servers.values()];
  }

  get hasReady(): boolean {
    return this.#listed().some(({ health }) => health === 'ready');
  }

  /** Listed and ready: it gets connections. */
  isReady(key: string): boolean {
    const server = this.#servers.get(key);
    return server !== undefined && server.isListed && server.health === 'ready';
  }

  /** Servers that are no longer named keep their connections, but get no more. */
  setServers(addresses: readonly Address[]): void {
    const local = this.#options.localAddresses();
    const named = new Set(addresses.map(formatAddress));
    for (const address of addresses) {
      const key = formatAddress(address);
      const known = this.#servers.get(key);
      const isLocal = local.has(address.host);
      if (known) Object.assign(known, { isListed: true, isLocal });
      else this.#add({ key, address, isLocal });
    }
    for (const server of this.#servers.values()) {
      if (named.has(server.key)) continue;
      server.isListed = false;
      this.#forgetUnused(server);
    }
  }

  #add(found: Pick<MutableServer, 'key' | 'address' | 'isLocal'>): void {
    const server: MutableServer = {
      ...found,
      health: 'unknown',
      problem: '',
      isListed: true,
      connections: new Set(),
    };
    this.#servers.set(server.key, server);
    this.#options.events.added(server);
  }

  #forgetUnused(server: MutableServer): void {
    if (server.isListed || server.connections.size > 0 || !this.#servers.delete(server.key)) return;
    this.#options.events.removed(server);
  }

  /** In the order to try them: those that are ready; when none is, all. The local one first, else the less busy of two chosen at random. */
  candidates(): readonly PoolServer[] {
    const listed = this.#listed();
    const ready = listed.filter(({ health }) => health === 'ready');
    if (ready.length > 0) return this.#ordered(ready);
    // Not yet checked is more hopeful than known to fail.
    const unknown = listed.filter(({ health }) => health === 'unknown');
    const ejected = listed.filter(({ health }) => health === 'ejected');
    return [...this.#ordered(unknown), ...this.#ordered(ejected)];
  }

  #ordered(servers: readonly MutableServer[]): PoolServer[] {
    const left = [...servers];
    const ordered: PoolServer[] = [];
    while (left.length > 0) {
      const at = this.#choose(left);
      ordered.push(left[at]!);
      left.splice(at, 1);
    }
    return ordered;
  }

  #choose(servers: readonly PoolServer[]): number {
    const local = servers.findIndex(({ isLocal }) => isLocal);
    if (local !== -1 || servers.length === 1) return Math.max(local, 0);
    const first = Math.floor(this.#options.random() * servers.length);
    const second = (first + 1 + Math.floor(this.#options.random() * (servers.length - 1))) % servers.length;
    return servers[second]!.connections.size < servers[first]!.connections.size ? second : first;
  }

  passed(key: string): void {
    const server = this.#servers.get(key);
    if (!server || server.health === 'ready') return;
    server.health = 'ready';
    server.problem = '';
    this.#options.events.ready(server);
    for (const other of this.#servers.values()) this.#cutIfElsewhere(other);
  }

  failed(key: string, problem: string): void {
    const server = this.#servers.get(key);
    if (!server) return;
    const isNews = server.health !== 'ejected';
    server.health = 'ejected';
    server.problem = problem;
    if (isNews) this.#options.events.ejected(server, problem);
    this.#cutIfElsewhere(server);
  }

  attach(key: string, connection: Cuttable): void {
    this.#servers.get(key)?.connections.add(connection);
  }

  detach(key: string, connection: Cuttable): void {
    const server = this.#servers.get(key);
    if (!server) return;
    server.connections.delete(connection);
    this.#forgetUnused(server);
  }

  #cutIfElsewhere(server: MutableServer): void {
    if (server.health !== 'ejected' || server.connections.size === 0 || !this.hasReady) return;
    const connections = [...server.connections];
    this.#options.events.cut(server, connections.length);
    for (const connection of connections) connection.cut(server.problem);
  }

  #listed(): MutableServer[] {
    return [...this.#servers.values()].filter(({ isListed }) => isListed);
  }
}
