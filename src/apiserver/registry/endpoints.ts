/**
 * The served resources and versions, with everything a request needs looked up once: cache, schemas, kinds.
 * Built from the registry; custom resources are added and removed at run time.
 */
import { assert } from '#stdx/assert.ts';
import {
  formatApiVersion,
  parseApiVersion,
  type GroupVersion,
  type GroupVersionKind,
  type GroupVersionResource,
  type KubeObject,
  type Stored,
} from '#machinery/object.ts';
import type { KindVersions } from '#machinery/apply/kind-versions.ts';
import type { Decoded, DecodeMode } from '#machinery/decode.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { serializedHead } from '#machinery/serialize.ts';
import { schemaForKind } from '#api/schemas.ts';
import { findDeprecation } from '#resources/deprecations.ts';
import type { Resource, ServedVersion } from '#resources/resource.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';
import type { StoreHooks } from './hooks.ts';

/** Converts between the stored form of a resource and one served version, where hooks of the record are not enough. */
export interface VersionCodec {
  /** True when ready() may have to wait: reads must call it first. */
  readonly waits: boolean;
  /** Afterwards read() is synchronous for these entries; returns undefined when it already is. Rejects with StatusError. */
  ready(entries: readonly CacheEntry[]): Promise<void> | undefined;
  /** In the served version. Shared: never change it. */
  read(entry: CacheEntry): Stored;
  /** The form to store; may be the object itself. */
  write(object: KubeObject): KubeObject | Promise<KubeObject>;
  /** The response of a write: what the next reader sees. written: the input of write(). */
  readBack(stored: KubeObject, written: KubeObject): KubeObject;
}

/** One resource in one served version: the target of a URL. */
export interface Endpoint {
  readonly resource: Resource;
  readonly served: ServedVersion;
  /** Of the registry; custom resources are not. */
  readonly isBuiltin: boolean;
  /** What requests are warned of: the version goes. */
  readonly deprecation?: string | undefined;
  readonly gvr: GroupVersionResource;
  readonly gvk: GroupVersionKind;
  readonly apiVersion: string;
  readonly storageGvk: GroupVersionKind;
  /** True when stored bytes can be sent unchanged. */
  readonly isStorageVersion: boolean;
  /** Of the served version; undefined for kinds without schema. */
  readonly schema: ObjectSchema | undefined;
  readonly verbs: ReadonlySet<string>;
  /** Undefined for resources that are not stored. */
  readonly cache: ResourceCache | undefined;
  /** Names this resource in messages. */
  readonly groupResource: { readonly group: string; readonly resource: string };
  /** Field selectors it knows. */
  readonly selectableFields: ReadonlySet<string>;
  /** Values of the selectable fields, where they belong to the served version rather than the stored one. */
  readonly fieldsOf?: (object: KubeObject) => Readonly<Record<string, string>>;
  /** Absent: the stored form is what hooks see, and the record converts. With it, hooks see objects of the served version. */
  readonly codec?: VersionCodec | undefined;
  /** Converts an object of any served version to this one, where the record cannot; may be the object itself. */
  readonly fromVersion?: (object: KubeObject) => KubeObject | Promise<KubeObject>;
  /** Decodes a body of this kind, where the schema is not enough. */
  readonly decode?: (value: unknown, mode: DecodeMode) => Decoded;
  /** The kind in all its versions, where the record does not list them. */
  readonly kindVersions?: KindVersions;
  /** The resource's hooks into the generic store's writes. */
  readonly hooks?: StoreHooks | undefined;
  /** Default: kind + 'List'. */
  readonly listKind?: string;
  /** Of custom resources, for OpenAPI; absent: any object. */
  readonly publishedSchema?: Readonly<Record<string, unknown>> | undefined;
}

export function findListKind({ listKind, served }: Endpoint): string {
  return listKind ?? `${served.kind}List`;
}

interface ServedEndpointsOptions {
  readonly resources: readonly Resource[];
  /** By 'group/plural'. */
  readonly hooks?: Readonly<Record<string, StoreHooks>> | undefined;
  readonly cache: WatchCache;
  /** Which versions are switched on. */
  readonly isEnabled: (served: GroupVersion & { readonly resource: string }) => boolean;
}

export class ServedEndpoints {
  readonly #endpoints = new Map<string, Endpoint>();
  /** In the registry's order, then in each resource's order of versions; custom resources after them. */
  readonly endpoints: Endpoint[] = [];
  #revision = 0;

  constructor({ resources, ...options }: ServedEndpointsOptions) {
    for (const resource of resources) this.#add(resource, options);
  }

  /** Incremented with each change of the served resources: derived documents are rebuilt. */
  get revision(): number {
    return this.#revision;
  }

