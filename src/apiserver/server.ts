/**
 * Assembles one API server: store, watch cache, served endpoints, authentication, authorization, admission, pipeline, listeners.
 *
 *   createApiServer() fills the cache --> handler usable in-process --start()--> listening, bootstrap in the background
 *     --bootstrap done--> ready (/readyz) --stop()--> not ready, watches end, requests under way finish, stopped
 */
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { services as serviceRef } from '#api/refs.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import { enabledByDefault } from '#api/resources.ts';
import { DEFAULT_EFFECTIVE_VERSION, type EffectiveVersion } from '#machinery/effective-version.ts';
import type { Service } from '#api/types.ts';
import { RESOURCES } from '#resources/registry.ts';
import { watchWrites, type WatchedStore } from '#storage/writability.ts';
import { AdmissionChain } from './admission/chain.ts';
import { createAdmissionKinds } from './admission/kinds.ts';
import { CustomResources } from './apiextensions/custom-resources.ts';
import { CustomOpenapi } from './apiextensions/openapi.ts';
import { Aggregator } from './aggregation/aggregator.ts';
import type { ProxyClientCertificate } from './aggregation/extension-service.ts';
import type { Authorizer } from './authz/authorizer.ts';
import { ConsistencyChecker } from './watchcache/consistency.ts';
import type { ResourceCache } from './watchcache/resource-cache.ts';
import { WatchCache } from './watchcache/watch-cache.ts';
import { recordEvent } from './registry/core/events/record-event.ts';
import { createTlsListener, type TlsListener, type TlsMaterial } from './http/listener.ts';
import { ServedEndpoints } from './registry/endpoints.ts';
import type { ServerCore } from './server-core.ts';
import { celMetrics } from '#cel/metrics.ts';
import { DiscoveryDocuments } from './nonresource/discovery.ts';
import { FlowControl } from './flowcontrol/flow-control.ts';
import { HealthChecks } from './nonresource/health.ts';
import { createPathRouter } from './nonresource/paths.ts';
import { profilingPaths } from './nonresource/profiling.ts';
import type { ApiHandler, ApiRequest } from './http/request.ts';
import { createInternalApi } from './registry/loopback-store-client.ts';
import type { InternalApi } from './registry/loopback-client.ts';
import { Bootstrap } from './bootstrap/bootstrap.ts';
import { buildInfoLines } from './nonresource/build-info.ts';
import { addServerChecks } from './nonresource/server-checks.ts';
import { storageLines } from './nonresource/storage-metrics.ts';
import {
  DEFAULT_SERVICE_CIDR,
  type ApiServerOptions,
  type Authentication,
  type PartContext,
  type StartOptions,
} from './options.ts';
import { Metrics } from './nonresource/metrics.ts';
import { PeerProxy } from './peerproxy/peer-proxy.ts';
import { createHandler, createUpgradeHandler } from './pipeline.ts';
import { DEFAULT_NODE_PORTS, ServiceAllocation } from './registry/core/services/allocation.ts';
import { collectHoldings } from './registry/core/services/holdings.ts';
import { NodePortMap } from './registry/core/services/node-port-map.ts';
import { SERVICES } from './registry/core/services/resources.ts';
import { SharedAllocations } from './registry/core/services/shared-allocations.ts';
import { RegistryStore } from './registry/store.ts';

export interface ApiServer {
  /** Usable in-process from the start. */
  readonly handler: ApiHandler;
  /** Handles a connection upgrade; it responds on the socket and closes it. */
  upgrade(request: ApiRequest, socket: Duplex, head: Buffer): void;
  readonly internal: InternalApi;
  readonly authorizer: Authorizer;
  readonly metrics: Metrics;
  /** Resolves once listening; the bootstrap continues in the background. May be called for several addresses. */
  start(options: StartOptions): Promise<AddressInfo>;
  /** Resolves when bootstrapped, rejects when that failed for good. */
  ready(): Promise<void>;
  replaceCertificates(tls: TlsMaterial): void;
  /** New connections to extension API servers show it. */
  replaceProxyClient(client: ProxyClientCertificate): void;
  /** PEM: authorities of the peers' serving certificates. */
  replacePeerAuthorities(ca: string): void;
  stop(): Promise<void>;
  /** /readyz fails from now on, so that balancers send new requests elsewhere; everything is served as before. */
  leave(): void;
}

