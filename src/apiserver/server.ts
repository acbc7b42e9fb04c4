/**
 * One API server put together: store, watch cache, catalogue, authentication, authorization, admission, pipeline, carriers.
 *
 *   createApiServer() fills the cache --> handler usable in-process --start()--> listening, bootstrap in the background
 *     --bootstrap done--> ready (/readyz) --stop()--> not ready, watches end, requests under way finish, stopped
 */
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { GroupVersion } from '#machinery/object.ts';
import { enabledByDefault } from '#api/resources.ts';
import type { Resource } from '#resources/resource.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Store } from '#storage/store.ts';
import { watchWrites, type WatchedStore } from '#storage/writability.ts';
import { AdmissionChain } from './admission/chain.ts';
import { createAdmissionKinds } from './admission/kinds.ts';
import { CustomResources, withCustomResourceChecks } from './apiextensions/custom-resources.ts';
import { CustomOpenapi } from './apiextensions/openapi.ts';
import type { AdmissionPlugin } from './admission/plugin.ts';
import { withExpressionChecks } from './admission/policies/checks.ts';
import { withDeviceSelectorChecks } from './device-selectors.ts';
import { Aggregator, type AggregationSettings } from './aggregation/aggregator.ts';
import type { ProxyClientCertificate } from './aggregation/extension-service.ts';
import type { Authenticator, TokenIssuer, TokenReviewer } from './authn/authenticator.ts';
import type { Authorizer } from './authz/authorizer.ts';
import { bootstrapCluster, type PublishedRequestHeader } from './bootstrap/system-objects.ts';
import { MAX_WINDOW_EVENTS } from './watchcache/events.ts';
import { WatchCache } from './watchcache/watch-cache.ts';
import { createTlsCarrier, type CarrierLimits, type TlsCarrier, type TlsMaterial } from './http/listener.ts';
import { Catalogue } from './registry/endpoints.ts';
import type { ConnectHandlers } from './handlers/connect/connect.ts';
import type { AuditSink, ServerCore } from './context.ts';
import type { ResourceCache } from './watchcache/resource-cache.ts';
import { celMetrics } from './cel/metrics.ts';
import { DiscoveryDocuments } from './nonresource/discovery.ts';
import { FlowControl, type RequestLimits } from './flowcontrol/flow-control.ts';
import { HealthChecks, POST_START_HOOKS, type HealthCheck } from './nonresource/health.ts';
import { createPathRouter, versionInfo, type PathHandler } from './nonresource/paths.ts';
import { profilingPaths } from './nonresource/profiling.ts';
import { IdentityLease } from './bootstrap/identity-lease.ts';
import { Counter, Gauge, label } from '#stdx/instruments.ts';
import type { ApiHandler, ApiRequest } from './http/request.ts';
import { createInternalApi } from './registry/loopback-store-client.ts';
import type { InternalApi } from './registry/loopback-client.ts';
import { Metrics, type Collector } from './nonresource/metrics.ts';
import { createHandler, createUpgradeHandler } from './pipeline.ts';
import { ServiceAddresses } from './bootstrap/service-addresses.ts';
import { ServiceAllocation } from './registry/core/services/allocation.ts';
import { RegistryStore } from './registry/store.ts';