  /** Replaces the served versions of a resource. Built-in resources have precedence. */
  serve(
    { group, resource }: { readonly group: string; readonly resource: string },
    {
      endpoints,
      stored,
    }: { readonly endpoints: readonly Endpoint[]; readonly stored?: Endpoint | undefined },
  ): void {
    for (const [key, endpoint] of this.#endpoints)
      if (!endpoint.isBuiltin && endpoint.gvr.group === group && endpoint.gvr.resource === resource)
        this.#endpoints.delete(key);
    const kept = this.endpoints.filter(
      (endpoint) => endpoint.isBuiltin || endpoint.gvr.group !== group || endpoint.gvr.resource !== resource,
    );
    this.endpoints.splice(0, this.endpoints.length, ...kept);
    for (const endpoint of endpoints) {
      const key = `${group}/${endpoint.gvr.version}/${resource}`;
      if (this.#endpoints.has(key)) continue;
      this.#endpoints.set(key, endpoint);
      this.endpoints.push(endpoint);
    }
    const preferred = stored ?? endpoints[0];
    if (preferred && !this.#endpoints.has(`${group}//${resource}`))
      this.#endpoints.set(`${group}//${resource}`, preferred);
    this.#revision++;
  }

  find(group: string, version: string, plural: string): Endpoint | undefined {
    return this.#endpoints.get(`${group}/${version}/${plural}`);
  }

  /** Whether any version of it is served: of a group that the registry has. */
  servesGroup(group: string): boolean {
    return this.endpoints.some(({ gvr, isBuiltin }) => isBuiltin && gvr.group === group);
  }

  /** In the version objects are stored as, or else the preferred one; also when it is switched off for clients. */
  byGroup(group: string, plural: string): Endpoint | undefined {
    return this.#endpoints.get(`${group}//${plural}`);
  }

  /** As byGroup, for code that names a resource that must exist. */
  required(group: string, plural: string): Endpoint & { readonly cache: ResourceCache } {
    const endpoint = this.byGroup(group, plural);
    assert(endpoint?.cache !== undefined, `resource ${plural} of group '${group}' is served and stored`);
    return endpoint as Endpoint & { readonly cache: ResourceCache };
  }

  #add(resource: Resource, { cache, isEnabled, hooks }: Omit<ServedEndpointsOptions, 'resources'>): void {
    const { group, plural } = resource;
    const fieldSelectors = Object.entries(resource.behaviour.fieldSelectors ?? {});
    const storage = parseApiVersion(resource.storageApiVersion);
    const storedKind =
      resource.versions.find(({ version }) => version === storage.version)?.kind ??
      resource.versions[0]!.kind;
    const stored = resource.virtual
      ? undefined
      : cache.add(resource.storagePrefix, {
          fieldsOf: (object) => fieldsOf(object, fieldSelectors),
          itemHead: serializedHead({ kind: storedKind, apiVersion: resource.storageApiVersion }),
        });
    let preferred: Endpoint | undefined;
    let hidden: Endpoint | undefined;
    for (const served of resource.versions) {
      const gvk = { group, version: served.version, kind: served.kind };
      const endpoint: Endpoint = {
        resource,
        served,
        isBuiltin: true,
        deprecation: resource.behaviour.deprecation ?? findDeprecation(formatApiVersion(gvk), served.kind),
        gvk,
        gvr: { group, version: served.version, resource: plural },
        apiVersion: formatApiVersion(gvk),
        storageGvk: { ...storage, kind: served.kind },
        isStorageVersion: formatApiVersion(gvk) === resource.storageApiVersion,
        schema: schemaForKind(gvk),
        verbs: new Set(served.verbs),
        cache: stored,
        hooks: hooks?.[`${group}/${plural}`],
        groupResource: { group, resource: plural },
        selectableFields: new Set([
          'metadata.name',
          ...(resource.namespaced || !resource.behaviour.fieldSelectors ? ['metadata.namespace'] : []),
          ...(resource.behaviour.selectableFields ?? fieldSelectors.map(([field]) => field)),
        ]),
      };
      if (!isEnabled(endpoint.gvr)) {
        if (endpoint.isStorageVersion) hidden = endpoint;
        continue;
      }
      this.#endpoints.set(`${group}/${served.version}/${plural}`, endpoint);
      this.endpoints.push(endpoint);
      preferred = preferred === undefined || endpoint.isStorageVersion ? endpoint : preferred;
    }
    // An unserved resource stays registered: parts of the server rely on it.
    const internal = preferred ?? hidden;
    if (internal) this.#endpoints.set(`${group}//${plural}`, internal);
  }
}

function fieldsOf(
  object: KubeObject,
  selectors: readonly (readonly [string, (object: KubeObject) => string])[],
): Readonly<Record<string, string>> {
  const fields: Record<string, string> = {
    'metadata.name': object.metadata?.name ?? '',
    'metadata.namespace': object.metadata?.namespace ?? '',
  };
  for (const [field, value] of selectors) fields[field] = value(object);
  return fields;
}
