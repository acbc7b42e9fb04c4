/** Reads the API discovery uncached: for controllers that treat all resources alike. */
import { parseApiVersion } from '#machinery/object.ts';
import { statusErrors } from '#machinery/errors.ts';
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
