/** TaintToleration: NoSchedule and NoExecute taints keep pods away; PreferNoSchedule ones cost score. */
import { normalizeByMax, refusal, type SchedulerPlugin } from '../plugin.ts';
import { firstUntolerated, tolerates } from './tolerations.ts';

const HARD_EFFECTS = ['NoSchedule', 'NoExecute'];

export const taintToleration: SchedulerPlugin = {
  name: 'TaintToleration',
  weight: 3,
  wakesOn: ['node-added', 'node-updated'],
  filter({ pod }, node) {
    if (node.taints.length === 0) return undefined;
    const taint = firstUntolerated(node.taints, {
      tolerations: pod.pod.spec?.tolerations ?? [],
      effects: HARD_EFFECTS,
    });
    return taint
      ? refusal('TaintToleration', `node(s) had untolerated taint(s)`, { resolvable: false })
      : undefined;
  },
  preScore: (_cycle, nodes) =>
    nodes.some((node) => node.taints.some((taint) => taint.effect === 'PreferNoSchedule'))
      ? undefined
      : 'skip',
  score({ pod }, node) {
    const tolerations = (pod.pod.spec?.tolerations ?? []).filter(
      (toleration) => !toleration.effect || toleration.effect === 'PreferNoSchedule',
    );
    return node.taints.filter(
      (taint) =>
        taint.effect === 'PreferNoSchedule' &&
        !tolerations.some((toleration) => tolerates(toleration, taint)),
    ).length;
  },
  normalize: (_cycle, scores) => normalizeByMax(scores, true),
};
