/** A list as one object in the requested form. handlers/list.ts builds most lists from encoded items instead. */
import type { KubeObject, ListMeta } from '#machinery/object.ts';
import { findListKind, type Endpoint } from './endpoints.ts';
import { inVersion, partialMetadata, notOfThisShape, tableOf, type ViewOptions } from './transform.ts';

/** A whole list as the client sees it. */
export function listObject(
  endpoint: Endpoint,
  {
    objects,
    metadata,
    view,
  }: { readonly objects: readonly KubeObject[]; readonly metadata: ListMeta; readonly view: ViewOptions },
): KubeObject {
  const { accepted } = view;
  switch (accepted.view) {
    case 'table':
      return tableOf(endpoint, objects, { metadata, options: view });
    case 'metadata':
      throw notOfThisShape(endpoint, 'PartialObjectMetadata');
    case 'metadata-list':
      return {
        kind: 'PartialObjectMetadataList',
        apiVersion: `meta.k8s.io/${accepted.viewVersion}`,
        metadata: metadata as KubeObject['metadata'] & object,
        // An empty one is null, as clients of upstream's find it.
        items:
          objects.length === 0
            ? null
            : objects.map((object) => partialMetadata(object, accepted.viewVersion)),
      };
    default:
      return {
        kind: findListKind(endpoint),
        apiVersion: endpoint.apiVersion,
        metadata: shownMetadata(endpoint, metadata) as KubeObject['metadata'] & object,
        items: objects.map((object) =>
          endpoint.isBuiltin ? withoutType(inVersion(endpoint, object)) : inVersion(endpoint, object),
        ),
      };
  }
}

/** Lists of custom resources say that there is no more. */
export function shownMetadata({ isBuiltin }: Endpoint, metadata: ListMeta): ListMeta {
  return isBuiltin ? metadata : { continue: '', ...metadata };
}

/** Items of built-in lists have no kind and apiVersion. */
export function withoutType({ kind: _, apiVersion: __, ...rest }: KubeObject): KubeObject {
  return rest;
}
