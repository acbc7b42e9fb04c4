/** NodeResourcesFit: the node must have the requested resources available; scored by a strategy, LeastAllocated over CPU and memory by default. */
import { refusal, type Refusal, type SchedulerPlugin } from '../plugin.ts';
import type { ResourceClaims } from '../dra/resource-claims.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';
import { CPU_AND_MEMORY, strategyScore, usages, type ScoringStrategy } from '../resource-scores.ts';

interface NodeResourcesFitArgs {
  /** Extended resources that the filter ignores: by name, or by what stands before '/'. */
  readonly ignoredResources: ReadonlySet<string>;
  readonly ignoredResourceGroups: ReadonlySet<string>;
  readonly scoringStrategy: ScoringStrategy;
}

export const NODE_RESOURCES_FIT_DEFAULTS: NodeResourcesFitArgs = {
  ignoredResources: new Set(),
  ignoredResourceGroups: new Set(),
  scoringStrategy: { type: 'LeastAllocated', resources: CPU_AND_MEMORY },
};

export function nodeResourcesFit(args: NodeResourcesFitArgs = NODE_RESOURCES_FIT_DEFAULTS): SchedulerPlugin {
  const { scoringStrategy } = args;
  const { resources } = scoringStrategy;
  const isIgnoring = args.ignoredResources.size + args.ignoredResourceGroups.size > 0;
  return {
    name: 'NodeResourcesFit',
    weight: 1,
    queueingHints: ['pod-deleted', 'pod-updated', 'node-added', 'node-updated'],
    filter: ({ pod, snapshot }, node) =>
      insufficient(pod, node, {
        claims: snapshot.resourceClaims,
        isIgnored: isIgnoring ? (name) => isIgnored(args, name) : undefined,
      }),
    score: ({ pod }, node) =>
      strategyScore(scoringStrategy, usages(pod, node, { resources, isScoring: true })),
  };
}

function isIgnored({ ignoredResources, ignoredResourceGroups }: NodeResourcesFitArgs, name: string): boolean {
  const slash = name.indexOf('/');
  return slash >= 0 && (ignoredResources.has(name) || ignoredResourceGroups.has(name.slice(0, slash)));
}

interface FitOptions {
  readonly claims?: Pick<ResourceClaims, 'classOfExtendedResource'>;
  readonly isIgnored?: ((name: string) => boolean) | undefined;
}

/** Every insufficient resource, in upstream's order. Not resolvable when the request exceeds the node's allocatable. */
export function insufficient(
  { requests }: PodInfo,
  node: NodeInfo,
  { claims, isIgnored }: FitOptions = {},
): Refusal | undefined {
  const { requested, allocatable } = node;
  let reasons: string[] | undefined;
  let resolvable = true;
  if (node.pods.size + 1 > node.podLimit) reasons = ['Too many pods'];
  const need = (
    name: string,
    { wanted, used, total }: { readonly wanted: number; readonly used: number; readonly total: number },
  ): void => {
    if (wanted <= 0 || wanted <= total - used) return;
    (reasons ??= []).push(`Insufficient ${name}`);
    if (wanted > total) resolvable = false;
  };
  need('cpu', { wanted: requests.milliCPU, used: requested.milliCPU, total: allocatable.milliCPU });
  need('memory', {
    wanted: requests.memoryBytes,
    used: requested.memoryBytes,
    total: allocatable.memoryBytes,
  });
  need('ephemeral-storage', {
    wanted: requests.ephemeralStorageBytes,
    used: requested.ephemeralStorageBytes,
    total: allocatable.ephemeralStorageBytes,
  });
  for (const [name, wanted] of requests.scalars) {
    if (isIgnored?.(name)) continue;
    const total = allocatable.scalars.get(name) ?? 0;
    // DynamicResources allocates devices for it.
    if (total === 0 && claims?.classOfExtendedResource(name)) continue;
    need(name, { wanted, used: requested.scalars.get(name) ?? 0, total });
  }
  return reasons && refusal('NodeResourcesFit', reasons, { resolvable });
}
