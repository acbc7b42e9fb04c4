/** TaintNodesByCondition: a new node has the not-ready taint until the node lifecycle controller removes it. */
import type { Node } from '#api/types.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

const NOT_READY = 'node.kubernetes.io/not-ready';

export const taintNodesByCondition: AdmissionPlugin = {
  name: 'TaintNodesByCondition',
  handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'nodes'),
  admit({ object }) {
    const spec = ((object as Node).spec ??= {});
    const taints = spec.taints ?? [];
    if (!taints.some((taint) => taint.key === NOT_READY && taint.effect === 'NoSchedule'))
      spec.taints = [...taints, { key: NOT_READY, effect: 'NoSchedule' }];
  },
};