const DEFAULT_VERSION = '0.0.0';
/** As long as a request may take. Watches and streams are not waited for. */
const DRAIN_MS = 60_000;
/** Time for clients to read their responses after the last request. */
const STOP_GRACE_MS = 5000;
/** For a server that stops to be no endpoint of the kubernetes Service any more; after that its lease ends. */
const LEAVE_MS = 2000;
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const base: Base = {
    options,
    clock: options.clock ?? realClock,
    log: options.log ?? silentLogger,
    metrics: new Metrics(),
    health: new HealthChecks(),
  };
  const storage = await openStorage(base);
  const parts = assemble(base, storage);
  const bootstrap = startParts(base, storage, parts);
  addMetrics(base, storage, parts);
  const handler = createHandler(parts.core);
  const withCbor = options.cbor ? (await import('./http/cbor.ts')).withCbor : undefined;
  const { aggregator } = parts.core;
  return new Server(parts.core, {
    handler: withCbor ? withCbor(handler, (path) => aggregator.serviceFor(path) !== undefined) : handler,
    bootstrap,
    customResources: storage.customResources,
    stopAdmission: parts.stopAdmission,
    log: base.log,
  });
}

interface Base {
  readonly options: ApiServerOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly health: HealthChecks;
}

interface Storage {
  readonly store: WatchedStore;
  readonly cache: WatchCache;
  readonly servedEndpoints: ServedEndpoints;
  readonly services: ServiceAllocation;
  readonly customResources: CustomResources;
}

/** The store, the watch cache filled from it, and the served endpoints. */
async function openStorage({ options, clock, log }: Base): Promise<Storage> {
  const store = watchWrites(options.store, { clock, log });
  const cache = new WatchCache({ store, clock, log });
  const services = new ServiceAllocation({
    cidr: options.serviceCidr ?? DEFAULT_SERVICE_CIDR,
    nodePorts: options.serviceNodePorts,
  });
  const servedEndpoints = new ServedEndpoints({
    resources: options.registry ?? RESOURCES,
    hooks: { '/services': services },
    cache,
    isEnabled: isEnabledBy(options),
  });
  const customResources = new CustomResources({ store, cache, servedEndpoints, clock, log });
  await customResources.prepare();
  await cache.start();
  const allServices = servedEndpoints.byGroup(serviceRef.group, serviceRef.plural)?.cache;
  if (allServices) services.rebuild(allServices);
  return { store, cache, servedEndpoints, services, customResources };
}

function isEnabledBy({ isEnabled }: ApiServerOptions): NonNullable<ApiServerOptions['isEnabled']> {
  return isEnabled ?? (({ version }) => enabledByDefault(version));
}

interface Parts {
  readonly core: ServerCore;
  readonly flow: FlowControl;
  /** Set by startParts. */
  stopAdmission: () => void;
}

/** Everything a request meets. Nothing runs yet; options that cannot be satisfied throw and leave nothing running. */
function assemble(base: Base, storage: Storage): Parts {
  try {
    return assembleCore(base, storage);
  } catch (error) {
    storage.cache.stop();
    throw error;
  }
}

function assembleCore({ options, clock, log, metrics, health }: Base, storage: Storage): Parts {
  const { store, cache, servedEndpoints, services } = storage;
  const internal: InternalApi = createInternalApi({
    cache,
    servedEndpoints,
    registry: () => registry,
    features: namesOn(options.features),
  });
  const part: PartContext = { internal, clock, log };
  const nodePorts = cache.isShared ? shareAllocations(storage, { internal, options }) : undefined;
  const authentication = options.authentication(part);
  const authorizer = options.authorization(part);
  const aggregator = new Aggregator({ ...options.aggregation, internal, servedEndpoints, clock, log });
  const peers = peerProxy(options, { store, internal, clock, log });
  const flow = new FlowControl(options.requestLimits ?? {}, { servedEndpoints, clock, log, metrics });
  const admission = new AdmissionChain(options.admission?.({ ...part, authorizer }) ?? []);
  const registry = new RegistryStore({ store, cache, metrics, admission, clock });
  const core: ServerCore = {
    limiter: flow.limiter,
    deadlines: flow.deadlines,
    store,
    cache,
    servedEndpoints,
    internal,
    services,
    nodePorts,
    metrics,
    clock,
    log,
    authorizer,
    aggregator,
    peers,
    authenticator: authentication.authenticator,
    tokenIssuer: authentication.tokenIssuer,
    tokenReviewer: authentication.tokenReviewer,
    admission,
    registry,
    connect: typeof options.connect === 'function' ? options.connect(part) : options.connect,
    audit: options.audit,
    constrainedImpersonation: options.constrainedImpersonation ?? true,
    routePath: nonresourcePaths(options, {
      authentication,
      aggregator,
      peers,
      servedEndpoints,
      clock,
      flow,
      health,
      metrics,
    }),
    leaving: false,
    stopping: false,
    running: new Set(),
  };
  return { core, flow, stopAdmission: () => {} };
}

