/**
 * Groups that a part of this program serves as an extension API server would, behind an APIService without a Service. The APIService is made when it is
 * absent and never changed afterwards: one that names a Service (somebody's own server) wins, and one that is deleted comes back.
 *
 *   absent ──create──► ours: served here ──somebody names a Service──► theirs: sent on (aggregator.ts) ──deleted──► absent
 *
 * Of several API servers one answers, as the part itself says; the others pass requests on to it.
 */
import type { APIService } from '#api/types.ts';
import type { ResourceFacts } from '#api/resources.ts';
import type { Clock } from '#stdx/clock.ts';
import { HttpsClient, type DestinationTls } from '#stdx/https-client.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { Logger } from '#stdx/log.ts';
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import type { LabelSelector } from '#machinery/labels.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import { hostedDocuments, type HostedDocuments } from '#openapi/hosted.ts';
import type { TableDefinition } from '#resources/define.ts';
import { bracketed } from '#stdx/host-port.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import { listObject } from '../registry/list-object.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import { respondEncoded, tableOf, viewOptions } from '../registry/transform.ts';
import { parseListOptions } from '../registry/verb-options.ts';
import { API_SERVICES } from './availability.ts';
import { proxyToExtension, type ProxyOptions, type ProxyTarget } from './extension-proxy.ts';
import type { ExtensionAddress, ProxyClientCertificate } from './extension-service.ts';
import type { Priority } from './priorities.ts';

interface HostedResource {
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly table: TableDefinition<KubeObject>;
  /** Metadata, kind and apiVersion included, in order. Field selectors are applied afterwards. namespace: '' = all. */
  list(selection: { readonly namespace: string; readonly labels: LabelSelector | undefined }): KubeObject[];
  /** Throws NotFound. */
  get(name: { readonly namespace: string; readonly name: string }): KubeObject;
}

/** Read-only resources of one version of a group. */
export interface HostedApi {
  readonly group: string;
  readonly version: string;
  readonly priority: Priority;
  readonly resources: readonly HostedResource[];
  /** Switched off: nothing is served, and an APIService that is ours is removed. */
  readonly isOff?: boolean;
  /** Where its requests are answered. Undefined: nowhere at the moment. */
  answeredBy(): 'here' | ExtensionAddress | undefined;
  /** Whether this program serves it from now on. */
  serve(on: boolean): Promise<void>;
  /** PEM: authorities of the other API servers' serving certificates. */
  readonly peerCa: string;
}

interface HostedApisOptions {
  readonly apis: readonly HostedApi[];
  readonly internal: InternalApi;
  readonly proxyClient: () => ProxyClientCertificate | undefined;
  readonly proxy: ProxyOptions;
  readonly clock: Clock;
  readonly log: Logger;
  /** What discovery and OpenAPI say of them changed. */
  readonly changed: () => void;
}

/** Of what one server sends another: it answers it or nobody does, so that requests cannot circle. */
const SENT_ON = 'x-capstan-hosted-api';
const OURS = { 'app.kubernetes.io/managed-by': 'capstan' };
const VERBS = ['get', 'list'];
const CONNECT_TIMEOUT_MS = 5_000;

export class HostedApis {
  readonly #options: HostedApisOptions;
  readonly #byName: ReadonlyMap<string, Hosted>;
  readonly #serving = new Map<string, Hosted>();
  readonly #work: KeyedWork;
  #client: { readonly of: ProxyClientCertificate | undefined; readonly client: HttpsClient } | undefined;

