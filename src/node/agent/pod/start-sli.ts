/** The part of a pod's start that Kubernetes' service level objective is about: of stateless pods, without image pulls and init containers. Pure. */
import { isStaticPod } from '#component-helpers/static-pods.ts';
import type { Pod, PodStatus, Volume } from '#api/types.ts';

interface Start {
  readonly pod: Pod;
  readonly status: PodStatus;
  /** When it was seen to run. */
  readonly nowMs: number;
  /** From the start of its first pull to the end of its last one. */
  readonly pullingMs: number;
}

/** Undefined: the pod is not counted. */
export function startSliMs({ pod, status, nowMs, pullingMs }: Start): number | undefined {
  const createdMs = Date.parse(pod.metadata?.creationTimestamp ?? '');
  if (Number.isNaN(createdMs) || isStaticPod(pod) || (pod.spec?.volumes ?? []).some(isStateful))
    return undefined;
  return Math.max(0, nowMs - createdMs - pullingMs - initMs(status));
}

/** Init containers run one after the other. Sidecars have not terminated. */
function initMs({ initContainerStatuses = [] }: PodStatus): number {
  return initContainerStatuses.reduce((sum, { state }) => {
    const { startedAt, finishedAt } = state?.terminated ?? {};
    const ms = Date.parse(finishedAt ?? '') - Date.parse(startedAt ?? '');
    return sum + (Number.isNaN(ms) ? 0 : Math.max(0, ms));
  }, 0);
}

function isStateful({ name: _, ...source }: Volume): boolean {
  return !Object.keys(source).every((kind) => STATELESS.has(kind));
}

const STATELESS: ReadonlySet<string> = new Set([
  'emptyDir',
  'secret',
  'configMap',
  'downwardAPI',
  'projected',
]);
