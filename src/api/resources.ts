/** What discovery says of every built-in resource of Kubernetes 1.36: names, scope, verbs, subresources. Behaviour is in src/resources. */
import { readFileSync } from 'node:fs';
import type { GroupVersionResource } from '#machinery/object.ts';

export interface SubresourceFacts {
  /** 'status', 'scale', … */
  readonly name: string;
  readonly kind: string;
  /** Group and version of the kind where they are not the resource's own: pods/eviction is policy/v1. */
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
}

export interface ResourceFacts {
  /** '' is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** Absent for what is not stored: reviews, bindings, component statuses. */
  readonly storageVersionHash?: string;
  /** DELETE answers with the object that was deleted; otherwise with a Status. */
  readonly returnsDeleted?: boolean;
  /** In discovery's order. */
  readonly subresources?: readonly SubresourceFacts[];
}

interface GroupFacts {
  readonly name: string;
  readonly preferredVersion: string;
  /** By priority, highest first. */
  readonly versions: readonly string[];
}

const table = JSON.parse(readFileSync(new URL('./generated/resources.json', import.meta.url), 'utf8')) as {
  groups: GroupFacts[];
  resources: ResourceFacts[];
};

/** The core group first, then the order in which discovery lists them. */
export const apiGroups: readonly GroupFacts[] = table.groups;

/** Every resource in every version, alpha and beta included, in the order of groups, versions and names. */
export const builtinResources: readonly ResourceFacts[] = table.resources;

const byResource = new Map(
  table.resources.map((facts) => [`${facts.group}/${facts.version}/${facts.plural}`, facts]),
);
export function resourceFacts({ group, version, resource }: GroupVersionResource): ResourceFacts | undefined {
  return byResource.get(`${group}/${version}/${resource}`);
}

export type Stability = 'stable' | 'beta' | 'alpha';

export function parseStability(version: string): Stability {
  if (version.includes('alpha')) return 'alpha';
  return version.includes('beta') ? 'beta' : 'stable';
}

/** Alpha and beta versions are served only where --runtime-config asks for them. */
export function enabledByDefault(version: string): boolean {
  return parseStability(version) === 'stable';
}
