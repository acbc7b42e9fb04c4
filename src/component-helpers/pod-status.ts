/** Predicates on a pod's phase and conditions: ready, available, active, terminal. Pure. After upstream's pkg/api/v1/pod. The node computes the status. */
import type { Pod, PodCondition } from '#api/types.ts';
import { findCondition, isConditionTrue } from './conditions.ts';
import { timeMs } from '#machinery/time.ts';

export function podCondition(pod: Pod, type: string): PodCondition | undefined {
  return findCondition(pod.status?.conditions, type);
}

export function isPodReady(pod: Pod): boolean {
  return isConditionTrue(pod.status?.conditions, 'Ready');
}

/** Ready for at least minReadySeconds. */
export function isPodAvailable(
  pod: Pod,
  { minReadySeconds = 0, nowMs }: { readonly minReadySeconds?: number | undefined; readonly nowMs: number },
): boolean {
  if (!isPodReady(pod)) return false;
  if (minReadySeconds === 0) return true;
  const sinceMs = readySinceMs(pod);
  return sinceMs !== undefined && sinceMs + minReadySeconds * 1000 <= nowMs;
}

export function readySinceMs(pod: Pod): number | undefined {
  const condition = podCondition(pod, 'Ready');
  return condition?.status === 'True' ? timeMs(condition.lastTransitionTime) : undefined;
}

/** Milliseconds until the first of the ready pods becomes available; undefined when time alone makes none available. */
export function nextAvailableInMs(
  pods: readonly Pod[],
  { minReadySeconds = 0, nowMs }: { readonly minReadySeconds?: number | undefined; readonly nowMs: number },
): number | undefined {
  let nextMs: number | undefined;
  if (minReadySeconds === 0) return undefined;
  for (const pod of pods) {
    const sinceMs = readySinceMs(pod);
    if (sinceMs === undefined) continue;
    const leftMs = sinceMs + minReadySeconds * 1000 - nowMs;
    if (leftMs > 0 && (nextMs === undefined || leftMs < nextMs)) nextMs = leftMs;
  }
  return nextMs;
}

/** All its containers have terminated for good. */
export function isPodTerminal(pod: Pick<Pod, 'status'>): boolean {
  return isTerminalPhase(pod.status?.phase);
}

export function isTerminalPhase(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

/** Active: neither terminated nor being deleted. */
export function isPodActive(pod: Pod): boolean {
  return !isPodTerminal(pod) && pod.metadata?.deletionTimestamp === undefined;
}

/** Being deleted, with containers still running. */
export function isPodTerminating(pod: Pod): boolean {
  return !isPodTerminal(pod) && pod.metadata?.deletionTimestamp !== undefined;
}
