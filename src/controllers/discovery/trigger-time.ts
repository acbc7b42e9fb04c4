/**
 * The trigger time of an EndpointSlice write: the earliest pod readiness change or service creation since the last
 * call. After upstream's TriggerTimeTracker; kube-proxy measures the network programming latency from it.
 */
import type { Pod, Service } from '#api/types.ts';
import { objectKey } from '#machinery/object.ts';

/** The times observed for one service and its pods. */
export interface SeenTimes {
  readonly serviceMs: number;
  readonly podsMs: ReadonlyMap<string, number>;
}

export const TRIGGER_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';

export function seenTimes(service: Service, pods: readonly Pod[]): SeenTimes {
  const podsMs = new Map<string, number>();
  for (const pod of pods) {
    const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready');
    const changedMs = Date.parse(ready?.lastTransitionTime ?? '');
    if (!Number.isNaN(changedMs)) podsMs.set(objectKey(pod), changedMs);
  }
  return { serviceMs: Date.parse(service.metadata?.creationTimestamp ?? ''), podsMs };
}

/** Undefined when no change with a timestamp occurred. */
export function triggerMs(now: SeenTimes, before: SeenTimes | undefined): number | undefined {
  const changes = [...now.podsMs].filter(([key, ms]) => ms > (before?.podsMs.get(key) ?? -Infinity));
  const times = changes.map(([, ms]) => ms);
  if (!before || now.serviceMs > before.serviceMs) times.push(now.serviceMs);
  const known = times.filter((ms) => !Number.isNaN(ms));
  return known.length === 0 ? undefined : Math.min(...known);
}
