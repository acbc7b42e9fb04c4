/** Which pods the autoscaler adds machines for: those that the scheduler refused, not too new, not expendable, and not waiting for others to be preempted. Pure. */
import type { Pod } from '#api/types.ts';
import { staysWithNode } from '#component-helpers/pod-drain.ts';
import { isPodTerminal, podCondition } from '#component-helpers/pod-status.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { timeMs } from '#machinery/time.ts';

const SCALE_UP_DELAY = 'cluster-autoscaler.kubernetes.io/pod-scale-up-delay';

export interface PendingPods {
  /** The most important first, as the scheduler would take them. */
  readonly unschedulable: readonly Pod[];
  /** They get their place by preemption: nothing is added for them, and the place is theirs. */
  readonly preempting: readonly Pod[];
  /** Running ones that nobody has to make room for. */
  readonly expendable: readonly Pod[];
}

interface Rules {
  readonly expendablePriorityCutoff: number;
  readonly newPodScaleUpDelayMs: number;
  readonly nowMs: number;
}

export function sortPending(pods: readonly Pod[], rules: Rules): PendingPods {
  const unschedulable: Pod[] = [];
  const preempting: Pod[] = [];
  const expendable: Pod[] = [];
  for (const pod of pods) {
    if (isPodTerminal(pod) || pod.metadata?.deletionTimestamp) continue;
    const isExpendable = priorityOf(pod) < rules.expendablePriorityCutoff;
    if (pod.spec?.nodeName) {
      if (isExpendable) expendable.push(pod);
    } else if (isUnschedulable(pod) && !isExpendable && !staysWithNode(pod)) {
      if (pod.status?.nominatedNodeName) preempting.push(pod);
      else if (isOldEnough(pod, rules)) unschedulable.push(pod);
    }
  }
  unschedulable.sort((one, other) => priorityOf(other) - priorityOf(one));
  return { unschedulable, preempting, expendable };
}

/** The scheduler tried, and no node takes it. */
export function isUnschedulable(pod: Pod): boolean {
  const condition = podCondition(pod, 'PodScheduled');
  return !pod.spec?.nodeName && condition?.status === 'False' && condition.reason === 'Unschedulable';
}

function priorityOf({ spec }: Pod): number {
  return spec?.priority ?? 0;
}

function isOldEnough({ metadata }: Pod, { newPodScaleUpDelayMs, nowMs }: Rules): boolean {
  const delayMs = Math.max(newPodScaleUpDelayMs, ownDelayMs(metadata?.annotations?.[SCALE_UP_DELAY]));
  return nowMs - (timeMs(metadata?.creationTimestamp) ?? 0) >= delayMs;
}

/** As upstream, what is no duration counts for nothing. */
function ownDelayMs(text: string | undefined): number {
  try {
    return text === undefined ? 0 : goDurationMs(text);
  } catch {
    return 0;
  }
}
