/**
 * The aggregator: APIServices of extension API servers, and everything this server does for them. Local APIServices are served as usual; without
 * others the only cost is one lookup.
 *
 *   APIService with a Service ─► availability checks ─► condition Available ─► requests are sent on, documents are read and merged
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { APIService } from '#api/types.ts';
import type { ServedEndpoints } from '../registry/endpoints.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { API_SERVICES, AvailabilityController } from './availability.ts';
import { DocumentsReader, type DiscoveredResource } from './extension-documents.ts';
import { proxyToExtension, upgradeToExtension, type ProxyOptions } from './extension-proxy.ts';
import { ExtensionService, type ExtensionContext, type ProxyClientCertificate } from './extension-service.ts';
import type { V2Part } from './extension-openapi.ts';
import { LocalServices } from './local-services.ts';
import { Hosted, HostedApis, type HostedApi } from './hosted-api.ts';
import { builtinPriority, type Priority } from './priorities.ts';

export interface AggregationSettings {
  /** What extension servers know this server by: signed by the authority of request headers. */
  readonly proxyClient?: ProxyClientCertificate | undefined;
  /** Default true: connections go to a Service's endpoints, which need no routes of cluster addresses here. */
  readonly endpointRouting?: boolean | undefined;
  /** Groups that parts of this program serve. */
  readonly hosted?: readonly HostedApi[] | undefined;
  /** For tests. */
  readonly checkTimeoutMs?: number;
  readonly responseTimeoutMs?: number;
}

interface AggregatorOptions extends AggregationSettings {
  readonly internal: InternalApi;
  readonly servedEndpoints: ServedEndpoints;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A version of a group that another server serves, for discovery. */
export interface ExtensionVersion {
  readonly group: string;
  readonly version: string;
  readonly resources: readonly DiscoveredResource[];
  readonly freshness: 'Current' | 'Stale';
}

export interface ExtensionOpenapi {
  readonly path: string;
  readonly hash: string;
  readonly bytes?: Buffer | undefined;
  readonly query: string | undefined;
}

const RESPONSE_TIMEOUT_MS = 60_000;

export class Aggregator {
  readonly #options: AggregatorOptions;
  #context: ExtensionContext;
  readonly #availability: AvailabilityController;
  readonly #documents: DocumentsReader;
  readonly #proxy: ProxyOptions;
  readonly #local: LocalServices;
  readonly #hosted: HostedApis;
  /** By name of the APIService. */
  readonly #services = new Map<string, ExtensionService>();
  readonly #byPath = new Map<string, ExtensionService>();
  readonly #fingerprints = new Map<string, string>();
  readonly #unwatch: (() => void)[] = [];
  #followsServices = false;
  #revision = 0;

