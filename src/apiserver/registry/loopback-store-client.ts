/** InternalApi over the watch cache and the object writer. */
import { deepClone } from '#machinery/json.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { CacheEvent } from '../watchcache/events.ts';
import type { Catalogue } from './endpoints.ts';
import type { GroupResource, InternalApi, InternalName, InternalWatchHandler } from './loopback-client.ts';
import type { Objects, StoredEndpoint, WriteContext } from './store.ts';

const SERVER: UserInfo = { name: 'system:apiserver', groups: ['system:masters', 'system:authenticated'] };

const UNCHANGED = Symbol('unchanged');

export function createInternalApi({
  catalogue,
  objects,
}: {
  readonly catalogue: Catalogue;
  readonly objects: () => Objects;
}): InternalApi {
  const endpointOf = ({ group, resource }: GroupResource): StoredEndpoint =>
    catalogue.required(group, resource);
  const context = (subresource = ''): WriteContext => ({
    user: SERVER,
    dryRun: false,
    admission: false,
    subresource,
    manager: 'kube-apiserver',
    options: {},
    warn: () => {},
  });
  const targetOf = (object: KubeObject): { readonly namespace: string; readonly name: string } => ({
    namespace: object.metadata?.namespace ?? '',
    name: object.metadata?.name ?? '',
  });
  const keyOf = (endpoint: StoredEndpoint, { name, namespace = '' }: InternalName): string =>
    endpoint.cache.key({ name, namespace: endpoint.resource.namespaced ? namespace : '' });

  return {
    get(resource, name) {
      const endpoint = endpointOf(resource);
      const entry = endpoint.cache.entries.get(keyOf(endpoint, name));
      return entry && endpoint.cache.parsed.of(entry);
    },
    list(resource, { namespace = '' } = {}) {
      const { cache } = endpointOf(resource);
      if (cache.entries.size === 0) return [];
      return cache.entries
        .list(namespace === '' ? '' : cache.key({ namespace, name: '' }))
        .map((entry) => cache.parsed.of(entry));
    },
    count(resource, { namespace = '' } = {}) {
      const { cache } = endpointOf(resource);
      if (cache.entries.size === 0) return 0;
      return cache.entries.count(namespace === '' ? '' : cache.key({ namespace, name: '' }));
    },
    watch: (resource, handler) => follow(endpointOf(resource), handler),
    async create(resource, object) {
      const copy = deepClone(object);
      return (
        await objects().create(endpointOf(resource), copy, { target: targetOf(copy), context: context() })
      ).object;
    },
    async update(resource, object, { subresource } = {}) {
      return (
        await objects().update(
          endpointOf(resource),
          { change: () => deepClone(object) },
          { target: targetOf(object), context: context(subresource) },
        )
      ).object;
    },
    async modify(resource, name, change, { subresource, unvalidated = false } = {}) {
      const endpoint = endpointOf(resource);
      const target = {
        name: name.name,
        namespace: endpoint.resource.namespaced ? (name.namespace ?? '') : '',
      };
      let unchanged: KubeObject | undefined;
      try {
        const written = await objects().update(
          endpoint,
          {
            ...(unvalidated ? { validate: false } : {}),
            change: (current) => {
              const next = deepClone(current!);
              if (change(next) === false) {
                unchanged = current;
                throw UNCHANGED;
              }
              // Tried again on the newest version instead.
              delete next.metadata?.resourceVersion;
              return next;
            },
          },
          { target, context: context(subresource) },
        );
        return written.object;
      } catch (error) {
        if (error === UNCHANGED) return unchanged!;
        throw error;
      }
    },
    async delete(resource, name) {
      const endpoint = endpointOf(resource);
      await objects().delete(
        endpoint,
        {},
        {
          target: { name: name.name, namespace: endpoint.resource.namespaced ? (name.namespace ?? '') : '' },
          context: context(),
        },
      );
    },
  };
}

/** Follows a resource across refills of the cache: what changed meanwhile is worked out by comparing. */
function follow({ cache }: StoredEndpoint, handler: InternalWatchHandler): () => void {
  const known = new Map<string, CacheEntry>();
  let unsubscribe = (): void => {};
  let stopped = false;
  const take = (entry: CacheEntry): void => {
    const previous = known.get(entry.key);
    known.set(entry.key, entry);
    if (previous === undefined) handler.added(cache.parsed.of(entry));
    else if (previous.revision !== entry.revision)
      handler.updated(cache.parsed.of(entry), cache.parsed.of(previous));
  };
  const drop = (key: string): void => {
    const previous = known.get(key);
    if (!previous) return;
    known.delete(key);
    handler.deleted(cache.parsed.of(previous));
  };
  const subscribe = (): void => {
    unsubscribe = cache.subscribe({
      keyPrefix: cache.prefix,
      deliver: ({ current, key }: CacheEvent) => (current ? take(current) : drop(key)),
      reset: () => {
        if (!stopped) subscribe();
      },
    });
    const present = new Set<string>();
    for (const entry of cache.entries.list('')) {
      present.add(entry.key);
      take(entry);
    }
    for (const key of Array.from(known.keys())) if (!present.has(key)) drop(key);
  };
  subscribe();
  return () => {
    stopped = true;
    unsubscribe();
  };
}
