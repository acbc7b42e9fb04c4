/** Special case of namespaces in admission: cluster-scoped, yet the attributes of a Namespace have its own name as namespace. */
import { namespaces } from '#api/refs.ts';
import type { GroupVersionResource } from '#machinery/object.ts';

export const NAMESPACES = { group: namespaces.group, resource: namespaces.plural };

export function isNamespace({ group, resource }: Pick<GroupVersionResource, 'group' | 'resource'>): boolean {
  return group === NAMESPACES.group && resource === NAMESPACES.resource;
}
