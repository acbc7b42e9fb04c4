/** The loopback client: InternalApi over the watch cache and the registry's store. */
import { deepClone } from '#machinery/json.ts';
import type { KubeObject, Stored, UserInfo } from '#machinery/object.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { CacheEvent } from '../watchcache/events.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';
import type { ServedEndpoints } from './endpoints.ts';
import type { GroupResource, InternalApi, InternalName, InternalWatchHandler } from './loopback-client.ts';
import type { RegistryStore } from './store.ts';
import { WriteRequest, type StoredEndpoint, type Target } from './write-request.ts';

const SERVER: UserInfo = { name: 'system:apiserver', groups: ['system:masters', 'system:authenticated'] };

const UNCHANGED = Symbol('unchanged');

export function createInternalApi({
  servedEndpoints,
  cache: watchCache,
  registry,
  features,
}: {
  readonly servedEndpoints: ServedEndpoints;
  readonly cache: Pick<WatchCache, 'caughtUp'>;
  readonly registry: () => RegistryStore;
  readonly features?: ReadonlySet<string> | undefined;
}): InternalApi {
  const computeEndpoint = ({ group, resource }: GroupResource): StoredEndpoint =>
    servedEndpoints.required(group, resource);
  const request = (endpoint: StoredEndpoint, target: Target, subresource = ''): WriteRequest =>
    new WriteRequest({
      endpoint,
      target,
      subresource,
      user: SERVER,
      internal,
      admitted: false,
      manager: 'kube-apiserver',
    });
  const targetOf = (object: KubeObject): Target => ({
    namespace: object.metadata?.namespace ?? '',
    name: object.metadata?.name ?? '',
  });
  const keyOf = (endpoint: StoredEndpoint, { name, namespace = '' }: InternalName): string =>
    endpoint.cache.key({ name, namespace: endpoint.resource.namespaced ? namespace : '' });

  const internal: InternalApi = {
    features,
    caughtUp: () => watchCache.caughtUp(),
    get(resource, name) {
      const endpoint = computeEndpoint(resource);
      const entry = endpoint.cache.entries.get(keyOf(endpoint, name));
      return entry && endpoint.cache.parsed.of(entry);
    },
    list(resource, { namespace = '' } = {}) {
      const { cache } = computeEndpoint(resource);
      if (cache.entries.size === 0) return [];
      return cache.entries
        .list(namespace === '' ? '' : cache.key({ namespace, name: '' }))
        .map((entry) => cache.parsed.of(entry));
    },
    count(resource, { namespace = '' } = {}) {
      const { cache } = computeEndpoint(resource);
      if (cache.entries.size === 0) return 0;
      return cache.entries.count(namespace === '' ? '' : cache.key({ namespace, name: '' }));
    },
    watch: (resource, handler) => follow(computeEndpoint(resource), handler),
    async create(resource, object) {
      const endpoint = computeEndpoint(resource);
      const copy = deepClone(object);
      const written = await registry().create(endpoint, copy, { request: request(endpoint, targetOf(copy)) });
      return written.object as Stored;
    },
    async update(resource, object, { subresource } = {}) {
      const endpoint = computeEndpoint(resource);
      const change = { change: () => deepClone(object) };
      const written = await registry().update(
        endpoint,
        change,
        request(endpoint, targetOf(object), subresource),
      );
      return written.object as Stored;
    },
    async modify(resource, name, change, { subresource, unvalidated = false } = {}) {
      const endpoint = computeEndpoint(resource);
      let unchanged: Stored | undefined;
      const changed = (current: Stored | undefined): KubeObject => {
        const next = deepClone(current!);
        if (change(next) === false) {
          unchanged = current;
          throw UNCHANGED;
        }
        // Tried again on the newest version instead.
        const { resourceVersion: _, ...metadata } = next.metadata;
        return { ...next, metadata };
      };
      try {
        const written = await registry().update(
          endpoint,
          { change: changed, validate: unvalidated ? false : undefined },
          request(endpoint, targetIn(endpoint, name), subresource),
        );
        return written.object as Stored;
      } catch (error) {
        if (error === UNCHANGED) return unchanged!;
        throw error;
      }
    },
    async delete(resource, name, preconditions) {
      const endpoint = computeEndpoint(resource);
      await registry().delete(endpoint, { preconditions }, request(endpoint, targetIn(endpoint, name)));
    },
  };
  return internal;
}

function targetIn({ resource }: StoredEndpoint, { name, namespace = '' }: InternalName): Target {
  return { name, namespace: resource.namespaced ? namespace : '' };
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
