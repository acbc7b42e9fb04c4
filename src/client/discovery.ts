/** Reads the API discovery: uncached for controllers that treat all resources alike, cached for those that look up single kinds. */
import { parseApiVersion } from '#machinery/object.ts';
import { statusErrors } from '#machinery/errors.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import type { Client, ResourceRef } from '#client/client.ts';

export interface ServedResource extends ResourceRef {
  readonly verbs: readonly string[];
}

interface Discovered {
  /** Each resource in its group's preferred version, without subresources. */
  readonly resources: readonly ServedResource[];
  /** Groups whose discovery failed (an aggregated server is unavailable): 'metrics.k8s.io/v1beta1'. Their resources are unknown. */
  readonly failed: readonly string[];
}

interface AggregatedResource {
  readonly resource: string;
  readonly responseKind?: { readonly kind: string };
  readonly scope: string;
  readonly verbs: readonly string[];
}
interface AggregatedVersion {
  readonly version: string;
  readonly resources?: readonly AggregatedResource[];
  readonly freshness?: string;
}
interface AggregatedGroup {
  readonly metadata?: { readonly name?: string };
  readonly versions?: readonly AggregatedVersion[];
}

const ACCEPT = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';

/** Two requests, both for aggregated discovery. */
export async function discoverResources(api: Client): Promise<Discovered> {
  const [core, groups] = await Promise.all([fetchGroups(api, '/api'), fetchGroups(api, '/apis')]);
  const resources = new Map<string, ServedResource>();
  const failed: string[] = [];
  for (const { metadata, versions = [] } of [...core, ...groups]) {
    const group = metadata?.name ?? '';
    for (const { version, resources: served = [], freshness } of versions) {
      if (freshness === 'Stale') failed.push(group === '' ? version : `${group}/${version}`);
      for (const { resource, responseKind, scope, verbs } of served) {
        const id = `${group}/${resource}`;
        // Versions are in order of preference: take the first that serves a resource.
        if (!resources.has(id))
          resources.set(id, {
            group,
            version,
            plural: resource,
            kind: responseKind?.kind ?? '',
            namespaced: scope === 'Namespaced',
            verbs,
          });
      }
    }
  }
  return { resources: [...resources.values()], failed };
}

async function fetchGroups(api: Client, path: string): Promise<readonly AggregatedGroup[]> {
  const response = await api.transport.request({ method: 'GET', path, headers: { accept: ACCEPT } });
  const body = await response.bytes();
  if (response.status !== 200)
    throw statusErrors.unavailable(
      `discovery of ${path} answered ${response.status}: ${body.toString('utf8').slice(0, 200)}`,
    );
  const list = JSON.parse(body.toString('utf8')) as {
    readonly kind?: string;
    readonly items?: readonly AggregatedGroup[];
  };
  if (list.kind !== 'APIGroupDiscoveryList')
    throw statusErrors.unavailable(
      `discovery of ${path} is not aggregated: the server answered ${list.kind}`,
    );
  return list.items ?? [];
}

/** The served resource of an owner reference. */
export function resourceOfKind(
  resources: readonly ServedResource[],
  { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string },
): ServedResource | undefined {
  const { group, version } = parseApiVersion(apiVersion);
  const found = resources.find((resource) => resource.group === group && resource.kind === kind);
  return found && { ...found, version };
}

/** As long as upstream's mappers keep theirs. */
const CACHE_MS = 30_000;
/** A kind that is not there is looked for again, since its definition may be new, but no more often than this. */
const MISS_MS = 1_000;

interface CachedDiscovery {
  readonly atMs: number;
  readonly found: Promise<Discovered>;
}

/** One for each client: all controllers of a manager share theirs. */
const caches = new WeakMap<Client, CachedDiscovery>();

/** The served resource of a kind, by a discovery that callers at the same time share. */
export async function findResourceOfKind(
  api: Client,
  kind: { readonly apiVersion: string; readonly kind: string },
  clock: Clock = realClock,
): Promise<ServedResource | undefined> {
  const { resources } = await cachedDiscovery(api, { clock, maximumAgeMs: CACHE_MS });
  return (
    resourceOfKind(resources, kind) ??
    resourceOfKind((await cachedDiscovery(api, { clock, maximumAgeMs: MISS_MS })).resources, kind)
  );
}

function cachedDiscovery(
  api: Client,
  { clock, maximumAgeMs }: { readonly clock: Clock; readonly maximumAgeMs: number },
): Promise<Discovered> {
  const known = caches.get(api);
  const nowMs = clock.monotonic();
  if (known && nowMs - known.atMs < maximumAgeMs) return known.found;
  const read: CachedDiscovery = { atMs: nowMs, found: discoverResources(api) };
  caches.set(api, read);
  // A failure is that of its callers only.
  read.found.catch(() => caches.get(api) === read && caches.delete(api));
  return read.found;
}
