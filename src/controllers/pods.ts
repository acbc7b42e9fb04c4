/** Facts about pods that several controllers decide by: ready, available, active, terminal. Pure. */
import type { Pod, PodCondition } from '#api/types.ts';
import { timeMs } from '#machinery/time.ts';

export function podCondition(pod: Pod, type: string): PodCondition | undefined {
  return pod.status?.conditions?.find((condition) => condition.type === type);
}

export function isPodReady(pod: Pod): boolean {
  return podCondition(pod, 'Ready')?.status === 'True';
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

/** Milliseconds until the first of the ready pods becomes available; undefined when none will by time alone. */
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

/** All its containers ended for good. */
export function isPodTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** Counts as running: neither ended nor being deleted. */
export function isPodActive(pod: Pod): boolean {
  return !isPodTerminal(pod) && pod.metadata?.deletionTimestamp === undefined;
}

/** Being deleted, its containers still going. */
export function isPodTerminating(pod: Pod): boolean {
  return !isPodTerminal(pod) && pod.metadata?.deletionTimestamp !== undefined;
}

export function createdMs(object: {
  readonly metadata?: { readonly creationTimestamp?: string | null };
}): number {
  return timeMs(object.metadata?.creationTimestamp) ?? 0;
}

/** Oldest first, by name where they are of one second. */
export function byAge(
  a: { readonly metadata?: { readonly creationTimestamp?: string | null; readonly name?: string } },
  b: typeof a,
): number {
  return createdMs(a) - createdMs(b) || compareText(a.metadata?.name ?? '', b.metadata?.name ?? '');
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
