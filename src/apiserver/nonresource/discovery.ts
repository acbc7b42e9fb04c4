/**
 * What clients learn the API from: the classic documents of /api and /apis, and the aggregated ones. Derived from the served endpoints; the aggregated
 * document of /apis has what peers on the same store serve too.
 */
import { createHash } from 'node:crypto';
import { formatApiVersion, type GroupVersion, type KubeObject } from '#machinery/object.ts';
import type { ExtensionVersion } from '../aggregation/aggregator.ts';
import type { Priority } from '../aggregation/priorities.ts';
import { compareVersions } from '../apiextensions/version-order.ts';
import { mergePeerGroups, type DiscoveredGroup, type PeerGroups } from './peer-groups.ts';
import type { ServedEndpoints, Endpoint } from '../registry/endpoints.ts';

export interface DiscoveryDocument {
  readonly bytes: Buffer;
  readonly object: KubeObject;
  readonly etag: string;
}

/** What other servers serve, and in which order all is listed. */
interface ExtensionDiscovery {
  /** Changes when any of it does. */
  readonly revision: number;
  versions(): readonly ExtensionVersion[];
  priorityOf(gv: GroupVersion): Priority;
}

/** What peers on the same store serve. */
interface PeerDiscovery {
  /** Changes when any of it does. */
  readonly revision: string;
  /** Of each peer. */
  groups(): readonly PeerGroups[];
}

interface Version {
  readonly version: string;
  readonly endpoints: readonly Endpoint[];
  readonly extension?: ExtensionVersion | undefined;
}
interface Group {
  readonly name: string;
  readonly versions: readonly Version[];
}

export class DiscoveryDocuments {
  readonly #servedEndpoints: ServedEndpoints;
  readonly #serverAddress: string;
  readonly #extensions: ExtensionDiscovery;
  readonly #peers: PeerDiscovery | undefined;
  #groups: readonly Group[] = [];
  #revision = '';
  readonly #made = new Map<string, DiscoveryDocument>();

  constructor(
    servedEndpoints: ServedEndpoints,
    {
      extensions,
      peers,
      serverAddress,
    }: {
      readonly extensions: ExtensionDiscovery;
      readonly peers?: PeerDiscovery | undefined;
      readonly serverAddress: string;
    },
  ) {
    this.#peers = peers;
    this.#servedEndpoints = servedEndpoints;
    this.#extensions = extensions;
    this.#serverAddress = serverAddress;
  }

  /** '/api', '/apis', '/apis/apps', '/apis/apps/v1'; undefined for a group or version that is not served. */
  classic(path: string): DiscoveryDocument | undefined {
    this.#refresh();
    return this.#make(path, () => this.#classic(path));
  }

  /** Whether any version of the group is served, by the registry or by an extension server. */
  hasGroup(group: string): boolean {
    this.#refresh();
    return this.#groups.some(
      ({ name, versions }) =>
        name === group &&
        versions.some(
          ({ endpoints, extension }) =>
            extension !== undefined || endpoints.some(({ isBuiltin }) => isBuiltin),
        ),
    );
  }

  /** Of '/api' or '/apis', as apidiscovery.k8s.io/v2; with what peers serve unless nopeer, which '/api' never has. */
  aggregated(path: '/api' | '/apis', { nopeer }: { readonly nopeer: boolean }): DiscoveryDocument {
    this.#refresh();
    const peers = nopeer || path === '/api' ? undefined : this.#peers;
    return this.#make(`${path} v2 ${peers ? 'with peers' : ''}`, () => {
      const own = this.#groups.filter(({ name }) => (name === '') === (path === '/api')).map(aggregatedGroup);
      return {
        kind: 'APIGroupDiscoveryList',
        apiVersion: 'apidiscovery.k8s.io/v2',
        metadata: {},
        items: peers ? mergePeerGroups(own, peers.groups()) : own,
      };
    })!;
  }

  /** Discards documents of an older state of the registry. */
  #refresh(): void {
    const revision = `${this.#servedEndpoints.revision} ${this.#extensions.revision} ${this.#peers?.revision}`;
    if (this.#revision === revision) return;
    this.#revision = revision;
    this.#groups = groupsOf(this.#servedEndpoints, this.#extensions);
    this.#made.clear();
  }

  get groupPaths(): string[] {
    this.#refresh();
    return this.#groups.flatMap(({ name, versions }) =>
      name === ''
        ? ['/api', ...versions.map(({ version }) => `/api/${version}`)]
        : [`/apis/${name}`, ...versions.map(({ version }) => `/apis/${name}/${version}`)],
    );
  }

  #make(key: string, build: () => KubeObject | undefined): DiscoveryDocument | undefined {
    let found = this.#made.get(key);
    if (!found) {
      const object = build();
      if (!object) return undefined;
      const bytes = Buffer.from(`${JSON.stringify(object)}\n`);
      found = { object, bytes, etag: `"${createHash('sha512').update(bytes).digest('hex').toUpperCase()}"` };
      this.#made.set(key, found);
    }
    return found;
  }

  #classic(path: string): KubeObject | undefined {
    const [, root, ...rest] = path.split('/');
    if (root === 'api') {
      const core = this.#groups.find(({ name }) => name === '');
      if (rest.length === 0) {
        return {
          kind: 'APIVersions',
          versions: core?.versions.map(({ version }) => version) ?? [],
          serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: this.#serverAddress }],
        };
      }
      return rest.length === 1
        ? resourceList(core?.versions.find(({ version }) => version === rest[0])?.endpoints)
        : undefined;
    }
    if (root !== 'apis') return undefined;
    if (rest.length === 0)
      return {
        kind: 'APIGroupList',
        apiVersion: 'v1',
        groups: this.#groups.filter(({ name }) => name !== '').map(groupFields),
      };
    const group = this.#groups.find(({ name }) => name === rest[0] && name !== '');
    if (!group) return undefined;
    if (rest.length === 1) return { kind: 'APIGroup', apiVersion: 'v1', ...groupFields(group) };
    return rest.length === 2
      ? resourceList(group.versions.find(({ version }) => version === rest[1])?.endpoints)
      : undefined;
  }
}