  constructor(options: AggregatorOptions) {
    this.#options = options;
    const {
      internal,
      servedEndpoints,
      clock,
      log,
      proxyClient,
      endpointRouting = true,
      checkTimeoutMs,
    } = options;
    this.#context = { internal, proxyClient, endpointRouting, random: Math.random };
    this.#proxy = {
      log,
      running: new Set(),
      responseTimeoutMs: options.responseTimeoutMs ?? RESPONSE_TIMEOUT_MS,
    };
    const serviceOf = (name: string): ExtensionService | undefined => this.#services.get(name);
    this.#availability = new AvailabilityController({
      internal,
      clock,
      log,
      serviceOf,
      checkTimeoutMs,
    });
    this.#documents = new DocumentsReader({ clock, log, serviceOf, changed: () => void this.#revision++ });
    this.#local = new LocalServices({ internal, servedEndpoints, clock, log });
    this.#hosted = new HostedApis({
      apis: options.hosted ?? [],
      internal,
      proxyClient: () => this.#context.proxyClient,
      proxy: this.#proxy,
      clock,
      log,
      changed: () => void this.#revision++,
    });
  }

  start(): void {
    const { internal, servedEndpoints } = this.#options;
    if (!servedEndpoints.byGroup(API_SERVICES.group, API_SERVICES.resource)) return;
    this.#unwatch.push(
      internal.watch(API_SERVICES, {
        added: (object) => this.#take(object as APIService),
        updated: (object) => this.#take(object as APIService),
        deleted: ({ metadata }) => {
          this.#drop(metadata.name);
          this.#hosted.drop(metadata.name);
        },
      }),
    );
  }

  /** Open connections continue with the old certificate. */
  replaceProxyClient(proxyClient: ProxyClientCertificate): void {
    this.#context = { ...this.#context, proxyClient };
    for (const [name, service] of this.#services) {
      const next = service.with(this.#context);
      service.retire();
      this.#services.set(name, next);
      this.#byPath.set(next.path, next);
      this.#availability.check(name);
    }
  }

  /** Resolves when everything served here has its APIService. */
  async registerLocal(): Promise<void> {
    const { servedEndpoints } = this.#options;
    if (servedEndpoints.byGroup(API_SERVICES.group, API_SERVICES.resource)) this.#hosted.start();
    await this.#local.start();
  }

  /** Ends watches and other streams of extension servers: their clients come back. */
  endStreams(): void {
    for (const end of Array.from(this.#proxy.running)) end();
  }

  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    await Promise.all([
      this.#local.stop(),
      this.#hosted.stop(),
      this.#availability.stop(),
      this.#documents.stop(),
    ]);
    for (const service of this.#services.values()) service.close();
  }

  // -------------------------------------------------------------------------------------------------------------- requests

  /** The server of another that a request's path belongs to. */
  serviceFor(path: string): ExtensionService | undefined {
    if (this.#byPath.size === 0) return undefined;
    const [, root = '', group = '', version = ''] = path.split('/', 4);
    if (root === 'openapi')
      return group === 'v3' ? this.#openapiServer(path.slice('/openapi/v3/'.length)) : undefined;
    return this.#byPath.get(root === 'api' ? `api/${group}` : `${root}/${group}/${version}`);
  }

  /** Of the OpenAPI v3 documents that servers make themselves. */
  #openapiServer(path: string): ExtensionService | undefined {
    const service = this.#byPath.get(path);
    return service && this.#documents.of(service.name).openapiV3?.query !== undefined ? service : undefined;
  }

  handle(service: ExtensionService, context: RequestContext): Promise<ApiResponse> {
    return proxyToExtension(service, context, this.#proxy);
  }

  /** The part of this program that a request's path belongs to. */
  hostedFor(path: string): Hosted | undefined {
    return this.#hosted.find(path);
  }

  handleHosted(hosted: Hosted, context: RequestContext): Promise<ApiResponse> {
    return this.#hosted.handle(hosted, context);
  }

  upgrade(
    service: ExtensionService,
    context: RequestContext,
    client: { readonly socket: Duplex; readonly head: Buffer },
  ): Promise<void> {
    return upgradeToExtension(service, context, { ...this.#proxy, client });
  }

  // ------------------------------------------------------------------------------------------------------------- documents

  /** Counts changes of everything below. */
  get revision(): number {
    return this.#revision;
  }

  versions(): ExtensionVersion[] {
    const extensions = Array.from(this.#services.values(), ({ name, group, version }): ExtensionVersion => {
      const { resources, freshness } = this.#documents.of(name);
      return { group, version, resources, freshness };
    });
    const hosted = this.#hosted.served().map((one): ExtensionVersion => {
      const { group, version } = one.api;
      return { group, version, resources: one.discovered(), freshness: 'Current' };
    });
    return [...extensions, ...hosted];
  }

  priorityOf(gv: { readonly group: string; readonly version: string }): Priority {
    const spec = this.#byPath.get(
      gv.group === '' ? `api/${gv.version}` : `apis/${gv.group}/${gv.version}`,
    )?.spec;
    if (spec) return { group: spec.groupPriorityMinimum, version: spec.versionPriority };
    return this.#hosted.find(`/apis/${gv.group}/${gv.version}`)?.api.priority ?? builtinPriority(gv);
  }

  openapiV2(): V2Part[] {
    const extensions = Array.from(this.#services.keys(), (name) => this.#documents.of(name).openapiV2);
    return [
      ...extensions.filter((part) => part !== undefined),
      ...this.#hosted.served().map(({ documents }) => documents.v2 as V2Part),
    ];
  }

  openapiV3(): ExtensionOpenapi[] {
    const extensions = Array.from(this.#services.values()).flatMap(({ name, path }) => {
      const { openapiV3 } = this.#documents.of(name);
      return openapiV3
        ? [{ path, hash: openapiV3.hash, query: openapiV3.query, bytes: openapiV3.bytes }]
        : [];
    });
    const hosted = this.#hosted
      .served()
      .map(({ path, documents: { v3 } }) => ({ path, ...v3, query: undefined }));
    return [...extensions, ...hosted];
  }

  metrics(): string {
    return this.#availability.metrics();
  }

  // ----------------------------------------------------------------------------------------------------------- APIServices

  #take(object: APIService): void {
    const name = object.metadata?.name ?? '';
    if (!object.spec?.service) {
      this.#drop(name);
      return this.#hosted.take(object);
    }
    this.#hosted.take(object);
    const before = this.#services.get(name);
    const fingerprint = ExtensionService.fingerprint(object);
    const moved = this.#fingerprints.get(name) !== fingerprint;
    if (moved) {
      before?.close();
      this.#documents.forget(name);
    }
    const service = new ExtensionService(object, this.#context, moved ? undefined : before);
    this.#services.set(name, service);
    this.#fingerprints.set(name, fingerprint);
    this.#byPath.set(service.path, service);
    if (
      moved ||
      before?.spec.groupPriorityMinimum !== service.spec.groupPriorityMinimum ||
      before?.spec.versionPriority !== service.spec.versionPriority
    )
      this.#revision++;
    if (moved) {
      this.#followServices();
      this.#availability.check(name);
    }
    if (moved || (service.isAvailable && !before?.isAvailable)) this.#documents.refresh(name);
  }

  #drop(name: string): void {
    const service = this.#services.get(name);
    if (!service) return;
    service.close();
    this.#services.delete(name);
    this.#fingerprints.delete(name);
    this.#byPath.delete(service.path);
    this.#availability.forget(name);
    this.#documents.forget(name);
    this.#revision++;
  }

  /** Started with the first APIService of another server: follows the Services they name. */
  #followServices(): void {
    if (this.#followsServices) return;
    this.#followsServices = true;
    const { internal } = this.#options;
    const changed = ({
      namespace = '',
      name,
    }: {
      readonly namespace?: string | undefined;
      readonly name: string | undefined;
    }): void => {
      for (const [
        apiService,
        {
          spec: { service },
        },
      ] of this.#services)
        if (service?.name === name && service?.namespace === namespace) this.#availability.check(apiService);
    };
    const ofService = ({ metadata }: KubeObject): void =>
      changed({ namespace: metadata?.namespace, name: metadata?.name });
    const ofSlice = ({ metadata }: KubeObject): void =>
      changed({ namespace: metadata?.namespace, name: metadata?.labels?.['kubernetes.io/service-name'] });
    this.#unwatch.push(
      internal.watch(
        { group: '', resource: 'services' },
        { added: ofService, updated: ofService, deleted: ofService },
      ),
    );
    this.#unwatch.push(
      internal.watch(
        { group: 'discovery.k8s.io', resource: 'endpointslices' },
        { added: ofSlice, updated: ofSlice, deleted: ofSlice },
      ),
    );
  }
}