/** What the parts that need the server's own objects are made from. */
export interface PartContext {
  readonly internal: InternalApi;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Authentication {
  readonly authenticator: Authenticator;
  readonly tokenIssuer?: TokenIssuer | undefined;
  readonly tokenReviewer?: TokenReviewer | undefined;
}

export interface ApiServerOptions {
  /** The server uses it and leaves it open. */
  readonly store: Store;
  /** Default: every built-in resource. */
  readonly registry?: readonly Resource[];
  readonly authentication: (context: PartContext) => Authentication;
  readonly authorization: (context: PartContext) => Authorizer;
  /** In the order they run. */
  readonly admission?: (
    context: PartContext & { readonly authorizer: Authorizer },
  ) => readonly AdmissionPlugin[];
  /** Exec, logs, proxies; absent = refused. */
  readonly connect?: ConnectHandlers | ((context: PartContext) => ConnectHandlers);
  readonly audit?: AuditSink;
  /** Default: priority and fairness over 600 seats, 60 s a request. */
  readonly requestLimits?: RequestLimits;
  /** Of the program, by name and as they hold: shown by /flagz, which is not served without. */
  readonly flags?: Readonly<Record<string, string>>;
  /** Whether profiles may be taken by /debug/pprof. Default true. */
  readonly profiling?: boolean;
  /** Further paths that are no part of the Kubernetes API, authorized as non-resource URLs. */
  readonly extraPaths?: Readonly<Record<string, PathHandler>>;
  /** Default 10.96.0.0/12. */
  readonly serviceCidr?: string;
  readonly serviceNodePorts?: { readonly from: number; readonly to: number };
  /** Where clients in the cluster reach this server: the endpoint of the kubernetes Service. Default: that Service gets no endpoint. */
  readonly advertiseAddress?: { readonly ip: string; readonly port: number };
  /** Runs after the built-in bootstrap, before the server is ready: bootstrapPolicy of authz. */
  readonly bootstrap?: (internal: InternalApi) => Promise<void>;
  /** False: nothing is created at start (tests). */
  readonly bootstrapObjects?: boolean;
  /** PEM, published in kube-system/extension-apiserver-authentication. */
  readonly clientCa?: string;
  /** Requests and answers in CBOR are taken and given: upstream's feature gate CBORServingAndStorage. Default false. */
  readonly cbor?: boolean;
  /** Impersonation for some requests only: upstream's feature gate ConstrainedImpersonation. Default true. */
  readonly constrainedImpersonation?: boolean;
  /** How extension API servers are reached. */
  readonly aggregation?: AggregationSettings;
  /** Published beside clientCa: how an authenticating proxy in front is known. */
  readonly requestHeader?: PublishedRequestHeader;
  /** Of parts that this server does not know: its storage's, say. */
  readonly healthChecks?: readonly HealthCheck[];
  /** Further lines of /metrics. */
  readonly metrics?: readonly Collector[];
  /** Which versions are served. Default: the stable ones. */
  readonly isEnabled?: (served: GroupVersion & { readonly resource: string }) => boolean;
  readonly programVersion?: string;
  readonly clock?: Clock;
  readonly log?: Logger;
}

export interface StartOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMaterial;
  readonly limits?: Partial<CarrierLimits>;
}

export interface ApiServer {
  /** Usable in-process from the start. */
  readonly handler: ApiHandler;
  /** For connections to be upgraded; the socket is answered and closed by it. */
  upgrade(request: ApiRequest, socket: Duplex, head: Buffer): void;
  readonly internal: InternalApi;
  readonly authorizer: Authorizer;
  readonly metrics: Metrics;
  /** Resolves once listening; the bootstrap goes on in the background. May be called for several addresses. */
  start(options: StartOptions): Promise<AddressInfo>;
  /** Resolves when bootstrapped, rejects when that failed for good. */
  ready(): Promise<void>;
  replaceCertificates(tls: TlsMaterial): void;
  /** New connections to extension API servers show it. */
  replaceProxyClient(client: ProxyClientCertificate): void;
  stop(): Promise<void>;
  /** /readyz fails from now on, so that balancers send new requests elsewhere; everything is served as before. */
  leave(): void;
}

export const DEFAULT_SERVICE_CIDR = '10.96.0.0/12';
const STOP_GRACE_MS = 5000;
const BOOTSTRAP_RETRY_MS = 1000;

