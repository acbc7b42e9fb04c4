/** What clients learn the API from: the classic documents of /api and /apis, and the aggregated ones. Derived from the catalogue. */
import { createHash } from 'node:crypto';
import { apiGroups } from '#api/resources.ts';
import { apiVersionOf, type KubeObject } from '#machinery/object.ts';
import { compareVersions } from '../apiextensions/version-order.ts';
import type { Catalogue, Endpoint } from '../catalogue.ts';

export interface DiscoveryDocument { readonly bytes: Buffer; readonly object: KubeObject; readonly etag: string }

interface Group { readonly name: string; readonly versions: readonly { readonly version: string; readonly endpoints: readonly Endpoint[] }[] }

export class DiscoveryDocuments {
  readonly #catalogue: Catalogue;
  readonly #serverAddress: string;
  #groups: readonly Group[];
  #revision: number;
  readonly #made = new Map<string, DiscoveryDocument>();

  constructor(catalogue: Catalogue, serverAddress: string) {
    this.#catalogue = catalogue;
    this.#groups = groupsOf(catalogue);
    this.#revision = catalogue.revision;
    this.#serverAddress = serverAddress;
  }

  /** '/api', '/apis', '/apis/apps', '/apis/apps/v1'; undefined for what is not served. */
  classic(path: string): DiscoveryDocument | undefined {
    this.#refresh();
    return this.#make(path, () => this.#classic(path));
  }

  /** Of '/api' or '/apis', as apidiscovery.k8s.io of this version. */
  aggregated(path: '/api' | '/apis', version: string): DiscoveryDocument {
    this.#refresh();
    return this.#make(`${path} ${version}`, () => ({
      kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {},
      items: this.#groups.filter(({ name }) => (name === '') === (path === '/api')).map(aggregatedGroup),
    }))!;
  }

  /** Documents are of what is served now. */
  #refresh(): void {
    if (this.#revision === this.#catalogue.revision) return;
    this.#revision = this.#catalogue.revision;
    this.#groups = groupsOf(this.#catalogue);
    this.#made.clear();
  }

  get groupPaths(): string[] {
    this.#refresh();
    return this.#groups.flatMap(({ name, versions }) => name === ''
      ? ['/api', ...versions.map(({ version }) => `/api/${version}`)]
      : [`/apis/${name}`, ...versions.map(({ version }) => `/apis/${name}/${version}`)]);
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
        return { kind: 'APIVersions', versions: core?.versions.map(({ version }) => version) ?? [], serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: this.#serverAddress }] };
      }
      return rest.length === 1 ? resourceList(core?.versions.find(({ version }) => version === rest[0])?.endpoints) : undefined;
    }
    if (root !== 'apis') return undefined;
    if (rest.length === 0) return { kind: 'APIGroupList', apiVersion: 'v1', groups: this.#groups.filter(({ name }) => name !== '').map(groupFields) };
    const group = this.#groups.find(({ name }) => name === rest[0] && name !== '');
    if (!group) return undefined;
    if (rest.length === 1) return { kind: 'APIGroup', apiVersion: 'v1', ...groupFields(group) };
    return rest.length === 2 ? resourceList(group.versions.find(({ version }) => version === rest[1])?.endpoints) : undefined;
  }
}

function groupsOf(catalogue: Catalogue): Group[] {
  const groups: Group[] = [];
  for (const { name, versions: known } of [...apiGroups, ...customGroups(catalogue)]) {
    const custom = catalogue.endpoints.filter(({ gvk, isBuiltin }) => !isBuiltin && gvk.group === name).map(({ gvk }) => gvk.version);
    const versions = [...known, ...[...new Set(custom)].filter((version) => !known.includes(version)).sort(compareVersions)];
    const served = versions.map((version) => ({ version, endpoints: catalogue.endpoints.filter(({ gvk }) => gvk.group === name && gvk.version === version) }))
      .filter(({ endpoints }) => endpoints.length > 0);
    if (served.length > 0) groups.push({ name, versions: served });
  }
  return groups;
}

/** In order of their names, after all others. */
function customGroups(catalogue: Catalogue): { readonly name: string; readonly versions: readonly string[] }[] {
  const builtin = new Set(apiGroups.map(({ name }) => name));
  const names = new Set(catalogue.endpoints.map(({ gvk }) => gvk.group).filter((group) => !builtin.has(group)));
  return [...names].sort().map((name) => ({ name, versions: [] }));
}

function groupFields({ name, versions }: Group): Record<string, unknown> {
  const all = versions.map(({ version }) => ({ groupVersion: apiVersionOf({ group: name, version }), version }));
  return { name, versions: all, preferredVersion: all[0] };
}

function resourceList(endpoints: readonly Endpoint[] | undefined): KubeObject | undefined {
  if (!endpoints) return undefined;
  const resources = endpoints.flatMap(resourceEntries).toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: endpoints[0]!.apiVersion, resources };
}

interface ResourceEntry { readonly name: string; readonly [field: string]: unknown }

function resourceEntries({ resource, served }: Endpoint): ResourceEntry[] {
  const { plural, singular, namespaced, shortNames, categories } = resource;
  const main: ResourceEntry = {
    name: plural, singularName: singular, namespaced, kind: served.kind, verbs: served.verbs, ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}), ...(served.storageVersionHash ? { storageVersionHash: served.storageVersionHash } : {}),
  };
  const subs = Array.from(served.subresources.values(), (sub): ResourceEntry => ({
    name: `${plural}/${sub.name}`, singularName: '', namespaced, kind: sub.kind, verbs: sub.verbs,
    ...(sub.group !== resource.group || sub.version !== served.version ? { group: sub.group, version: sub.version } : {}),
  }));
  return [main, ...subs];
}

function aggregatedGroup({ name, versions }: Group): KubeObject {
  return {
    metadata: { name, creationTimestamp: null },
    versions: versions.map(({ version, endpoints }) => ({ version, resources: endpoints.map(aggregatedResource), freshness: 'Current' })),
  };
}

function aggregatedResource({ resource, served, gvk }: Endpoint): Record<string, unknown> {
  const { plural, singular, namespaced, shortNames, categories } = resource;
  const subresources = Array.from(served.subresources.values(), (sub) => ({ subresource: sub.name, responseKind: { group: sub.group, version: sub.version, kind: sub.kind }, verbs: sub.verbs }));
  return {
    resource: plural, responseKind: { group: gvk.group, version: gvk.version, kind: gvk.kind }, scope: namespaced ? 'Namespaced' : 'Cluster', singularResource: singular, verbs: served.verbs,
    ...(shortNames.length > 0 ? { shortNames } : {}), ...(categories.length > 0 ? { categories } : {}), ...(subresources.length > 0 ? { subresources } : {}),
  };
}
