/** What a cluster's nodes hold: how full they are, what is wasted, what breaks first. Requests count, as they do for the scheduler. */
import type { Node, Pod, PodDisruptionBudget } from '#api/types.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { NodeUse, Simulation } from '#scheduler/simulation.ts';
import { blockerOf, type BlockingReason } from './drainable.ts';
import { countMore, lossOf, spareNodes, type Loss } from './questions.ts';
import { podLike } from './template-node.ts';

export type Dimension = 'cpu' | 'memory' | 'pods';
export const DIMENSIONS: readonly Dimension[] = ['cpu', 'memory', 'pods'];

/** CPU in millicores, memory in bytes. */
export interface Share {
  readonly requested: number;
  readonly allocatable: number;
}

export type Shares = Readonly<Record<Dimension, Share>>;

interface NodeCapacity {
  readonly name: string;
  /** Not cordoned. */
  readonly takesPods: boolean;
  readonly shares: Shares;
  /** What is free and cannot be used: another dimension is full. */
  readonly stranded: readonly Dimension[];
}

export interface CapacityReport {
  readonly nodes: readonly NodeCapacity[];
  /** Of nodes that take pods. */
  readonly total: Shares;
  readonly stranded: Readonly<Record<Dimension, number>>;
  /** Workers that may be emptied and whose pods fit on the others, all of these together. */
  readonly spare: readonly string[];
  /** Workers that may not be emptied, and the first reason. */
  readonly kept: readonly { readonly node: string; readonly reason: BlockingReason; readonly pod?: string }[];
  /** Nodes whose failure leaves pods without a place, the worst first. */
  readonly losses: readonly Loss[];
  /** How many more replicas of each Deployment fit, the fewest first. */
  readonly headroom: readonly { readonly deployment: string; readonly more: number }[];
  readonly pending: readonly { readonly pod: string; readonly message: string }[];
}

/** More replicas of one Deployment are not counted. */
export const HEADROOM_LIMIT = 100;
/** Of a dimension's allocatable, from which on nothing usual fits any more. */
const FULL = 0.95;

export function reportCapacity(
  simulation: Simulation,
  { pods, budgets }: { readonly pods: readonly Pod[]; readonly budgets: readonly PodDisruptionBudget[] },
): CapacityReport {
  const nodes = simulation.nodeNames.map((name) => capacityOf(simulation.use(name)));
  const open = nodes.filter(({ takesPods }) => takesPods);
  const workers = nodes.filter(({ name }) => !isControlPlane(simulation.use(name).node));
  const byUse = workers.toSorted((one, other) => fullness(one.shares) - fullness(other.shares));
  const blockers = new Map(byUse.map(({ name }) => [name, blockerOf(simulation.use(name), { budgets })]));
  return {
    nodes,
    total: sum(open.map(({ shares }) => shares)),
    stranded: strandedIn(open),
    spare: spareNodes(
      simulation,
      byUse.map(({ name }) => name).filter((name) => !blockers.get(name)),
    ),
    kept: [...blockers].flatMap(([node, blocker]) =>
      blocker ? [{ node, reason: blocker.reason, ...(blocker.pod ? { pod: nameOf(blocker.pod) } : {}) }] : [],
    ),
    losses: nodes
      .map(({ name }) => lossOf(simulation, name))
      .filter(({ homeless }) => homeless.length > 0)
      .toSorted((one, other) => other.homeless.length - one.homeless.length),
    headroom: [...samplesOf(pods)]
      .map(([deployment, pod]) => ({
        deployment,
        more: countMore(simulation, { pod, limit: HEADROOM_LIMIT }),
      }))
      .toSorted((one, other) => one.more - other.more),
    pending: pods.filter(isWaiting).flatMap((pod) => {
      const another = podLike(pod, 'waiting');
      const found = simulation.place(another);
      if (found.kind === 'none') return [{ pod: nameOf(pod), message: found.message }];
      simulation.removePod(another);
      return [];
    }),
  };
}

export function isControlPlane({ metadata }: Node): boolean {
  return metadata?.labels?.[CONTROL_PLANE_ROLE] !== undefined;
}

export function nameOf({ metadata }: Pod): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

/** For a node, and for nothing else. */
export function isWaiting(pod: Pod): boolean {
  return !pod.spec?.nodeName && !isPodTerminal(pod) && (pod.spec?.schedulingGates ?? []).length === 0;
}

function capacityOf({ node, pods, allocatable, requested, podLimit }: NodeUse): NodeCapacity {
  const shares: Shares = {
    cpu: { requested: requested.milliCPU, allocatable: allocatable.milliCPU },
    memory: { requested: requested.memoryBytes, allocatable: allocatable.memoryBytes },
    pods: { requested: pods.length, allocatable: podLimit },
  };
  const full = DIMENSIONS.filter((one) => shares[one].requested >= FULL * shares[one].allocatable);
  return {
    name: node.metadata?.name ?? '',
    takesPods: !node.spec?.unschedulable,
    shares,
    stranded: full.length === 0 ? [] : DIMENSIONS.filter((one) => !full.includes(one)),
  };
}

function sum(all: readonly Shares[]): Shares {
  const of = (dimension: Dimension): Share => ({
    requested: all.reduce((before, shares) => before + shares[dimension].requested, 0),
    allocatable: all.reduce((before, shares) => before + shares[dimension].allocatable, 0),
  });
  return { cpu: of('cpu'), memory: of('memory'), pods: of('pods') };
}

function strandedIn(nodes: readonly NodeCapacity[]): Readonly<Record<Dimension, number>> {
  const of = (dimension: Dimension): number => {
    const { requested, allocatable } = sum(
      nodes.filter(({ stranded }) => stranded.includes(dimension)).map(({ shares }) => shares),
    )[dimension];
    return allocatable - requested;
  };
  return { cpu: of('cpu'), memory: of('memory'), pods: of('pods') };
}

/** The utilisation of a node, as the cluster autoscaler has it: the larger of CPU's and memory's. */
function fullness({ cpu, memory }: Shares): number {
  return Math.max(
    ...[cpu, memory].map(({ requested, allocatable }) => (allocatable === 0 ? 0 : requested / allocatable)),
  );
}

/** The newest pod of each Deployment, by 'namespace/name'. */
export function samplesOf(pods: readonly Pod[]): ReadonlyMap<string, Pod> {
  const samples = new Map<string, Pod>();
  for (const pod of pods) {
    const deployment = deploymentOf(pod);
    if (deployment === undefined || isPodTerminal(pod)) continue;
    const before = samples.get(deployment)?.metadata?.creationTimestamp ?? '';
    if ((pod.metadata?.creationTimestamp ?? '') >= before) samples.set(deployment, pod);
  }
  return samples;
}

/** By the name of its ReplicaSet, which ends with the hash of the template. */
export function deploymentOf(pod: Pod): string | undefined {
  const owner = findController(pod);
  const hash = pod.metadata?.labels?.['pod-template-hash'];
  if (owner?.kind !== 'ReplicaSet' || hash === undefined || !owner.name.endsWith(`-${hash}`))
    return undefined;
  return `${pod.metadata?.namespace}/${owner.name.slice(0, -hash.length - 1)}`;
}
