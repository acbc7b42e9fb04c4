/**
 * Which resources this server serves in which versions, with everything a request needs looked up once: cache, schemas, kinds.
 * Built from the registry; custom resources come and go at run time.
 */
import { assert } from '#stdx/assert.ts';
import { apiVersionOf, parseApiVersion, type GroupVersion, type GroupVersionKind, type GroupVersionResource, type KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { Resource, ServedVersion } from '#resources/resource.ts';
import type { ResourceCache } from './cache/resource-cache.ts';
import type { WatchCache } from './cache/watch-cache.ts';

/** One resource in one served version: what a URL names. */
export interface Endpoint {
  readonly resource: Resource;
  readonly served: ServedVersion;
  readonly gvr: GroupVersionResource;
  readonly gvk: GroupVersionKind;
  readonly apiVersion: string;
  readonly storageGvk: GroupVersionKind;
  /** True when stored bytes can be answered as they are. */
  readonly isStorageVersion: boolean;
  /** Of the served version; undefined for kinds without schema. */
  readonly schema: ObjectSchema | undefined;
  readonly verbs: ReadonlySet<string>;
  /** Undefined for what is never stored. */
  readonly cache: ResourceCache | undefined;
  /** Names this resource in messages. */
  readonly groupResource: { readonly group: string; readonly resource: string };
  /** Field selectors it knows. */
  readonly selectableFields: ReadonlySet<string>;
}

export interface CatalogueOptions {
  readonly resources: readonly Resource[];
  readonly cache: WatchCache;
  /** Which versions are switched on. */
  readonly isEnabled: (served: GroupVersion & { readonly resource: string }) => boolean;
}

export class Catalogue {
  readonly #endpoints = new Map<string, Endpoint>();
  /** In the registry's order, then in each resource's order of versions. */
  readonly endpoints: Endpoint[] = [];

  constructor({ resources, cache, isEnabled }: CatalogueOptions) {
    for (const resource of resources) this.#add(resource, { cache, isEnabled });
  }

  find(group: string, version: string, plural: string): Endpoint | undefined {
    return this.#endpoints.get(`${group}/${version}/${plural}`);
  }

  /** In the version objects are stored as, or else the preferred one. */
  byGroup(group: string, plural: string): Endpoint | undefined {
    return this.#endpoints.get(`${group}//${plural}`);
  }

  /** As byGroup, for code that names a resource that must exist. */
  required(group: string, plural: string): Endpoint & { readonly cache: ResourceCache } {
    const endpoint = this.byGroup(group, plural);
    assert(endpoint?.cache !== undefined, `resource ${plural} of group '${group}' is served and stored`);
    return endpoint as Endpoint & { readonly cache: ResourceCache };
  }

  #add(resource: Resource, { cache, isEnabled }: Omit<CatalogueOptions, 'resources'>): void {
    const { group, plural } = resource;
    const fieldSelectors = Object.entries(resource.behaviour.fieldSelectors ?? {});
    const stored = resource.virtual ? undefined : cache.add(resource.storagePrefix, (object) => fieldsOf(object, fieldSelectors));
    const storage = parseApiVersion(resource.storageApiVersion);
    let preferred: Endpoint | undefined;
    for (const served of resource.versions) {
      if (!isEnabled({ group, version: served.version, resource: plural })) continue;
      const gvk = { group, version: served.version, kind: served.kind };
      const endpoint: Endpoint = {
        resource, served, gvk, gvr: { group, version: served.version, resource: plural }, apiVersion: apiVersionOf(gvk),
        storageGvk: { ...storage, kind: served.kind }, isStorageVersion: apiVersionOf(gvk) === resource.storageApiVersion,
        schema: schemaForKind(gvk), verbs: new Set(served.verbs), cache: stored, groupResource: { group, resource: plural },
        selectableFields: new Set(['metadata.name', ...(resource.namespaced ? ['metadata.namespace'] : []), ...fieldSelectors.map(([field]) => field)]),
      };
      this.#endpoints.set(`${group}/${served.version}/${plural}`, endpoint);
      this.endpoints.push(endpoint);
      preferred = preferred === undefined || endpoint.isStorageVersion ? endpoint : preferred;
    }
    if (preferred) this.#endpoints.set(`${group}//${plural}`, preferred);
  }
}

function fieldsOf(object: KubeObject, selectors: readonly (readonly [string, (object: KubeObject) => string])[]): Readonly<Record<string, string>> {
  const fields: Record<string, string> = { 'metadata.name': object.metadata?.name ?? '', 'metadata.namespace': object.metadata?.namespace ?? '' };
  for (const [field, value] of selectors) fields[field] = value(object);
  return fields;
}
