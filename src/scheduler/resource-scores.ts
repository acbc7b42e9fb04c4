/** Scores of a node by the resources that it has left, after upstream's noderesources: strategies of NodeResourcesFit. Pure. */
import { MAX_NODE_SCORE } from './plugin.ts';
import type { Amounts } from './resources.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';

export interface ResourceWeight {
  readonly name: string;
  readonly weight: number;
}

/** utilization in percent, score 0…10. */
export interface ShapePoint {
  readonly utilization: number;
  readonly score: number;
}

export interface ScoringStrategy {
  readonly type: 'LeastAllocated' | 'MostAllocated' | 'RequestedToCapacityRatio';
  readonly resources: readonly ResourceWeight[];
  /** Of RequestedToCapacityRatio, by rising utilization. */
  readonly shape?: readonly ShapePoint[];
}

export const CPU_AND_MEMORY: readonly ResourceWeight[] = [
  { name: 'cpu', weight: 1 },
  { name: 'memory', weight: 1 },
];

/** Scores of shapes go to 10, those of nodes to 100. */
const SHAPE_SCALE = MAX_NODE_SCORE / 10;

interface Usage {
  readonly weight: number;
  /** With the pod. */
  readonly requested: number;
  readonly capacity: number;
}

/** Of resources that the node has; other resources than CPU and memory only where the pod requests them. */
export function usages(
  pod: PodInfo,
  node: NodeInfo,
  { resources, isScoring }: { readonly resources: readonly ResourceWeight[]; readonly isScoring: boolean },
): Usage[] {
  const found: Usage[] = [];
  for (const { name, weight } of resources) {
    const capacity = amountOf(node.allocatable, name);
    const isAssumed = isScoring && (name === 'cpu' || name === 'memory');
    const wanted = amountOf(isAssumed ? pod.scoringRequests : pod.requests, name);
    if (capacity === 0 || (wanted === 0 && isScalar(name))) continue;
    const used = amountOf(isAssumed ? node.scoringRequested : node.requested, name);
    found.push({ weight, requested: used + wanted, capacity });
  }
  return found;
}

export function strategyScore(strategy: ScoringStrategy, used: readonly Usage[]): number {
  const scoreOf = SCORES[strategy.type];
  let sum = 0;
  let weights = 0;
  for (const usage of used) {
    const score = scoreOf(usage, strategy.shape ?? []);
    if (strategy.type === 'RequestedToCapacityRatio' && score <= 0) continue;
    sum += score * usage.weight;
    weights += usage.weight;
  }
  if (weights === 0) return 0;
  return strategy.type === 'RequestedToCapacityRatio' ? Math.round(sum / weights) : Math.trunc(sum / weights);
}

const SCORES: Readonly<
  Record<ScoringStrategy['type'], (usage: Usage, shape: readonly ShapePoint[]) => number>
> = {
  LeastAllocated: ({ requested, capacity }) =>
    requested > capacity ? 0 : Math.trunc(((capacity - requested) * MAX_NODE_SCORE) / capacity),
  MostAllocated: ({ requested, capacity }) =>
    Math.trunc((Math.min(requested, capacity) * MAX_NODE_SCORE) / capacity),
  RequestedToCapacityRatio: ({ requested, capacity }, shape) =>
    alongShape(shape, requested > capacity ? 100 : Math.trunc((requested * 100) / capacity)),
};

/** Linear between the points, constant outside of them. */
function alongShape(shape: readonly ShapePoint[], utilization: number): number {
  const next = shape.findIndex((point) => utilization <= point.utilization);
  if (next < 0) return (shape.at(-1)?.score ?? 0) * SHAPE_SCALE;
  const to = shape[next]!;
  const from = shape[next - 1];
  if (!from) return to.score * SHAPE_SCALE;
  const rise = (to.score - from.score) * SHAPE_SCALE;
  return (
    from.score * SHAPE_SCALE +
    Math.trunc((rise * (utilization - from.utilization)) / (to.utilization - from.utilization))
  );
}

function isScalar(name: string): boolean {
  return name !== 'cpu' && name !== 'memory' && name !== 'ephemeral-storage';
}

function amountOf(amounts: Amounts, name: string): number {
  switch (name) {
    case 'cpu':
      return amounts.milliCPU;
    case 'memory':
      return amounts.memoryBytes;
    case 'ephemeral-storage':
      return amounts.ephemeralStorageBytes;
    default:
      return amounts.scalars.get(name) ?? 0;
  }
}