  constructor(options: HostedApisOptions) {
    this.#options = options;
    this.#byName = new Map(
      options.apis.map((api) => [`${api.version}.${api.group}`, new Hosted(api)] as const),
    );
    const { clock, log } = options;
    this.#work = new KeyedWork({
      clock,
      log,
      complaint: 'error making an APIService of this program',
      work: (name) => this.#reconcile(name),
    });
  }

  /** Once this server may write. */
  start(): void {
    for (const name of this.#byName.keys()) this.#work.add(name);
  }

  async stop(): Promise<void> {
    await this.#work.stop();
    await Promise.all(Array.from(this.#byName.values(), ({ api }) => api.serve(false)));
    this.#client?.client.destroy();
  }

  /** An APIService was added or changed. */
  take({ metadata, spec }: APIService): void {
    const hosted = this.#byName.get(metadata?.name ?? '');
    if (!hosted) return;
    if (hosted.api.isOff) return this.#work.add(hosted.name);
    this.#set(hosted, spec?.service === undefined);
  }

  drop(name: string): void {
    const hosted = this.#byName.get(name);
    if (!hosted) return;
    this.#set(hosted, false);
    this.#work.add(name);
  }

  /** Of a request's path. */
  find(path: string): Hosted | undefined {
    if (this.#serving.size === 0) return undefined;
    const [, root, group = '', version = ''] = path.split('/', 4);
    return root === 'apis' ? this.#serving.get(`${version}.${group}`) : undefined;
  }

  served(): Hosted[] {
    return Array.from(this.#serving.values());
  }

  async handle(hosted: Hosted, context: RequestContext): Promise<ApiResponse> {
    const at = hosted.api.answeredBy();
    if (at === 'here' || !context.info.isResourceRequest)
      return hosted.answer(context, this.#options.clock.now());
    if (at === undefined || context.request.headers[SENT_ON] !== undefined)
      throw statusErrors.unavailable(`no API server answers requests for ${hosted.apiVersion} at the moment`);
    return proxyToExtension(this.#target(hosted, at), context, this.#options.proxy);
  }

  #set(hosted: Hosted, on: boolean): void {
    if (this.#serving.has(hosted.name) === on) return;
    if (on) this.#serving.set(hosted.name, hosted);
    else this.#serving.delete(hosted.name);
    const { log, changed } = this.#options;
    log.info(on ? 'an API of this program is served' : 'an API of this program is not served any more', {
      apiservice: hosted.name,
    });
    changed();
    // A failure to stop is the part's own, and logged there.
    void hosted.api.serve(on);
  }

  async #reconcile(name: string): Promise<void> {
    const { internal } = this.#options;
    const { api } = this.#byName.get(name)!;
    const current = internal.get(API_SERVICES, { name }) as APIService | undefined;
    try {
      if (api.isOff) {
        if (current && isOurs(current))
          await internal.delete(API_SERVICES, { name }, { uid: current.metadata?.uid });
      } else if (!current) await internal.create(API_SERVICES, objectOf(name, api));
    } catch (error) {
      // Somebody else was faster.
      if (!isStatusError(error, 'AlreadyExists') && !isStatusError(error, 'NotFound')) throw error;
    }
  }

  #target({ name, api }: Hosted, address: ExtensionAddress): ProxyTarget {
    const proxyClient = this.#options.proxyClient();
    const tls: DestinationTls = { ca: api.peerCa, ...proxyClient };
    const { host } = address;
    return {
      name,
      isAvailable: true,
      serverName: bracketed(host),
      client: this.#clientOf(proxyClient),
      tls,
      address: () => address,
      destination: (to) => ({ ...to, tls }),
      headersFor: ({ auditId }) => ({ [SENT_ON]: 'true', 'audit-id': auditId }),
    };
  }

  #clientOf(proxyClient: ProxyClientCertificate | undefined): HttpsClient {
    if (this.#client?.of === proxyClient && this.#client) return this.#client.client;
    this.#client?.client.retire();
    const client = new HttpsClient({ connectTimeoutMs: CONNECT_TIMEOUT_MS });
    this.#client = { of: proxyClient, client };
    return client;
  }
}

/** One hosted version of a group, and what clients learn of it. */
export class Hosted {
  readonly api: HostedApi;
  readonly name: string;
  readonly apiVersion: string;
  readonly #endpoints: ReadonlyMap<
    string,
    { readonly resource: HostedResource; readonly endpoint: Endpoint }
  >;
  #documents: HostedDocuments | undefined;

  constructor(api: HostedApi) {
    this.api = api;
    this.name = `${api.version}.${api.group}`;
    this.apiVersion = formatApiVersion(api);
    this.#endpoints = new Map(
      api.resources.map((resource) => [resource.plural, { resource, endpoint: endpointOf(api, resource) }]),
    );
  }

  /** 'apis/metrics.k8s.io/v1beta1' */
  get path(): string {
    return `apis/${this.apiVersion}`;
  }

  get documents(): HostedDocuments {
    return (this.#documents ??= hostedDocuments(this.api.resources.map((one) => factsOf(this.api, one))));
  }

  /** Entries of aggregated discovery. */
  discovered(): Readonly<Record<string, unknown>>[] {
    return this.api.resources.map(({ plural, kind, namespaced }) => ({
      resource: plural,
      responseKind: { group: '', version: '', kind },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      singularResource: '',
      verbs: VERBS,
    }));
  }

  answer(context: RequestContext, nowMs: number): ApiResponse {
    const { info } = context;
    if (!info.isResourceRequest) return this.#resourceList(context, nowMs);
    const found = this.#endpoints.get(info.resource);
    if (!found || info.subresource !== '') throw statusErrors.pathNotFound();
    const { resource, endpoint } = found;
    if (!resource.namespaced && info.namespace !== '') throw statusErrors.pathNotFound();
    if (!VERBS.includes(info.verb) || context.request.method === 'HEAD')
      throw statusErrors.pathMethodNotAllowed();
    return info.verb === 'get'
      ? getOne(endpoint, resource, { context, nowMs })
      : listAll(endpoint, resource, { context, nowMs });
  }

  #resourceList(context: RequestContext, nowMs: number): ApiResponse {
    if (context.info.path.replace(/\/$/, '') !== `/${this.path}`) throw statusErrors.pathNotFound();
    if (context.info.verb !== 'get') throw statusErrors.pathMethodNotAllowed();
    const list = {
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: this.apiVersion,
      resources: this.api.resources.map(({ plural, kind, namespaced }) => ({
        name: plural,
        singularName: '',
        namespaced,
        kind,
        verbs: VERBS,
      })),
    };
    return respondEncoded(list as KubeObject, { status: 200, options: viewOptions(context, nowMs) });
  }
}

interface Asked {
  readonly context: RequestContext;
  readonly nowMs: number;
}

function getOne(endpoint: Endpoint, resource: HostedResource, { context, nowMs }: Asked): ApiResponse {
  const view = viewOptions(context, nowMs, endpoint);
  const { namespace, name } = context.info;
  if (resource.namespaced && namespace === '') throw statusErrors.pathNotFound();
  const object = resource.get({ namespace, name });
  const shown =
    view.accepted.view === 'table' ? tableOf(endpoint, [object], { metadata: {}, options: view }) : object;
  return respondEncoded(shown, { status: 200, options: view });
}

function listAll(endpoint: Endpoint, resource: HostedResource, { context, nowMs }: Asked): ApiResponse {
  const { labelSelector: labels, fieldSelector } = parseListOptions(endpoint, context.info.query);
  const view = viewOptions(context, nowMs, endpoint);
  const objects = resource
    .list({ namespace: context.info.namespace, labels })
    .filter(
      ({ metadata }) =>
        fieldSelector?.matches((field) =>
          field === 'metadata.name' ? (metadata?.name ?? '') : (metadata?.namespace ?? ''),
        ) ?? true,
    );
  return respondEncoded(listObject(endpoint, { objects, metadata: {}, view }), {
    status: 200,
    options: view,
  });
}

function factsOf({ group, version }: HostedApi, { plural, kind, namespaced }: HostedResource): ResourceFacts {
  return { group, version, plural, singular: '', kind, namespaced, verbs: VERBS };
}

/** As much of an endpoint as rendering uses: nothing is stored. */
function endpointOf({ group, version }: HostedApi, resource: HostedResource): Endpoint {
  const gvk = { group, version, kind: resource.kind };
  const apiVersion = formatApiVersion(gvk);
  const served = {
    version,
    apiVersion,
    kind: resource.kind,
    verbs: VERBS,
    subresources: new Map(),
    returnsDeleted: false,
  };
  return {
    resource: { ...resource, group, behaviour: { group, plural: resource.plural } },
    served,
    isBuiltin: true,
    gvk,
    gvr: { group, version, resource: resource.plural },
    apiVersion,
    isStorageVersion: true,
    verbs: new Set(VERBS),
    cache: undefined,
    groupResource: { group, resource: resource.plural },
    selectableFields: new Set(['metadata.name', 'metadata.namespace']),
  } as unknown as Endpoint;
}

function isOurs({ metadata, spec }: APIService): boolean {
  return (
    spec?.service === undefined &&
    Object.entries(OURS).every(([key, value]) => metadata?.labels?.[key] === value)
  );
}

function objectOf(name: string, { group, version, priority }: HostedApi): APIService {
  return {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name, labels: { ...OURS } },
    spec: { group, version, groupPriorityMinimum: priority.group, versionPriority: priority.version },
  };
}