function namesOn(features: Readonly<Record<string, boolean>> = {}): ReadonlySet<string> {
  return new Set(Object.keys(features).filter((name) => features[name]));
}

/** Of a store that no other server uses there are no peers. */
function peerProxy(
  { peers, aggregation, advertiseAddress: own }: ApiServerOptions,
  part: PartContext & Pick<ServerCore, 'store'>,
): PeerProxy | undefined {
  if (!peers || !part.store.newestRevision) return undefined;
  const ip = peers.advertise?.ip ?? own?.ip;
  const port = peers.advertise?.port ?? own?.port;
  return new PeerProxy({
    ...part,
    ca: peers.ca,
    advertise: ip === undefined || port === undefined ? undefined : { ip, port },
    proxyClient: aggregation?.proxyClient,
    random: Math.random,
  });
}

/** Addresses and node ports are had from the store, which other servers write too. */
function shareAllocations(
  { store, servedEndpoints, services }: Storage,
  { internal, options }: { readonly internal: InternalApi; readonly options: ApiServerOptions },
): NodePortMap | undefined {
  if (!servedEndpoints.byGroup(SERVICES.group, SERVICES.resource)) return undefined;
  const ports = new NodePortMap({
    store,
    range: options.serviceNodePorts ?? DEFAULT_NODE_PORTS,
    inUse: () => internal.list(SERVICES).flatMap((one) => collectHoldings((one as Service).spec).ports),
  });
  services.share(new SharedAllocations({ internal, ports }));
  return ports;
}

interface PathParts extends Pick<
  ServerCore,
  'aggregator' | 'peers' | 'servedEndpoints' | 'clock' | 'metrics'
> {
  readonly authentication: Authentication;
  readonly flow: FlowControl;
  readonly health: HealthChecks;
}

function nonresourcePaths(options: ApiServerOptions, parts: PathParts): ServerCore['routePath'] {
  const { authentication, aggregator, peers, servedEndpoints, clock, flow, health, metrics } = parts;
  const isEnabled = isEnabledBy(options);
  const { advertiseAddress } = options;
  return createPathRouter({
    documents: new DiscoveryDocuments(servedEndpoints, {
      extensions: aggregator,
      peers,
      serverAddress: advertiseAddress ? `${advertiseAddress.ip}:${advertiseAddress.port}` : '',
    }),
    customOpenapi: new CustomOpenapi(servedEndpoints),
    extensions: aggregator,
    health,
    metrics,
    tokenIssuer: authentication.tokenIssuer,
    isEnabled: (gv) => isEnabled({ ...gv, resource: '' }),
    ...versionsOf(options),
    flags: options.flags,
    cbor: options.cbor ?? false,
    extra: {
      ...flow.paths,
      ...((options.profiling ?? true) ? profilingPaths(clock) : {}),
      ...options.extraPaths,
    },
  });
}

/** Starts the parts that follow the cluster's objects. */
function startParts(
  { options, clock, log, metrics, health }: Base,
  storage: Storage,
  parts: Parts,
): Bootstrap {
  const { core, flow } = parts;
  const { internal, registry, authorizer, servedEndpoints } = core;
  storage.customResources.start({ internal, registry });
  core.aggregator.start();
  const kinds = createAdmissionKinds(servedEndpoints);
  parts.stopAdmission = core.admission.start({ internal, kinds, authorizer, metrics, clock, log });
  flow.start(internal, { keepObjects: options.bootstrapObjects ?? true });
  core.running.add(() => flow.stop());
  const bootstrap = new Bootstrap(core, options);
  addServerChecks(health, { core, bootstrap, store: storage.store });
  startConsistencyChecks(core, storage);
  for (const check of options.healthChecks ?? []) health.add(check);
  storage.store.probeBy(() => bootstrap.renewIdentity());
  core.running.add(() => storage.store.stopProbing());
  return bootstrap;
}

function startConsistencyChecks(core: ServerCore, { store, cache, servedEndpoints }: Storage): void {
  const { clock, log, internal, metrics } = core;
  const checker = new ConsistencyChecker({
    store,
    cache,
    clock,
    log,
    computeLabels: (one) => labelsOfCache(servedEndpoints, one),
    onDifference: (message) => {
      const regarding = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } };
      const event = { regarding, message, reason: 'WatchCacheInconsistent', component: 'kube-apiserver' };
      recordEvent(internal, { ...event, nowMs: clock.now() }).catch((error: unknown) =>
        log.warn('error recording an event', { error: errorMessage(error) }),
      );
    },
  });
  checker.start();
  metrics.collect(() => checker.metrics());
  core.running.add(() => checker.stop());
}

