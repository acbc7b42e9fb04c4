/** NodeResourcesFit: the node must have the requested resources available; scored by a strategy, LeastAllocated over CPU and memory by default. */
import { refusal, type FilterSimulation, type Refusal, type SchedulerPlugin } from '../plugin.ts';
import type { ResourceClaims } from '../dra/resource-claims.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';
import { amountsSignature, emptyAmounts, type Amounts } from '../resources.ts';
import { CPU_AND_MEMORY, strategyScore, usages, type ScoringStrategy } from '../resource-scores.ts';
import { helpsNodeResourcesFit } from '../queueing-hints.ts';

const NAME = 'NodeResourcesFit';

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
  const ignores =
    args.ignoredResources.size + args.ignoredResourceGroups.size > 0
      ? (name: string): boolean => isIgnored(args, name)
      : undefined;
  return {
    name: NAME,
    weight: 1,
    queueingHints: ['pod-deleted', 'pod-updated', 'node-added', 'node-updated'],
    isHelpedBy: helpsNodeResourcesFit,
    filter: ({ pod, snapshot }, node) =>
      pod.requests.scalars.size === 0
        ? insufficient(pod, node)
        : insufficient(pod, node, { claims: snapshot.resourceClaims, isIgnored: ignores }),
    sign: ({ pod }) =>
      pod.requests.scalars.size === 0
        ? [amountsSignature(pod.requests), amountsSignature(pod.scoringRequests)]
        : undefined,
    simulate: ({ pod }) => (pod.requests.scalars.size === 0 ? new FitSimulation(pod) : undefined),
    score: ({ pod }, node) =>
      strategyScore(scoringStrategy, usages(pod, node, { resources, isScoring: true })),
  };
}

/** For pods that request no extended resources. */
class FitSimulation implements FilterSimulation {
  readonly #pod: PodInfo;
  readonly #requested = emptyAmounts();
  readonly #pods = { size: 0 };
  #node: NodeInfo | undefined;

  constructor(pod: PodInfo) {
    this.#pod = pod;
  }

  start(node: NodeInfo): void {
    const { milliCPU, memoryBytes, ephemeralStorageBytes } = node.requested;
    this.#node = node;
    this.#requested.milliCPU = milliCPU;
    this.#requested.memoryBytes = memoryBytes;
    this.#requested.ephemeralStorageBytes = ephemeralStorageBytes;
    this.#pods.size = node.pods.size;
  }

  add({ requests }: PodInfo): void {
    this.#change(requests, 1);
  }

  remove({ requests }: PodInfo): void {
    this.#change(requests, -1);
  }

  #change({ milliCPU, memoryBytes, ephemeralStorageBytes }: Amounts, sign: 1 | -1): void {
    this.#requested.milliCPU += sign * milliCPU;
    this.#requested.memoryBytes += sign * memoryBytes;
    this.#requested.ephemeralStorageBytes += sign * ephemeralStorageBytes;
    this.#pods.size += sign;
  }

  refusal(): Refusal | undefined {
    const { allocatable, podLimit } = this.#node!;
    return insufficient(this.#pod, {
      allocatable,
      podLimit,
      requested: this.#requested,
      pods: this.#pods,
    });
  }
}

function isIgnored({ ignoredResources, ignoredResourceGroups }: NodeResourcesFitArgs, name: string): boolean {
  const slash = name.indexOf('/');
  return slash >= 0 && (ignoredResources.has(name) || ignoredResourceGroups.has(name.slice(0, slash)));
}

interface FitOptions {
  readonly claims?: Pick<ResourceClaims, 'classOfExtendedResource'>;
  readonly isIgnored?: ((name: string) => boolean) | undefined;
}

/** What a node has and what its pods request. */
interface Room extends Pick<NodeInfo, 'requested' | 'allocatable' | 'podLimit'> {
  readonly pods: { readonly size: number };
}

/** Bits of what is missing. */
const PODS = 1,
  CPU = 2,
  MEMORY = 4,
  STORAGE = 8,
  /** More is requested than the node has. */
  NEVER = 16;
/** Refusals without extended resources: made once, because a pod may be refused by thousands of nodes. */
const REFUSALS = Array.from({ length: 2 * NEVER }, (_, bits) => refusalOf(bits, []));

function refusalOf(bits: number, others: readonly string[]): Refusal {
  const reasons = [
    ...(bits & PODS ? ['Too many pods'] : []),
    ...(bits & CPU ? ['Insufficient cpu'] : []),
    ...(bits & MEMORY ? ['Insufficient memory'] : []),
    ...(bits & STORAGE ? ['Insufficient ephemeral-storage'] : []),
    ...others.map((name) => `Insufficient ${name}`),
  ];
  return refusal(NAME, reasons, { resolvable: (bits & NEVER) === 0 });
}

/** Every insufficient resource, in upstream's order. Not resolvable when the request exceeds the node's allocatable. */
export function insufficient(
  { requests }: PodInfo,
  { requested, allocatable, pods, podLimit }: Room,
  options: FitOptions = {},
): Refusal | undefined {
  let bits = pods.size + 1 > podLimit ? PODS : 0;
  const { milliCPU, memoryBytes, ephemeralStorageBytes, scalars } = requests;
  if (milliCPU > 0 && milliCPU > allocatable.milliCPU - requested.milliCPU)
    bits |= milliCPU > allocatable.milliCPU ? CPU | NEVER : CPU;
  if (memoryBytes > 0 && memoryBytes > allocatable.memoryBytes - requested.memoryBytes)
    bits |= memoryBytes > allocatable.memoryBytes ? MEMORY | NEVER : MEMORY;
  if (
    ephemeralStorageBytes > 0 &&
    ephemeralStorageBytes > allocatable.ephemeralStorageBytes - requested.ephemeralStorageBytes
  )
    bits |= ephemeralStorageBytes > allocatable.ephemeralStorageBytes ? STORAGE | NEVER : STORAGE;
  if (scalars.size === 0) return bits === 0 ? undefined : REFUSALS[bits];
  const others = missingScalars(requests, { requested, allocatable, ...options });
  if (others.isNever) bits |= NEVER;
  if (others.names.length > 0) return refusalOf(bits, others.names);
  return bits === 0 ? undefined : REFUSALS[bits];
}

function missingScalars(
  { scalars }: Amounts,
  {
    requested,
    allocatable,
    claims,
    isIgnored,
  }: FitOptions & { readonly requested: Amounts; readonly allocatable: Amounts },
): { readonly names: readonly string[]; readonly isNever: boolean } {
  const names: string[] = [];
  let isNever = false;
  for (const [name, wanted] of scalars) {
    if (wanted <= 0 || isIgnored?.(name)) continue;
    const total = allocatable.scalars.get(name) ?? 0;
    if (wanted <= total - (requested.scalars.get(name) ?? 0)) continue;
    // DynamicResources allocates devices for it.
    if (total === 0 && claims?.classOfExtendedResource(name)) continue;
    names.push(name);
    if (wanted > total) isNever = true;
  }
  return { names, isNever };
}