/** By priority, highest first; where that is the same, groups by name and versions as clients prefer them. */
function groupsOf(servedEndpoints: ServedEndpoints, extensions: ExtensionDiscovery): Group[] {
  const groups = new Map<string, Map<string, Version>>();
  const add = (group: string, version: Version): void => {
    const versions = groups.get(group) ?? new Map<string, Version>();
    groups.set(group, versions.set(version.version, version));
  };
  for (const [key, endpoints] of Map.groupBy(
    servedEndpoints.endpoints,
    ({ gvk }) => `${gvk.group}/${gvk.version}`,
  )) {
    const [group = '', version = ''] = key.split('/');
    add(group, { version, endpoints });
  }
  for (const extension of extensions.versions())
    add(extension.group, { version: extension.version, endpoints: [], extension });
  const all = Array.from(groups, ([name, versions]) => {
    const ranked = Array.from(versions.values(), (version) => ({
      version,
      priority: extensions.priorityOf({ group: name, version: version.version }),
    }));
    const priority = Math.max(...ranked.map((one) => one.priority.group));
    ranked.sort(
      (left, right) =>
        right.priority.version - left.priority.version ||
        compareVersions(left.version.version, right.version.version),
    );
    return { name, priority, versions: ranked.map(({ version }) => version) };
  });
  return all.toSorted((left, right) => right.priority - left.priority || (left.name < right.name ? -1 : 1));
}

function groupFields({ name, versions }: Group): Record<string, unknown> {
  const all = versions.map(({ version }) => ({
    groupVersion: formatApiVersion({ group: name, version }),
    version,
  }));
  return { name, versions: all, preferredVersion: all[0] };
}

function resourceList(endpoints: readonly Endpoint[] | undefined): KubeObject | undefined {
  if (!endpoints || endpoints.length === 0) return undefined;
  const resources = endpoints
    .flatMap(resourceEntries)
    .toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const { apiVersion, gvk } = endpoints[0]!;
  // The core group's list never had groupVersion in its resources.
  return {
    kind: 'APIResourceList',
    ...(gvk.group === '' ? {} : { apiVersion: 'v1' }),
    groupVersion: apiVersion,
    resources,
  };
}

interface ResourceEntry {
  readonly name: string;
  readonly [field: string]: unknown;
}

function resourceEntries({ resource, served }: Endpoint): ResourceEntry[] {
  const { plural, singular, namespaced, shortNames, categories } = resource;
  const main: ResourceEntry = {
    name: plural,
    singularName: singular,
    namespaced,
    kind: served.kind,
    verbs: served.verbs,
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
    ...(served.storageVersionHash ? { storageVersionHash: served.storageVersionHash } : {}),
  };
  const subs = Array.from(served.subresources.values(), (sub): ResourceEntry => ({
    name: `${plural}/${sub.name}`,
    singularName: '',
    namespaced,
    kind: sub.kind,
    verbs: sub.verbs,
    ...(sub.group !== resource.group || sub.version !== served.version
      ? { group: sub.group, version: sub.version }
      : {}),
  }));
  return [main, ...subs];
}

function aggregatedGroup({ name, versions }: Group): DiscoveredGroup {
  return {
    metadata: name === '' ? {} : { name },
    versions: versions.map(({ version, endpoints, extension }) => ({
      version,
      resources:
        extension?.resources ??
        endpoints
          .toSorted((left, right) => (left.gvr.resource < right.gvr.resource ? -1 : 1))
          .map(aggregatedResource),
      freshness: extension?.freshness ?? 'Current',
    })),
  };
}

function aggregatedResource({ resource, served, gvk }: Endpoint): Record<string, unknown> {
  const { plural, singular, namespaced, shortNames, categories } = resource;
  // As upstream: group and version are omitted where they equal the list's.
  const kindIn = (group: string, version: string, kind: string): Record<string, string> =>
    group === gvk.group && version === gvk.version
      ? { group: '', version: '', kind }
      : { group, version, kind };
  const subresources = Array.from(served.subresources.values(), (sub) => ({
    subresource: sub.name,
    responseKind: kindIn(sub.group, sub.version, sub.kind),
    verbs: sub.verbs,
  }));
  return {
    resource: plural,
    responseKind: kindIn(gvk.group, gvk.version, gvk.kind),
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    verbs: served.verbs,
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
    ...(subresources.length > 0 ? { subresources } : {}),
  };
}
