/** TaintToleration: filters by NoSchedule and NoExecute taints, scores by PreferNoSchedule taints. */
import { normalizeByMax, refusal, type SchedulerPlugin } from '../plugin.ts';
import { findUntoleratedTaint, toleratesAny } from '#component-helpers/tolerations.ts';
import { helpsTaintToleration } from '../queueing-hints.ts';

const HARD_EFFECTS = ['NoSchedule', 'NoExecute'];

export const taintToleration: SchedulerPlugin = {
  name: 'TaintToleration',
  readsPods: false,
  weight: 3,
  queueingHints: ['node-added', 'node-updated'],
  isHelpedBy: helpsTaintToleration,
  sign: ({ pod }) => pod.pod.spec?.tolerations ?? [],
  filter({ pod }, node) {
    if (node.taints.length === 0) return undefined;
    const taint = findUntoleratedTaint(node.taints, {
      tolerations: pod.pod.spec?.tolerations,
      effects: HARD_EFFECTS,
    });
    return taint
      ? refusal('TaintToleration', `node(s) had untolerated taint(s)`, { resolvable: false })
      : undefined;
  },
  preScore: (_cycle, nodes) => (nodes.some((node) => node.isAvoided) ? undefined : 'skip'),
  score({ pod }, node) {
    const tolerations = (pod.pod.spec?.tolerations ?? []).filter(
      (toleration) => !toleration.effect || toleration.effect === 'PreferNoSchedule',
    );
    return node.taints.filter(
      (taint) => taint.effect === 'PreferNoSchedule' && !toleratesAny(tolerations, taint),
    ).length;
  },
  normalize: (_cycle, scores) => normalizeByMax(scores, true),
};
