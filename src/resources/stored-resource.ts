/** Parses a key of the store, in the layout of upstream's registries: '/registry/pods/NAMESPACE/NAME', '/registry/GROUP/PLURAL/…' for custom resources. */
import { RESOURCES } from './registry.ts';
import type { Resource } from './resource.ts';

const ROOT = '/registry/';

/** By storage prefix. Events of both groups share the core group's prefix. */
const BUILTIN: ReadonlyMap<string, Resource> = new Map(
  RESOURCES.filter(({ virtual }) => !virtual)
    .toSorted((a, b) => a.group.localeCompare(b.group))
    .toReversed()
    .map((resource) => [resource.storagePrefix, resource]),
);

interface StoredResource {
  /** The prefix of all keys of the resource. */
  readonly prefix: string;
  /** Undefined for a key outside of the layout. */
  readonly resource: { readonly group: string; readonly resource: string } | undefined;
  /** Undefined for custom resources and unknown prefixes. */
  readonly builtin: Resource | undefined;
}

export function storedResource(key: string): StoredResource {
  const nothing = { resource: undefined, builtin: undefined };
  const first = key.indexOf('/', ROOT.length);
  if (first < 0 || !key.startsWith(ROOT)) return { prefix: key, ...nothing };
  const short = key.slice(0, first + 1);
  const found = BUILTIN.get(short);
  if (found) return { prefix: short, ...named(found) };
  const second = key.indexOf('/', first + 1);
  if (second < 0) return { prefix: short, ...nothing };
  const long = key.slice(0, second + 1);
  const inGroup = BUILTIN.get(long);
  if (inGroup) return { prefix: long, ...named(inGroup) };
  const resource = { group: key.slice(ROOT.length, first), resource: key.slice(first + 1, second) };
  return { prefix: long, resource, builtin: undefined };
}

function named(builtin: Resource): Pick<StoredResource, 'resource' | 'builtin'> {
  return { resource: { group: builtin.group, resource: builtin.plural }, builtin };
}
