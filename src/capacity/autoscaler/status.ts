/** ConfigMap cluster-autoscaler-status: what the autoscaler sees and does, in upstream's form since 1.30 (YAML in field `status`). */
import type { ConfigMap } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import type { ClusterState, Readiness } from './cluster-state.ts';

/** Upstream's annotation. */
const LAST_UPDATED = 'cluster-autoscaler.kubernetes.io/last-updated';

interface StatusInput {
  readonly state: ClusterState;
  readonly nowMs: number;
  /** Pods wait for machines that are not on their way. */
  readonly isScaleUpNeeded: boolean;
  /** Unneeded Nodes, by group. */
  readonly candidates: ReadonlyMap<string, number>;
}

/** Remembers when each condition changed. */
export class StatusReport {
  readonly #since = new Map<string, { readonly status: string; readonly sinceMs: number }>();

  render({ state, nowMs, isScaleUpNeeded, candidates }: StatusInput): string {
    const condition = <More extends object>(
      key: string,
      { status, ...more }: { readonly status: string } & More,
    ): object => ({
      status,
      ...more,
      lastProbeTime: formatTime(nowMs),
      lastTransitionTime: formatTime(this.#sinceMs(key, { status, nowMs })),
    });
    const scalingUp = state.groups.some(({ id }) => state.isScalingUp(id));
    const total = [...candidates.values()].reduce((sum, count) => sum + count, 0);
    return stringifyYaml({
      time: goTime(nowMs),
      autoscalerStatus: 'Running',
      clusterWide: {
        health: condition('health', {
          status: healthWord(state.isHealthy()),
          nodeCounts: nodeCounts(state.total),
        }),
        scaleUp: condition('scaleUp', {
          status: scalingUp ? 'InProgress' : isScaleUpNeeded ? 'Needed' : 'NoActivity',
        }),
        scaleDown: condition('scaleDown', scaleDownOf(total)),
      },
      nodeGroups: state.groups.map(({ id, target, minSize, maxSize }) => {
        const backoff = state.backoffOf(id, nowMs);
        const status = state.isScalingUp(id) ? 'InProgress' : backoff ? 'Backoff' : 'NoActivity';
        return {
          name: id,
          health: condition(`health ${id}`, {
            status: healthWord(state.isGroupHealthy(id)),
            nodeCounts: nodeCounts(state.readinessOf(id)),
            cloudProviderTarget: target,
            minSize,
            maxSize,
          }),
          scaleUp: condition(`scaleUp ${id}`, {
            status,
            ...(backoff ? { backoffInfo: { ...backoff } } : {}),
          }),
          scaleDown: condition(`scaleDown ${id}`, scaleDownOf(candidates.get(id) ?? 0)),
        };
      }),
    });
  }

  #sinceMs(key: string, { status, nowMs }: { readonly status: string; readonly nowMs: number }): number {
    const before = this.#since.get(key);
    if (before?.status === status) return before.sinceMs;
    this.#since.set(key, { status, sinceMs: nowMs });
    return nowMs;
  }
}

/** Before the first loop, and while the provider cannot be read. */
export function renderUnread({
  nowMs,
  message,
}: {
  readonly nowMs: number;
  readonly message: string;
}): string {
  return stringifyYaml({ time: goTime(nowMs), autoscalerStatus: 'Initializing', message });
}

function healthWord(isHealthy: boolean): string {
  return isHealthy ? 'Healthy' : 'Unhealthy';
}

function scaleDownOf(candidates: number): { readonly status: string; readonly candidates?: number } {
  return candidates > 0 ? { status: 'CandidatesPresent', candidates } : { status: 'NoCandidates' };
}

function nodeCounts(readiness: Readiness): object {
  const { registered, ready, notStarted, unready, beingDeleted, unregistered, longUnregistered } = readiness;
  return {
    registered: {
      total: registered.length,
      ready: ready.length,
      notStarted: notStarted.length,
      ...(beingDeleted.length > 0 ? { beingDeleted: beingDeleted.length } : {}),
      unready: { total: unready.length, resourceUnready: 0 },
    },
    longUnregistered: longUnregistered.length,
    unregistered: unregistered.length,
  };
}

/** As Go prints a time: '2026-01-01 00:00:00 +0000 UTC'. */
function goTime(ms: number): string {
  return formatTime(ms).replace('T', ' ').replace('Z', ' +0000 UTC');
}

interface Writing {
  readonly namespace: string;
  readonly name: string;
  readonly status: string;
  readonly nowMs: number;
}

/** Returns what is stored. */
export async function writeStatus(
  api: Client,
  { namespace, name, status, nowMs }: Writing,
): Promise<Stored<ConfigMap>> {
  const metadata = { annotations: { [LAST_UPDATED]: goTime(nowMs) } };
  try {
    return await api.patch(
      configMaps,
      { namespace, name },
      { type: 'merge', patch: { metadata, data: { status } } },
    );
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
    return api.create(configMaps, { metadata: { ...metadata, namespace, name }, data: { status } });
  }
}
