/**
 * Resources and versions for admission: which ones are equivalent (upstream's equivalent resource mapper, for matchPolicy Equivalent), the kind
 * that requests for them carry, and conversion between versions.
 */
import { assert } from '#stdx/assert.ts';
import { deepClone } from '#machinery/json.ts';
import {
  formatApiVersion,
  parseApiVersion,
  type GroupVersionKind,
  type GroupVersionResource,
  type KubeObject,
} from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { ServedEndpoints, Endpoint } from '../registry/endpoints.ts';
import { decodeTyped } from '../http/codecs.ts';

export interface GroupAndResource {
  readonly group: string;
  readonly resource: string;
}

export interface AdmissionKinds {
  /** Other served resources that show the same objects and have this subresource, in the order of discovery. */
  equivalents(gvr: GroupVersionResource, subresource: string): readonly GroupVersionResource[];
  /** Groups and resources that show the same objects, itself first: events are in two groups. */
  cohabitants(of: GroupAndResource): readonly GroupAndResource[];
  /** The kind that requests for a resource or subresource carry; undefined when it is not served. */
  kindOf(gvr: GroupVersionResource, subresource: string): GroupVersionKind | undefined;
  /** The kind that a resource's objects are stored as; undefined when it is not served. */
  storedKindOf(
    of: GroupAndResource,
  ): { readonly gvk: GroupVersionKind; readonly namespaced: boolean } | undefined;
  /** Converts to another version of the kind. May return the object itself, which is not mutated. Rejects with StatusError when a conversion webhook fails. */
  convert(
    object: KubeObject,
    gvr: GroupVersionResource,
    to: GroupVersionKind,
  ): KubeObject | Promise<KubeObject>;
  /** A JSON value that someone else made, as an object of this kind: typed, unknown fields dropped. Throws StatusError 400. */
  decode(value: unknown, gvr: GroupVersionResource, gvk: GroupVersionKind): KubeObject;
  /** Applies defaults, in place. The object has the kind that hooks see: see AdmissionAttributes.object. */
  applyDefaults(object: KubeObject, gvr: GroupVersionResource): void;
  /** The resources whose objects are of a kind: rarely more than one. */
  resourcesOf(gvk: GroupVersionKind): readonly { readonly resource: string; readonly namespaced: boolean }[];
  /** True for a resource that a CustomResourceDefinition defines. */
  isCustom(gvr: GroupVersionResource): boolean;
  /** The resource whose objects are of this kind; undefined when none is served. */
  resourceOf(
    gvk: GroupVersionKind,
  ): { readonly gvr: GroupVersionResource; readonly namespaced: boolean } | undefined;
  /** Of the kind that a resource's requests carry; undefined when it is not served. */
  schemaOf(gvr: GroupVersionResource, gvk: GroupVersionKind): ObjectSchema | undefined;
}

export function createAdmissionKinds(servedEndpoints: ServedEndpoints): AdmissionKinds {
  /** By storage location; rebuilt when the served endpoints change. */
  let index:
    | { readonly revision: number; readonly byPrefix: ReadonlyMap<string, readonly Endpoint[]> }
    | undefined;

  const sameObjects = (of: Endpoint): readonly Endpoint[] => {
    if (index?.revision !== servedEndpoints.revision)
      index = {
        revision: servedEndpoints.revision,
        byPrefix: Map.groupBy(servedEndpoints.endpoints, ({ resource }) => resource.storagePrefix),
      };
    return of.resource.virtual ? [of] : (index.byPrefix.get(of.resource.storagePrefix) ?? [of]);
  };
  const find = ({ group, version, resource }: GroupVersionResource): Endpoint | undefined =>
    servedEndpoints.find(group, version, resource);
  const isOwnKind = (endpoint: Endpoint | undefined, { kind }: GroupVersionKind): endpoint is Endpoint =>
    endpoint !== undefined && endpoint.gvk.kind === kind;

  return {
    equivalents(gvr, subresource) {
      const endpoint = find(gvr);
      if (!endpoint) return [];
      return sameObjects(endpoint)
        .filter(
          (other) => other !== endpoint && (subresource === '' || other.served.subresources.has(subresource)),
        )
        .map((other) => other.gvr);
    },
    cohabitants({ group, resource }) {
      const own = { group, resource };
      const endpoint = servedEndpoints.byGroup(group, resource);
      if (!endpoint) return [own];
      return [
        own,
        ...sameObjects(endpoint)
          .map((other) => other.groupResource)
          .filter(
            (other, i, all) =>
              (other.group !== group || other.resource !== resource) &&
              all.findIndex((one) => one.group === other.group && one.resource === other.resource) === i,
          ),
      ];
    },
    kindOf(gvr, subresource) {
      const endpoint = find(gvr);
      if (!endpoint || subresource === '') return endpoint?.gvk;
      const part = endpoint.served.subresources.get(subresource);
      return part && { group: part.group, version: part.version, kind: part.kind };
    },
    storedKindOf({ group, resource }) {
      const endpoint = servedEndpoints.byGroup(group, resource);
      return endpoint?.cache && { gvk: endpoint.storageGvk, namespaced: endpoint.resource.namespaced };
    },
    convert(object, gvr, to) {
      const apiVersion = formatApiVersion(to);
      if (object.apiVersion === apiVersion) return object;
      const endpoint = servedEndpoints.find(to.group, to.version, gvr.resource);
      if (!isOwnKind(endpoint, to)) return { ...deepClone(object), apiVersion };
      return endpoint.fromVersion
        ? endpoint.fromVersion(object)
        : endpoint.resource.convert(object, apiVersion);
    },
    decode(value, gvr, gvk) {
      const endpoint = servedEndpoints.find(gvk.group, gvk.version, gvr.resource);
      const isOwn = isOwnKind(endpoint, gvk);
      const schema = isOwn ? endpoint.schema : schemaForKind(gvk);
      assert(schema !== undefined, `${formatApiVersion(gvk)} ${gvk.kind} has a schema`);
      return decodeTyped(
        { gvk, schema, ...(isOwn && endpoint.decode ? { decode: endpoint.decode } : {}) },
        value,
        { mode: 'ignore', warn: () => {} },
      );
    },
    applyDefaults(object, gvr) {
      const endpoint = find(gvr);
      const { group, version } = parseApiVersion(object.apiVersion ?? '');
      if (endpoint && isOwnKind(endpoint, { group, version, kind: object.kind ?? '' }))
        endpoint.resource.applyDefaults(object);
    },
    resourcesOf: ({ group, version, kind }) =>
      servedEndpoints.endpoints
        .filter(({ gvk }) => gvk.kind === kind && gvk.version === version && gvk.group === group)
        .map(({ gvr, resource }) => ({ resource: gvr.resource, namespaced: resource.namespaced })),
    isCustom: (gvr) => find(gvr)?.isBuiltin === false,
    resourceOf(gvk) {
      const endpoint = servedEndpoints.endpoints.find(
        (candidate) =>
          candidate.cache !== undefined &&
          isOwnKind(candidate, gvk) &&
          candidate.gvk.group === gvk.group &&
          candidate.gvk.version === gvk.version,
      );
      return endpoint && { gvr: endpoint.gvr, namespaced: endpoint.resource.namespaced };
    },
    schemaOf(gvr, gvk) {
      const endpoint = servedEndpoints.find(gvk.group, gvk.version, gvr.resource);
      return isOwnKind(endpoint, gvk) ? endpoint.schema : schemaForKind(gvk);
    },
  };
}
