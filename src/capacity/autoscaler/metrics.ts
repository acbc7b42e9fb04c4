/** Metrics of the cluster autoscaler, with upstream's names and labels. There are no GPU labels: groups are not told apart by accelerators. */
import { Counter, Gauge, Histogram, label } from '#stdx/instruments.ts';
import type { ObservedGroup, Readiness } from './cluster-state.ts';
import type { FailureInfo } from './group-backoff.ts';

const PREFIX = 'cluster_autoscaler_';
const DURATION_BOUNDS = [
  0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 7.5, 10, 12.5, 15, 17.5, 20, 22.5, 25, 27.5, 30, 50, 75, 100, 1_000,
];

export type LoopFunction =
  | 'main'
  | 'updateClusterState'
  | 'filterOutSchedulable'
  | 'scaleUp'
  | 'findUnneeded'
  | 'scaleDown';
type Activity = 'main' | 'autoscaling' | 'scaleUp' | 'scaleDown';
type ErrorType = 'cloudProviderError' | 'apiCallError' | 'internalError';
type FailedScaleUpReason = 'cloudProviderError' | 'timeout' | 'apiCallError';
export type RemovalReason = 'empty' | 'underutilized' | 'unready';

export class AutoscalerMetrics {
  readonly #safe = gauge(
    'cluster_safe_to_autoscale',
    'Whether the cluster is healthy enough for autoscaling.',
  );
  readonly #nodes = gauge('nodes_count', 'Number of nodes in cluster.');
  readonly #groups = gauge('node_groups_count', 'Number of node groups managed by the autoscaler.');
  readonly #pods = gauge('unschedulable_pods_count', 'Number of unschedulable pods in the cluster.');
  readonly #maxNodes = gauge('max_nodes_count', 'Maximum number of nodes in all node groups.');
  readonly #cores = gauge(
    'cluster_cpu_current_cores',
    'Cores of the cluster, without nodes that are deleted.',
  );
  readonly #coreLimits = gauge('cpu_limits_cores', 'Minimum and maximum number of cores in the cluster.');
  readonly #memory = gauge(
    'cluster_memory_current_bytes',
    'Memory of the cluster, without nodes that are deleted.',
  );
  readonly #memoryLimits = gauge('memory_limits_bytes', 'Minimum and maximum memory of the cluster.');
  readonly #activity = gauge('last_activity', 'Last time certain part of the loop was executed.');
  readonly #duration = new Histogram(`${PREFIX}function_duration_seconds`, {
    help: 'Time taken by various parts of the loop.',
    bounds: DURATION_BOUNDS,
  });
  readonly #errors = counter('errors_total', 'The number of loops that failed due to an error.');
  readonly #scaledUp = counter('scaled_up_nodes_total', 'Number of nodes added.');
  readonly #failedScaleUps = counter('failed_scale_ups_total', 'Number of times scale-up has failed.');
  readonly #failedCreations = counter(
    'failed_node_creations_total',
    'Number of nodes that could not be added.',
  );
  readonly #scaledDown = counter('scaled_down_nodes_total', 'Number of nodes removed.');
  readonly #evicted = counter('evicted_pods_total', 'Number of pods evicted.');
  readonly #unneeded = gauge('unneeded_nodes_count', 'Number of nodes currently considered unneeded.');
  readonly #unremovable = gauge(
    'unremovable_nodes_count',
    'Number of nodes currently considered unremovable.',
  );
  readonly #cooldown = gauge('scale_down_in_cooldown', 'Whether scale-down is in cooldown.');
  readonly #unregistered = counter(
    'old_unregistered_nodes_removed_count',
    'Number of unregistered nodes removed.',
  );
  readonly #skipped = counter(
    'skipped_scale_events_count',
    'Number of times scaling was skipped because of a limit.',
  );
  readonly #pendingDeletions = gauge(
    'pending_node_deletions',
    'Number of nodes whose deletion is under way.',
  );
  readonly #groupMin = gauge('node_group_min_count', 'Minimum number of nodes in the node group.');
  readonly #groupMax = gauge('node_group_max_count', 'Maximum number of nodes in the node group.');
  readonly #groupTarget = gauge('node_group_target_count', 'Target number of nodes in the node group.');
  readonly #groupHealth = gauge(
    'node_group_healthiness',
    'Whether the node group is healthy enough for autoscaling.',
  );
  readonly #groupBackoff = gauge('node_group_backoff_status', 'Whether the node group is backed off.');

  cluster(facts: {
    readonly isSafe: boolean;
    readonly readiness: Readiness;
    readonly groups: readonly ObservedGroup[];
    readonly cores: number;
    readonly memoryBytes: number;
  }): void {
    this.#safe.set('', facts.isSafe ? 1 : 0);
    const { ready, unready, notStarted, longUnregistered, unregistered } = facts.readiness;
    const states = { ready, unready, notStarted, longUnregistered, unregistered };
    for (const [state, names] of Object.entries(states)) this.#nodes.set(label('state', state), names.length);
    this.#groups.set(label('node_group_type', 'autoscaled'), facts.groups.length);
    this.#groups.set(label('node_group_type', 'autoprovisioned'), 0);
    this.#cores.set('', facts.cores);
    this.#memory.set('', facts.memoryBytes);
  }

  limits(limits: {
    readonly maxNodes: number;
    readonly cores: { readonly min: number; readonly max: number };
    readonly memoryBytes: { readonly min: number; readonly max: number };
  }): void {
    this.#maxNodes.set('', limits.maxNodes);
    for (const [gauge, { min, max }] of [
      [this.#coreLimits, limits.cores],
      [this.#memoryLimits, limits.memoryBytes],
    ] as const) {
      gauge.set(label('direction', 'minimum'), min);
      gauge.set(label('direction', 'maximum'), max);
    }
  }

  group(
    { id, minSize, maxSize, target }: ObservedGroup,
    { isHealthy, backoff }: { readonly isHealthy: boolean; readonly backoff: FailureInfo | undefined },
  ): void {
    const group = label('node_group', id);
    this.#groupMin.set(group, minSize);
    this.#groupMax.set(group, maxSize);
    this.#groupTarget.set(group, target);
    this.#groupHealth.set(group, isHealthy ? 1 : 0);
    this.#groupBackoff.set(group, backoff ? 1 : 0);
  }

  pending(count: number): void {
    this.#pods.set(label('type', 'unschedulable'), count);
  }

  activity(activity: Activity, nowMs: number): void {
    this.#activity.set(label('activity', activity), Math.trunc(nowMs / 1_000));
  }

  took(of: LoopFunction, ms: number): void {
    this.#duration.observe(label('function', of), ms / 1_000);
  }

  failed(type: ErrorType): void {
    this.#errors.add(label('type', type));
  }

  scaledUp(nodes: number): void {
    this.#scaledUp.add('', nodes);
  }

  failedScaleUp(reason: FailedScaleUpReason, nodes: number): void {
    this.#failedScaleUps.add(label('reason', reason));
    this.#failedCreations.add(label('reason', reason), nodes);
  }

  scaledDown(reason: RemovalReason): void {
    this.#scaledDown.add(label('reason', reason));
  }

  evicted(result: 'succeeded' | 'failed'): void {
    this.#evicted.add(label('eviction_result', result));
  }

  scaleDown(facts: {
    readonly unneeded: number;
    readonly unremovable: ReadonlyMap<string, number>;
    readonly inCooldown: boolean;
    readonly deleting: number;
  }): void {
    this.#unneeded.set('', facts.unneeded);
    this.#unremovable.replace(
      [...facts.unremovable].map(([reason, count]) => ({ labels: label('reason', reason), value: count })),
    );
    this.#cooldown.set('', facts.inCooldown ? 1 : 0);
    this.#pendingDeletions.set('', facts.deleting);
  }

  unregisteredRemoved(count: number): void {
    this.#unregistered.add('', count);
  }

  skipped(direction: 'up' | 'down', reason: 'CPULimitReached' | 'MemoryLimitReached'): void {
    this.#skipped.add(`${label('direction', direction)},${label('reason', reason)}`);
  }

  render(): readonly string[] {
    return [
      this.#safe,
      this.#nodes,
      this.#groups,
      this.#pods,
      this.#maxNodes,
      this.#cores,
      this.#coreLimits,
      this.#memory,
      this.#memoryLimits,
      this.#activity,
      this.#duration,
      this.#errors,
      this.#scaledUp,
      this.#failedScaleUps,
      this.#failedCreations,
      this.#scaledDown,
      this.#evicted,
      this.#unneeded,
      this.#unremovable,
      this.#cooldown,
      this.#unregistered,
      this.#skipped,
      this.#pendingDeletions,
      this.#groupMin,
      this.#groupMax,
      this.#groupTarget,
      this.#groupHealth,
      this.#groupBackoff,
    ].flatMap((family) => family.render());
  }
}

function gauge(name: string, help: string): Gauge {
  return new Gauge(`${PREFIX}${name}`, help);
}

function counter(name: string, help: string): Counter {
  return new Counter(`${PREFIX}${name}`, help);
}