function labelsOfCache(servedEndpoints: ServedEndpoints, cache: ResourceCache): string | undefined {
  for (const { cache: one, groupResource } of servedEndpoints.endpoints)
    if (one === cache) return `group="${groupResource.group}",resource="${groupResource.resource}"`;
  return undefined;
}

function versionsOf({
  programVersion = DEFAULT_VERSION,
  effectiveVersion = DEFAULT_EFFECTIVE_VERSION,
}: ApiServerOptions): { readonly programVersion: string; readonly effectiveVersion: EffectiveVersion } {
  return { programVersion, effectiveVersion };
}

function addMetrics(
  { options, metrics }: Base,
  { store, cache, servedEndpoints, services }: Storage,
  { core }: Parts,
): void {
  metrics.collect(() => storageLines(servedEndpoints, cache));
  metrics.collect(() => metrics.store.render(store.stats()));
  metrics.collect(celMetrics);
  metrics.collect(() => services.metrics());
  metrics.collect(() => buildInfoLines(versionsOf(options)));
  metrics.isServed = ({ group, version, resource, subresource }) => {
    const endpoint = servedEndpoints.find(group, version, resource);
    return endpoint !== undefined && (subresource === '' || endpoint.served.subresources.has(subresource));
  };
  for (const collector of options.metrics ?? []) metrics.collect(collector);
  metrics.collect(() => core.aggregator.metrics());
  metrics.collect(() => core.peers?.metrics() ?? '');
}

class Server implements ApiServer {
  readonly handler: ApiHandler;
  readonly upgrade: (request: ApiRequest, socket: Duplex, head: Buffer) => void;
  readonly #core: ServerCore;
  readonly #bootstrap: Bootstrap;
  readonly #customResources: CustomResources;
  readonly #stopAdmission: () => void;
  readonly #log: Logger;
  readonly #listeners: TlsListener[] = [];

  constructor(
    core: ServerCore,
    {
      handler,
      bootstrap,
      customResources,
      stopAdmission,
      log,
    }: {
      readonly handler: ApiHandler;
      readonly bootstrap: Bootstrap;
      readonly customResources: CustomResources;
      readonly stopAdmission: () => void;
      readonly log: Logger;
    },
  ) {
    this.#core = core;
    this.#stopAdmission = stopAdmission;
    this.#customResources = customResources;
    this.#bootstrap = bootstrap;
    this.#log = log;
    this.handler = handler;
    this.upgrade = createUpgradeHandler(core);
  }

  get internal(): InternalApi {
    return this.#core.internal;
  }
  get authorizer(): Authorizer {
    return this.#core.authorizer;
  }
  get metrics(): Metrics {
    return this.#core.metrics;
  }

  async start({ host, port, tls, limits }: StartOptions): Promise<AddressInfo> {
    const listener = createTlsListener({
      handler: this.handler,
      onUpgrade: this.upgrade,
      tls,
      log: this.#log,
      onHandshakeError: () => this.metrics.handshakeErrors.add(''),
      limits,
    });
    const address = await listener.listen({ host, port });
    this.#listeners.push(listener);
    void this.#bootstrap.run().catch(() => {});
    return address;
  }

  ready(): Promise<void> {
    return this.#bootstrap.run();
  }

  replaceProxyClient(client: ProxyClientCertificate): void {
    this.#core.aggregator.replaceProxyClient(client);
    this.#core.peers?.replaceProxyClient(client);
  }

  replacePeerAuthorities(ca: string): void {
    this.#core.peers?.replaceAuthorities(ca);
  }

  replaceCertificates(tls: TlsMaterial): void {
    for (const listener of this.#listeners) listener.replaceCertificates(tls);
  }

  leave(): void {
    this.#core.leaving = true;
    void this.#bootstrap.leave();
  }

  async stop(): Promise<void> {
    if (this.#core.stopping) return;
    this.#core.leaving = this.#core.stopping = true;
    // The store may no longer respond.
    await Promise.race([this.#bootstrap.leave(), this.#core.clock.sleep(LEAVE_MS)]);
    for (const end of Array.from(this.#core.running)) end();
    this.#core.aggregator.endStreams();
    this.#core.peers?.endStreams();
    await Promise.all(
      this.#listeners.map((listener) => listener.close({ drainMs: DRAIN_MS, graceMs: STOP_GRACE_MS })),
    );
    this.#stopAdmission();
    await this.#customResources.stop();
    await Promise.all([this.#core.aggregator.stop(), this.#core.peers?.stop()]);
    await this.#bootstrap.stop();
    this.#core.cache.stop();
  }
}
