/**
 * NodeDeclaredFeatures: a pod that needs a feature of the kubelet goes to nodes that declare it in status.declaredFeatures. After upstream's plugin; of the features of
 * 1.36 that are on by default, only restarting all containers is needed by a pod that is to be scheduled.
 */
import type { Pod } from '#api/types.ts';
import { refusal, type SchedulerPlugin } from '../plugin.ts';

const NAME = 'NodeDeclaredFeatures';
const UNSATISFIED = refusal(NAME, "node(s) didn't match Pod's required features", { resolvable: false });

/** Feature → whether the pod needs it. */
const NEEDS: Readonly<Record<string, (spec: NonNullable<Pod['spec']>) => boolean>> = {
  RestartAllContainersOnContainerExits: ({ containers, initContainers = [] }) =>
    [...initContainers, ...containers].some(({ restartPolicyRules }) =>
      restartPolicyRules?.some(({ action }) => action === 'RestartAllContainers'),
    ),
};

function neededBy({ spec }: Pod): readonly string[] {
  return spec ? Object.keys(NEEDS).filter((feature) => NEEDS[feature]!(spec)) : [];
}

export const nodeDeclaredFeatures: SchedulerPlugin = {
  name: NAME,
  readsPods: false,
  queueingHints: ['node-added', 'node-updated'],
  preFilter({ pod, state }) {
    const needed = neededBy(pod.pod);
    if (needed.length === 0) return 'skip';
    state.set(NAME, needed);
    return undefined;
  },
  sign: ({ state }) => state.get(NAME) as readonly string[],
  filter({ state }, { node }) {
    const declared = node?.status?.declaredFeatures ?? [];
    const needed = state.get(NAME) as readonly string[];
    return needed.every((feature) => declared.includes(feature)) ? undefined : UNSATISFIED;
  },
};
