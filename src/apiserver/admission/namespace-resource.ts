/** Namespaces among what is admitted: cluster-scoped, yet a Namespace's attributes name itself as their namespace. */
import { namespaces } from '#api/refs.ts';
import type { GroupVersionResource } from '#machinery/object.ts';

export const NAMESPACES = { group: namespaces.group, resource: namespaces.plural };

export function isNamespace({ group, resource }: Pick<GroupVersionResource, 'group' | 'resource'>): boolean {
  return group === NAMESPACES.group && resource === NAMESPACES.resource;
}
