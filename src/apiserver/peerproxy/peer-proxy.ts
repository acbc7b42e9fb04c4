/**
 * The mixed version proxy: requests for resources that this server does not serve and a peer on the same store does are passed on to that peer, with the
 * user's identity; it authorizes them once more. After upstream's UnknownVersionInteroperabilityProxy (KEP 4020).
 *
 *   identity Lease apiserver-X (an hour) ──► peer X ──► discovery of X, read when its holder or endpoint changes ──► who serves what
 *   /registry/peerserverleases/X (12 s)  ──► address of X
 *
 *   request ──served here, or passed on already──► handled here          (PEER_PROXIED)
 *      ├──no peer serves it──► handled here: 404
 *      └──a peer serves it──► passed on │ 503: none of them has an endpoint now
 */
import { isIPv6 } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '#stdx/clock.ts';
import { HttpsClient, type DestinationTls } from '#stdx/https-client.ts';
import { Counter } from '#stdx/instruments.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Store } from '#storage/store.ts';
import {
  proxyToExtension,
  upgradeToExtension,
  type ProxyOptions,
  type ProxyTarget,
} from '../aggregation/extension-proxy.ts';
import type { ProxyClientCertificate } from '../aggregation/extension-service.ts';
import { isIdentityLease, LEASES } from '../bootstrap/identity-lease.ts';
import { ServerLeases, type LeasedServer } from '../bootstrap/server-leases.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { ExcludedVersions } from './excluded-versions.ts';
import { readPeerDiscovery, withoutVersions, type PeerGroup } from './peer-discovery.ts';
import { PEER_PROXIED } from './peer-proxied.ts';

export interface PeerSettings {
  /** PEM: authorities of the peers' serving certificates. */
  readonly ca: string;
  /** Where peers reach this server. Default: the advertised address. */
  readonly advertise?: { readonly ip?: string | undefined; readonly port?: number | undefined } | undefined;
}

interface PeerProxyOptions {
  readonly ca: string;
  readonly advertise: { readonly ip: string; readonly port: number } | undefined;
  /** What peers know this server by; without one they trust no user headers. */
  readonly proxyClient: ProxyClientCertificate | undefined;
  readonly store: Store;
  readonly internal: InternalApi;
  readonly clock: Clock;
  readonly log: Logger;
  /** In [0, 1). */
  readonly random: () => number;
}

/** Where API servers write where their peers reach them: upstream's key. */
const ENDPOINTS = '/registry/peerserverleases/';
const RESPONSE_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Until a peer whose discovery could not be read is asked again. */
const ASK_AGAIN_MS = 2_000;
const NO_ENDPOINT = 'Error getting ip and port info of the remote server while proxying';

/** Which peers serve a resource: at least one. */
export interface ServingPeers {
  readonly names: readonly string[];
}