export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { clock = realClock, log = silentLogger, registry: resources = RESOURCES } = options;
  const store = watchWrites(options.store, { clock, log });
  const isEnabled = options.isEnabled ?? (({ version }) => enabledByDefault(version));
  const cache = new WatchCache({ store, clock, log });
  const services = new ServiceAllocation({
    cidr: options.serviceCidr ?? DEFAULT_SERVICE_CIDR,
    ...(options.serviceNodePorts ? { nodePorts: options.serviceNodePorts } : {}),
  });
  const catalogue = new Catalogue({
    resources: resources
      .map(withCustomResourceChecks)
      .map(withExpressionChecks)
      .map(withDeviceSelectorChecks),
    hooks: { '/services': services },
    cache,
    isEnabled,
  });
  const metrics = new Metrics();
  const health = new HealthChecks();
  const customResources = new CustomResources({ store, cache, catalogue, clock, log });
  await customResources.prepare();
  await cache.start();
  const allServices = catalogue.byGroup('', 'services')?.cache;
  if (allServices) services.rebuild(allServices);

  const internal: InternalApi = createInternalApi({ catalogue, registry: () => registry });
  const part: PartContext = { internal, clock, log };
  const { authentication, authorizer } = made(cache, () => ({
    authentication: options.authentication(part),
    authorizer: options.authorization(part),
  }));
  const aggregator = new Aggregator({ ...options.aggregation, internal, catalogue, clock, log });
  const documents = new DiscoveryDocuments(catalogue, {
    extensions: aggregator,
    serverAddress: options.advertiseAddress
      ? `${options.advertiseAddress.ip}:${options.advertiseAddress.port}`
      : '',
  });
  const flow = new FlowControl(options.requestLimits ?? {}, { catalogue, clock, log, metrics });
  const admission = new AdmissionChain(options.admission?.({ ...part, authorizer }) ?? []);
  const registry = new RegistryStore({ store, cache, metrics, admission, clock });
  const core: ServerCore = {
    limiter: flow.limiter,
    deadlines: flow.deadlines,
    store,
    cache,
    catalogue,
    internal,
    services,
    metrics,
    clock,
    log,
    authorizer,
    aggregator,
    authenticator: authentication.authenticator,
    tokenIssuer: authentication.tokenIssuer,
    tokenReviewer: authentication.tokenReviewer,
    admission,
    registry,
    connect: typeof options.connect === 'function' ? options.connect(part) : options.connect,
    audit: options.audit,
    constrainedImpersonation: options.constrainedImpersonation ?? true,
    routePath: createPathRouter({
      documents,
      customOpenapi: new CustomOpenapi(catalogue),
      extensions: aggregator,
      health,
      metrics,
      tokenIssuer: authentication.tokenIssuer,
      isEnabled: (gv) => isEnabled({ ...gv, resource: '' }),
      programVersion: options.programVersion ?? '0.0.0',
      flags: options.flags,
      cbor: options.cbor ?? false,
      extra: {
        ...flow.paths,
        ...((options.profiling ?? true) ? profilingPaths(clock) : {}),
        ...options.extraPaths,
      },
    }),
    leaving: false,
    stopping: false,
    running: new Set(),
  };
  customResources.start({ internal, registry: registry });
  aggregator.start();
  const stopAdmission = core.admission.start({
    internal,
    kinds: createAdmissionKinds(catalogue),
    authorizer,
    metrics,
    clock,
    log,
  });
  flow.start(internal, { keepObjects: options.bootstrapObjects ?? true });
  core.running.add(() => flow.stop());
  const bootstrap = new Bootstrap(core, options);
  addChecks(health, { core, bootstrap, store });
  store.probeBy(() => bootstrap.renewIdentity());
  core.running.add(() => store.stopProbing());
  metrics.collect(() => storageLines(catalogue, cache));
  metrics.collect(() => metrics.store.render(store.stats()));
  metrics.collect(celMetrics);
  metrics.collect(() => services.metrics());
  metrics.collect(() => versionLines(options.programVersion ?? '0.0.0'));
  metrics.isServed = ({ group, version, resource, subresource }) => {
    const endpoint = catalogue.find(group, version, resource);
    return endpoint !== undefined && (subresource === '' || endpoint.served.subresources.has(subresource));
  };
  for (const check of options.healthChecks ?? []) health.add(check);
  for (const collector of options.metrics ?? []) metrics.collect(collector);
  metrics.collect(() => aggregator.metrics());
  const handler = createHandler(core);
  const withCbor = options.cbor ? (await import('./http/cbor.ts')).withCbor : undefined;
  return new Server(core, {
    handler: withCbor ? withCbor(handler, (path) => aggregator.serviceFor(path) !== undefined) : handler,
    bootstrap,
    customResources,
    stopAdmission,
    log,
  });
}

