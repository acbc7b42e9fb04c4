/**
 * DynamicResources: every resource claim of the pod must exist, be available to it, and be allocated or allocatable on the node; extended resources that
 * a DeviceClass serves count as a claim of their own. Messages are upstream's. Allocations found by the filter are written by
 * dra/claim-binder.ts before the pod is bound.
 */
import type { AllocationResult, DeviceClass, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import { matchesNodeSelectorTerms } from '#component-helpers/node-affinity.ts';
import { AllocationError, AllocationTimeout, NodeAllocationError } from '../dra/allocation-error.ts';
import { searchDevices } from '../dra/allocator.ts';
import { BINDING_TIMEOUT_MS, bindingState, isBindingOverdue } from '../dra/binding-conditions.ts';
import {
  extendedResourceClaim,
  extendedResources,
  type ExtendedResources,
} from '../dra/extended-resources.ts';
import { exactRequests, isForEveryNode, requestsOfClaim, type ClaimRequests } from '../dra/requests.ts';
import {
  claimsOfPod,
  isReservedFor,
  mayBeReserved,
  usesClaim,
  type ResourceClaims,
} from '../dra/resource-claims.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';
import { normalizeByMax, refusal, type Cycle, type Refusal, type SchedulerPlugin } from '../plugin.ts';

const NAME = 'DynamicResources';
const UNALLOCATED = refused('cannot allocate all claims');
const ELSEWHERE = refused('resourceclaim not available on the node');
const STALE = refused('cannot schedule extended resource claim');
/** Upstream's FirstAvailableDeviceRequestMaxSize. */
const MAX_ALTERNATIVES = 8;

/** Upstream's DynamicResourcesArgs. */
interface DynamicResourcesArgs {
  /** Of all searches for one pod. Upstream's default is 10 s per node; cycles are synchronous here, so it is shorter and for all nodes. */
  readonly filterTimeoutMs: number;
  readonly bindingTimeoutMs: number;
}

const DYNAMIC_RESOURCES_DEFAULTS: DynamicResourcesArgs = {
  filterTimeoutMs: 2_000,
  bindingTimeoutMs: BINDING_TIMEOUT_MS,
};

/** What has to be written for one node. */
interface NodeAllocation {
  /** One per unallocated claim; the last is that of the extended resources, if there are any. */
  readonly results: () => readonly AllocationResult[];
  readonly extended: ExtendedResources | undefined;
}

interface ClaimsState {
  readonly args: DynamicResourcesArgs;
  readonly claims: readonly ResourceClaim[];
  readonly unallocated: readonly ResourceClaim[];
  /** Extended resources with a class. */
  readonly extended: ReadonlyMap<string, DeviceClass>;
  /** Made for the extended resources by an attempt that failed. */
  readonly stale: ResourceClaim | undefined;
  readonly allocations: Map<string, NodeAllocation>;
  /** Allocated claims that some node does not reach, or whose devices do not come. */
  readonly unavailable: Set<ResourceClaim>;
  /** When the search for this pod began. */
  startedMs: number | undefined;
  /** Of the unallocated claims, when all nodes are asked the same. */
  requests: readonly ClaimRequests[] | undefined;
}

export function claimsState({ state }: Cycle): ClaimsState | undefined {
  return state.get(NAME) as ClaimsState | undefined;
}

export function dynamicResources(args: DynamicResourcesArgs = DYNAMIC_RESOURCES_DEFAULTS): SchedulerPlugin {
  return {
    name: NAME,
    weight: 2,
    queueingHints: [
      'resource-claim-added',
      'resource-claim-updated',
      'device-class-added',
      'device-class-updated',
      'resource-slice-added',
      'resource-slice-updated',
      'node-added',
      'node-updated',
    ],
    isHelpedBy: (pod, { kind, object, before }) =>
      !kind.startsWith('resource-claim-') ||
      !object ||
      isHelpedByClaim(pod, { claim: object as ResourceClaim, before: before as ResourceClaim | undefined }),
    preFilter: (cycle) => prepare(cycle, args),
    filter: refuseOn,
    postFilter: (cycle) => (claimsState(cycle) ? 'still not schedulable' : 'no new claims to deallocate'),
    preScore: (cycle) => (claimsState(cycle)?.unallocated.some(hasAlternatives) ? undefined : 'skip'),
    score: scoreOf,
    normalize: (_cycle, scores) => normalizeByMax(scores),
  };
}

function refused(reason: string): Refusal {
  return refusal(NAME, reason, { resolvable: false });
}

/** A claim that gave up its devices may help any pod; other changes help its own pods. */
function isHelpedByClaim(
  pod: PodInfo['pod'],
  { claim, before }: { readonly claim: ResourceClaim; readonly before: ResourceClaim | undefined },
): boolean {
  if (before?.status?.allocation && !claim.status?.allocation) return true;
  if (!usesClaim(pod, claim)) return false;
  return !before || JSON.stringify(before.status ?? {}) !== JSON.stringify(claim.status ?? {});
}

function prepare({ pod, snapshot, state }: Cycle, args: DynamicResourcesArgs): Refusal | 'skip' | undefined {
  const { resourceClaims } = snapshot;
  const extended = backedResources(pod, resourceClaims);
  if (!pod.pod.spec?.resourceClaims?.length && extended.size === 0) return 'skip';
  const claims = claimsOfPod(pod.pod, resourceClaims);
  if ('problem' in claims) return refused(claims.problem);
  if (claims.found.length === 0 && extended.size === 0) return 'skip';
  for (const claim of claims.found) {
    const problem = claimProblem(pod, { claim, resourceClaims });
    if (problem !== undefined) return refused(problem);
  }
  state.set(NAME, {
    args,
    claims: claims.found,
    unallocated: claims.found.filter(({ status }) => !status?.allocation),
    extended,
    stale: extended.size === 0 ? undefined : resourceClaims.extendedResourceClaim(pod.uid),
    allocations: new Map(),
    unavailable: new Set(),
    startedMs: undefined,
    requests: undefined,
  } satisfies ClaimsState);
  return undefined;
}

function backedResources({ requests }: PodInfo, claims: ResourceClaims): ReadonlyMap<string, DeviceClass> {
  const backed = new Map<string, DeviceClass>();
  for (const [name, amount] of requests.scalars) {
    const deviceClass = amount > 0 ? claims.classOfExtendedResource(name) : undefined;
    if (deviceClass) backed.set(name, deviceClass);
  }
  return backed;
}

function claimProblem(
  { pod }: PodInfo,
  { claim, resourceClaims }: { readonly claim: ResourceClaim; readonly resourceClaims: ResourceClaims },
): string | undefined {
  const { name, namespace, uid = '' } = claim.metadata ?? {};
  if (claim.status?.allocation)
    return mayBeReserved(claim) || isReservedFor(pod, claim) ? undefined : 'resourceclaim in use';
  if (resourceClaims.isBeingAllocated(uid))
    return `resource claim ${namespace}/${name} is in the process of being allocated`;
  for (const { name: request, exact } of (claim.spec.devices?.requests ?? []).flatMap(exactRequests))
    if (!resourceClaims.deviceClass(exact.deviceClassName))
      return `request ${request.full}: device class ${exact.deviceClassName} does not exist`;
  return undefined;
}

function refuseOn(cycle: Cycle, node: NodeInfo): Refusal | undefined {
  const state = claimsState(cycle)!;
  if (state.stale) return STALE;
  for (const claim of state.claims) if (!isAvailable(claim, cycle, node)) state.unavailable.add(claim);
  const needed = neededFromClass(state, node);
  const claims =
    needed.size === 0
      ? state.unallocated
      : [
          ...state.unallocated,
          extendedResourceClaim(cycle.pod.pod, extendedResources(cycle.pod.pod, needed)),
        ];
  if (claims.length > 0) {
    const found = allocate(cycle, { node, claims });
    if ('reasons' in found) return found;
    const extended = needed.size === 0 ? undefined : extendedResources(cycle.pod.pod, needed);
    state.allocations.set(node.name, { results: found.results, extended });
  }
  return state.claims.some((claim) => !isAvailable(claim, cycle, node)) ? ELSEWHERE : undefined;
}

/** Those that the node does not provide by a device plugin. */
function neededFromClass({ extended }: ClaimsState, node: NodeInfo): ReadonlyMap<string, DeviceClass> {
  if (extended.size === 0) return extended;
  return new Map([...extended].filter(([name]) => !node.allocatable.scalars.get(name)));
}

function isAvailable(claim: ResourceClaim, cycle: Cycle, node: NodeInfo): boolean {
  const allocation = claim.status?.allocation;
  if (!allocation) return true;
  if (allocation.nodeSelector && !matchesNodeSelectorTerms(allocation.nodeSelector.nodeSelectorTerms, node))
    return false;
  const binding = bindingState(claim);
  if (binding.kind === 'ready') return true;
  const nowMs = cycle.snapshot.resourceClaims.nowMs();
  const timeoutMs = claimsState(cycle)!.args.bindingTimeoutMs;
  return binding.kind === 'waiting' && !isBindingOverdue(claim, { nowMs, timeoutMs });
}

function allocate(
  cycle: Cycle,
  { node, claims }: { readonly node: NodeInfo; readonly claims: readonly ResourceClaim[] },
): Refusal | { readonly results: () => readonly AllocationResult[] } {
  const state = claimsState(cycle)!;
  const { resourceClaims } = cycle.snapshot;
  state.startedMs ??= performance.now();
  const endMs = state.startedMs + state.args.filterTimeoutMs;
  const deviceClass = (name: string): DeviceClass | undefined => resourceClaims.deviceClass(name);
  try {
    if (needsResolving(claims, state))
      state.requests = claims.map((claim) => requestsOfClaim(claim, { pools: [], deviceClass }));
    const results = searchDevices({
      claims,
      requests: claims === state.unallocated ? state.requests : undefined,
      nodeName: node.name,
      pools: resourceClaims.pools(node),
      taken: resourceClaims.taken,
      deviceClass,
      expired: () => performance.now() > endMs,
    });
    return results ? { results } : UNALLOCATED;
  } catch (error) {
    if (error instanceof AllocationTimeout || error instanceof NodeAllocationError)
      return refused(error.message);
    if (error instanceof AllocationError)
      throw new AllocationError(`running "${NAME}" filter plugin: ${error.message}`, { cause: error });
    throw error;
  }
}

function needsResolving(claims: readonly ResourceClaim[], { requests, unallocated }: ClaimsState): boolean {
  return requests === undefined && claims === unallocated && claims.every(isForEveryNode);
}

function hasAlternatives({ spec }: ResourceClaim): boolean {
  return (spec.devices?.requests ?? []).some(({ firstAvailable }) => (firstAvailable ?? []).length > 0);
}

/** Nodes where preferred alternatives were found score higher. */
function scoreOf(cycle: Cycle, node: NodeInfo): number {
  const { unallocated, allocations } = claimsState(cycle)!;
  const results = allocations.get(node.name)?.results() ?? [];
  let score = 0;
  for (const [index, { spec }] of unallocated.entries()) {
    const chosen = new Set(results[index]?.devices?.results?.map(({ request }) => request));
    for (const { name, firstAvailable = [] } of spec.devices?.requests ?? [])
      for (const [rank, sub] of firstAvailable.entries())
        if (chosen.has(`${name}/${sub.name}`)) score += MAX_ALTERNATIVES - rank;
  }
  return score;
}