export class PeerProxy {
  readonly #options: PeerProxyOptions;
  /** By name of the peer. */
  readonly #asking: KeyedWork;
  readonly #listing: KeyedWork;
  readonly #excluded: ExcludedVersions;
  readonly #proxy: ProxyOptions;
  readonly #rerouted = new Counter(
    'apiserver_rerouted_request_total',
    'Requests passed on to a peer API server because this one does not serve the resource, by code, group, version and resource; all three empty: discovery.',
  );
  #client = new HttpsClient({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
  #tls: DestinationTls & { readonly ca: string };
  #self = '';
  #leases: ServerLeases | undefined;
  #unwatch: (() => void) | undefined;
  /** Holders of the identity Leases of others, by name. */
  readonly #holders = new Map<string, string>();
  #endpoints: ReadonlyMap<string, LeasedServer> = new Map();
  /** As the peers answered last. */
  readonly #discovered = new Map<string, readonly PeerGroup[]>();
  #filtered: { readonly at: string; readonly groups: ReadonlyMap<string, readonly PeerGroup[]> } | undefined;
  #revision = 0;

  constructor(options: PeerProxyOptions) {
    this.#options = options;
    const { internal, clock, log, ca, proxyClient } = options;
    this.#tls = { ca, ...proxyClient };
    this.#asking = new KeyedWork({
      clock,
      log,
      complaint: 'error reading the discovery of a peer API server',
      work: (name) => this.#ask(name),
    });
    this.#listing = new KeyedWork({
      clock,
      log,
      complaint: 'error reading the endpoints of peer API servers',
      work: () => this.#listEndpoints(),
    });
    this.#excluded = new ExcludedVersions({ internal, clock, reaped: () => this.#readAll() });
    this.#proxy = { log, running: new Set(), responseTimeoutMs: RESPONSE_TIMEOUT_MS };
  }

  /** self: the identity of this server. Resolves when peers can reach it; theirs are read in the background. */
  async start(self: string): Promise<void> {
    if (this.#unwatch) return;
    this.#self = self;
    const { internal, store, advertise, clock, log } = this.#options;
    this.#excluded.start();
    const changed = (lease: KubeObject): void => this.#take(lease);
    this.#unwatch = internal.watch(LEASES, {
      added: changed,
      updated: changed,
      deleted: (lease) => this.#drop(lease),
    });
    const onChange = (): void => this.#listing.add(ENDPOINTS);
    this.#leases = new ServerLeases({
      store,
      prefix: ENDPOINTS,
      name: self,
      ip: advertise?.ip ?? '',
      port: advertise?.port,
      onChange,
      clock,
      log,
    });
    if (advertise) await this.#leases.start();
    else this.#leases.follow();
    onChange();
  }

  /** Peers pass nothing on to this server any more. */
  async leave(): Promise<void> {
    if (this.#options.advertise) await this.#leases?.remove();
  }

  endStreams(): void {
    for (const end of Array.from(this.#proxy.running)) end();
  }

  async stop(): Promise<void> {
    this.#unwatch?.();
    this.#leases?.stop();
    this.#excluded.stop();
    await Promise.all([this.#asking.stop(), this.#listing.stop()]);
    this.#client.destroy();
  }

  /** Requests under way continue with the old certificate. */
  replaceProxyClient(proxyClient: ProxyClientCertificate): void {
    this.#replaceTls({ ...this.#tls, ...proxyClient });
  }

  /** PEM. Requests under way continue. */
  replaceAuthorities(ca: string): void {
    this.#replaceTls({ ...this.#tls, ca });
  }

  #replaceTls(tls: DestinationTls & { readonly ca: string }): void {
    this.#tls = tls;
    this.#client.retire();
    this.#client = new HttpsClient({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
    this.#readAll();
  }

  metrics(): string {
    return this.#rerouted.render().join('\n');
  }

  // -------------------------------------------------------------------------------------------------------------- requests

  /** Of a request that is not served here. Undefined: it is handled here. */
  peersFor({ request, info }: RequestContext): ServingPeers | undefined {
    if (this.#discovered.size === 0 || !info.isResourceRequest) return undefined;
    if (request.headers[PEER_PROXIED] === 'true') return undefined;
    const names = [...this.#groups()].flatMap(([name, groups]) => (serves(groups, info) ? [name] : []));
    return names.length === 0 ? undefined : { names };
  }

  async handle(peers: ServingPeers, context: RequestContext): Promise<ApiResponse> {
    try {
      const response = await proxyToExtension(this.#target(peers), context, this.#proxy);
      this.#count(context, response.status);
      return response;
    } catch (error) {
      if (isStatusError(error)) this.#count(context, error.status.code ?? 500);
      throw error;
    }
  }

  async upgrade(
    peers: ServingPeers,
    context: RequestContext,
    client: { readonly socket: Duplex; readonly head: Buffer },
  ): Promise<void> {
    const answered = (status: number): void => this.#count(context, status);
    await upgradeToExtension(this.#target(peers), context, { ...this.#proxy, client, answered });
  }

  /** Throws ServiceUnavailable. */
  #target({ names }: ServingPeers): ProxyTarget {
    const endpoints = names.flatMap((name) => this.#endpoints.get(name) ?? []);
    const chosen = endpoints[Math.floor(this.#options.random() * endpoints.length)];
    if (chosen?.port === undefined) throw statusErrors.unavailable(NO_ENDPOINT);
    return this.#targetAt({ host: chosen.ip, port: chosen.port, name: chosen.name });
  }

  #targetAt({
    host,
    port,
    name,
  }: {
    readonly host: string;
    readonly port: number;
    readonly name: string;
  }): ProxyTarget {
    return {
      name,
      isAvailable: true,
      serverName: isIPv6(host) ? `[${host}]` : host,
      client: this.#client,
      tls: this.#tls,
      address: () => ({ host, port }),
      destination: (address) => ({ ...address, tls: this.#tls }),
      headersFor: ({ auditId }) => ({ [PEER_PROXIED]: 'true', 'audit-id': auditId }),
    };
  }

  #count({ info: { group, version, resource } }: RequestContext, code: number): void {
    this.#rerouted.add(`code="${code}",group="${group}",version="${version}",resource="${resource}"`);
  }

  // ------------------------------------------------------------------------------------------------------------- discovery

  /** Changes with groups(). */
  get revision(): string {
    return `${this.#revision} ${this.#excluded.revision}`;
  }

  /** What each peer serves beside custom resources and extensions. */
  groups(): readonly (readonly PeerGroup[])[] {
    return [...this.#groups().values()];
  }

  #groups(): ReadonlyMap<string, readonly PeerGroup[]> {
    const at = this.revision;
    if (this.#filtered?.at === at) return this.#filtered.groups;
    const groups = new Map(
      [...this.#discovered]
        .toSorted(([one], [other]) => (one < other ? -1 : 1))
        .map(([name, all]) => [name, withoutVersions(all, (version) => this.#excluded.has(version))]),
    );
    this.#filtered = { at, groups };
    return groups;
  }

  #take(lease: KubeObject): void {
    const name = lease.metadata?.name ?? '';
    if (name === this.#self || !isIdentityLease(lease)) return;
    const holder =
      (lease as { readonly spec?: { readonly holderIdentity?: string } }).spec?.holderIdentity ?? '';
    if (this.#holders.get(name) === holder) return;
    this.#holders.set(name, holder);
    this.#asking.add(name);
  }

  #drop({ metadata }: KubeObject): void {
    const name = metadata?.name ?? '';
    if (this.#holders.delete(name) && this.#discovered.delete(name)) this.#revision += 1;
  }

  #readAll(): void {
    for (const name of this.#holders.keys()) this.#asking.add(name);
  }

  async #listEndpoints(): Promise<void> {
    const before = this.#endpoints;
    const servers = (await this.#leases?.servers()) ?? [];
    this.#endpoints = new Map(servers.map((server) => [server.name, server]));
    for (const { name, ip, port } of servers) {
      const known = before.get(name);
      if (known?.ip !== ip || known.port !== port) this.#asking.add(name);
    }
  }

  async #ask(name: string): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await this.#readDiscovery(name);
    } catch (error) {
      log.warn('error reading the discovery of a peer API server, trying again', {
        peer: name,
        error: errorMessage(error),
      });
      clock.after(ASK_AGAIN_MS, () => this.#asking.add(name));
    }
  }

  /** A peer without an endpoint keeps what it was known for: requests for that are answered 503, not 404. */
  async #readDiscovery(name: string): Promise<void> {
    const endpoint = this.#endpoints.get(name);
    if (!this.#holders.has(name) || endpoint?.port === undefined) return;
    const target = this.#targetAt({ host: endpoint.ip, port: endpoint.port, name });
    const answered = (status: number): void =>
      this.#rerouted.add(`code="${status}",group="",version="",resource=""`);
    const to = target.destination(target.address());
    const host = `${target.serverName}:${endpoint.port}`;
    const groups = await readPeerDiscovery({ client: this.#client, to, host, answered });
    if (!this.#holders.has(name)) return;
    this.#discovered.set(name, groups);
    this.#revision += 1;
    this.#options.log.info('discovery of a peer API server read', { peer: name, groups: groups.length });
  }
}

function serves(
  groups: readonly PeerGroup[],
  {
    group,
    version,
    resource,
  }: { readonly group: string; readonly version: string; readonly resource: string },
): boolean {
  return groups.some(
    ({ name, versions }) =>
      name === group && versions.some((one) => one.version === version && one.resources.has(resource)),
  );
}