/** What cannot be configured so leaves nothing running. */
function made<T>(cache: WatchCache, make: () => T): T {
  try {
    return make();
  } catch (error) {
    cache.stop();
    throw error;
  }
}

class Server implements ApiServer {
  readonly handler: ApiHandler;
  readonly upgrade: (request: ApiRequest, socket: Duplex, head: Buffer) => void;
  readonly #core: ServerCore;
  readonly #bootstrap: Bootstrap;
  readonly #customResources: CustomResources;
  readonly #stopAdmission: () => void;
  readonly #log: Logger;
  readonly #carriers: TlsCarrier[] = [];

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
    const carrier = createTlsCarrier({
      handler: this.handler,
      onUpgrade: this.upgrade,
      tls,
      log: this.#log,
      onHandshakeError: () => this.metrics.handshakeErrors.add(''),
      ...(limits ? { limits } : {}),
    });
    const address = await carrier.listen({ host, port });
    this.#carriers.push(carrier);
    void this.#bootstrap.run().catch(() => {});
    return address;
  }

  ready(): Promise<void> {
    return this.#bootstrap.run();
  }

  replaceProxyClient(client: ProxyClientCertificate): void {
    this.#core.aggregator.replaceProxyClient(client);
  }

  replaceCertificates(tls: TlsMaterial): void {
    for (const carrier of this.#carriers) carrier.replaceCertificates(tls);
  }

  leave(): void {
    this.#core.leaving = true;
  }

  async stop(): Promise<void> {
    if (this.#core.stopping) return;
    this.#core.leaving = this.#core.stopping = true;
    for (const end of Array.from(this.#core.running)) end();
    this.#core.aggregator.endStreams();
    await Promise.all(this.#carriers.map((carrier) => carrier.close(STOP_GRACE_MS)));
    this.#stopAdmission();
    await this.#customResources.stop();
    await this.#core.aggregator.stop();
    await this.#bootstrap.stop();
    this.#core.cache.stop();
  }
}

/** Runs once; a failure that may pass is tried again until the server stops. */
class Bootstrap {
  readonly #core: ServerCore;
  readonly #options: ApiServerOptions;
  readonly #addresses: ServiceAddresses;
  readonly #identity: IdentityLease;
  #running: Promise<void> | undefined;
  done = false;

  constructor(core: ServerCore, options: ApiServerOptions) {
    this.#core = core;
    this.#options = options;
    const { internal, catalogue, services: allocation, clock, log } = core;
    this.#identity = new IdentityLease({
      internal,
      address: options.advertiseAddress
        ? `${options.advertiseAddress.ip}:${options.advertiseAddress.port}`
        : '',
      clock,
      log,
    });
    this.#addresses = new ServiceAddresses({
      internal,
      catalogue,
      allocation,
      cidr: options.serviceCidr ?? DEFAULT_SERVICE_CIDR,
      clock,
      log,
    });
  }

  stop(): Promise<void> {
    this.#identity.stop();
    return this.#addresses.stop();
  }

  /** A write that changes nothing of note. */
  renewIdentity(): Promise<void> {
    return this.#identity.renew();
  }

  run(): Promise<void> {
    return (this.#running ??= this.#run());
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#core;
    for (;;) {
      try {
        await this.#once();
        this.done = true;
        return;
      } catch (error) {
        if (this.#core.stopping) throw error;
        if (isStatusError(error, 'Invalid')) {
          log.error("the cluster's first objects cannot be created", { error: errorMessage(error) });
          throw error;
        }
        log.warn("creating the cluster's first objects failed, trying again", { error: errorMessage(error) });
        await clock.sleep(BOOTSTRAP_RETRY_MS);
      }
    }
  }

  async #once(): Promise<void> {
    const { internal, services } = this.#core;
    if (this.#options.bootstrapObjects ?? true) {
      const { advertiseAddress, clientCa, requestHeader } = this.#options;
      // Policy does not depend on namespaces: both go out together and share the store's group commits.
      await Promise.all([
        bootstrapCluster({
          internal,
          serviceAddress: services.addresses.first,
          advertiseAddress,
          clientCa,
          requestHeader,
        }),
        this.#core.aggregator.registerLocal(),
        this.#addresses.prepare(),
        this.#options.bootstrap?.(internal),
      ]);
      await this.#addresses.start();
      await this.#identity.start();
    } else await this.#options.bootstrap?.(internal);
  }
}

function addChecks(
  health: HealthChecks,
  {
    core,
    bootstrap,
    store,
  }: { readonly core: ServerCore; readonly bootstrap: Bootstrap; readonly store: WatchedStore },
): void {
  health.add({ name: 'ping', check: () => undefined });
  health.add({ name: 'log', check: () => undefined });
  health.add({
    name: 'etcd',
    check: () => (core.cache.live ? undefined : 'the watch on the store is not open'),
  });
  health.addReadiness({
    name: 'etcd-readiness',
    check: () => store.writeProblem && `the store does not take writes: ${store.writeProblem}`,
  });
  health.addReadiness({
    name: 'informer-sync',
    check: () => (core.cache.live ? undefined : 'the cache is being filled'),
  });
  for (const name of POST_START_HOOKS)
    health.addStart({ name, check: () => (bootstrap.done ? undefined : 'not finished') });
  health.addReadinessLast({
    name: 'shutdown',
    check: () => (core.leaving ? 'process is shutting down' : undefined),
  });
}

function versionLines(programVersion: string): string {
  const {
    major,
    minor,
    emulationMajor,
    emulationMinor,
    minCompatibilityMajor,
    minCompatibilityMinor,
    gitVersion,
    gitCommit,
    gitTreeState,
    buildDate,
    goVersion,
    compiler,
    platform,
  } = versionInfo(programVersion);
  const build = Object.entries({
    build_date: buildDate,
    compiler,
    git_commit: gitCommit,
    git_tree_state: gitTreeState,
    git_version: gitVersion,
    go_version: goVersion,
    major,
    minor,
    platform,
  });
  const versions = Object.entries({
    binary: gitVersion.replace(/^v/, ''),
    component: 'kube',
    emulation: `${emulationMajor}.${emulationMinor}`,
    min_compat: `${minCompatibilityMajor}.${minCompatibilityMinor}`,
  });
  const labels = (of: readonly (readonly [name: string, value: string])[]): string =>
    of.map(([name, value]) => label(name, value)).join(',');
  return [
    '# HELP kubernetes_build_info Version of this program; the value is 1.',
    '# TYPE kubernetes_build_info gauge',
    `kubernetes_build_info{${labels(build)}} 1`,
    '# HELP version_info Which version of Kubernetes it behaves as; the value is 1.',
    '# TYPE version_info gauge',
    `version_info{${labels(versions)}} 1`,
  ].join('\n');
}

/** What is stored and what the caches of it have seen, by resource. */
/** Lists by where they were served from. No list goes by an index here: names are the only order. */
function listFamilies(): {
  readonly families: readonly Counter[];
  add(labels: string, cache: Pick<ResourceCache, 'lists' | 'historicLists'>): void;
} {
  const of = (
    where: string,
  ): { readonly total: Counter; readonly fetched: Counter; readonly returned: Counter } => ({
    total: new Counter(
      `apiserver_${where}_list_total`,
      `Lists served from the ${where}, by group and resource.`,
    ),
    fetched: new Counter(
      `apiserver_${where}_list_fetched_objects_total`,
      `Objects read from the ${where} for lists, by group and resource.`,
    ),
    returned: new Counter(
      `apiserver_${where}_list_returned_objects_total`,
      `Objects of lists served from the ${where}, by group and resource.`,
    ),
  });
  const cached = of('cache'),
    stored = of('storage');
  const evaluated = new Counter(
    'apiserver_storage_list_evaluated_objects_total',
    'Objects tested for lists served from the storage, by group and resource.',
  );
  const consistent = new Counter(
    'apiserver_watch_cache_consistent_read_total',
    'Lists of the newest revision that the watch cache served, by group, resource, success and fallback.',
  );
  return {
    families: [...Object.values(cached), ...Object.values(stored), evaluated, consistent],
    add(labels, { lists, historicLists }) {
      const indexed = labels.replace(',resource', ',index="",resource');
      if (lists.served > 0) {
        cached.total.add(indexed, lists.served);
        cached.fetched.add(indexed, lists.fetched);
        cached.returned.add(labels, lists.returned);
      }
      if (lists.consistent > 0) consistent.add(`fallback="false",${labels},success="true"`, lists.consistent);
      if (historicLists.served === 0) return;
      stored.total.add(labels, historicLists.served);
      stored.fetched.add(labels, historicLists.fetched);
      evaluated.add(labels, historicLists.fetched);
      stored.returned.add(labels, historicLists.returned);
    },
  };
}

function storageLines(catalogue: Catalogue, cache: WatchCache): string {
  const objects = new Gauge('apiserver_storage_objects', 'Stored objects, by resource.');
  const byGroup = new Gauge('apiserver_resource_objects', 'Stored objects, by group and resource.');
  const stored = new Counter(
    'apiserver_storage_events_received_total',
    'Writes that the store told of, by group and resource.',
  );
  const received = new Counter(
    'apiserver_watch_cache_events_received_total',
    'Writes that the watch cache took in, by group and resource.',
  );
  const dispatched = new Counter(
    'apiserver_watch_cache_events_dispatched_total',
    'Writes that the watch cache handed to watchers, by group and resource.',
  );
  const initial = new Counter(
    'apiserver_init_events_total',
    'Objects handed to watches at their beginning, by group and resource.',
  );
  const lists = listFamilies();
  const fills = new Counter(
    'apiserver_watch_cache_initializations_total',
    'How often the watch cache was filled, by group and resource.',
  );
  const revision = new Gauge(
    'apiserver_watch_cache_resource_version',
    'Revision up to which the watch cache knows all, by group and resource.',
  );
  const capacity = new Gauge(
    'watch_cache_capacity',
    'Events that watches can resume from, by group and resource.',
  );
  const seen = new Set<string>();
  for (const {
    cache: entries,
    groupResource: { group, resource },
  } of catalogue.endpoints) {
    const name = group === '' ? resource : `${resource}.${group}`;
    if (!entries || seen.has(name)) continue;
    seen.add(name);
    const labels = `group="${group}",resource="${resource}"`;
    objects.set(`resource="${name}"`, entries.entries.size);
    byGroup.set(labels, entries.entries.size);
    stored.add(labels, entries.eventsReceived);
    received.add(labels, entries.eventsReceived);
    dispatched.add(labels, entries.eventsReceived);
    if (entries.initialEvents > 0) initial.add(labels, entries.initialEvents);
    lists.add(labels, entries);
    fills.add(labels, entries.fills);
    revision.set(labels, cache.revision);
    capacity.set(labels, MAX_WINDOW_EVENTS);
  }
  return [
    objects,
    byGroup,
    stored,
    received,
    dispatched,
    initial,
    fills,
    revision,
    capacity,
    ...lists.families,
  ]
    .flatMap((family) => family.render())
    .join('\n');
}
