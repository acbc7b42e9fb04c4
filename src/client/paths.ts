/** The URL of a resource, an object or a subresource. */
import type { ObjectName, ResourceRef } from './client.ts';

type QueryValue = string | number | boolean | undefined;

/** '/api/v1/namespaces/ns/pods/name/status'. Without a namespace: the resource across namespaces, or a cluster-scoped one. */
export function resourcePath(
  ref: ResourceRef,
  at: { readonly namespace?: string | undefined; readonly name?: string; readonly subresource?: string } = {},
): string {
  const root = ref.group === '' ? `/api/${ref.version}` : `/apis/${ref.group}/${ref.version}`;
  const scope = ref.namespaced && at.namespace ? `/namespaces/${encodeURIComponent(at.namespace)}` : '';
  const name = at.name === undefined ? '' : `/${encodeURIComponent(at.name)}`;
  const subresource = at.subresource ? `/${at.subresource}` : '';
  return `${root}${scope}/${ref.plural}${name}${subresource}`;
}

/** An object must have a name, and a namespace exactly when its resource is namespaced. */
export function objectPath(
  ref: ResourceRef,
  { name, subresource }: { readonly name: ObjectName; readonly subresource?: string | undefined },
): string {
  if (!name.name) throw new TypeError(`${ref.plural}: the object's name may not be empty`);
  if (ref.namespaced && !name.namespace)
    throw new TypeError(`${ref.plural} "${name.name}": an object of a namespaced resource needs a namespace`);
  return resourcePath(ref, {
    name: name.name,
    namespace: name.namespace,
    ...(subresource ? { subresource } : {}),
  });
}

/** '?a=1&b=2', '' without parameters. */
export function queryString(values: Readonly<Record<string, QueryValue>>): string {
  let query = '';
  for (const name in values) {
    const value = values[name];
    if (value === undefined || value === '') continue;
    query += `${query === '' ? '?' : '&'}${name}=${encodeURIComponent(value)}`;
  }
  return query;
}
