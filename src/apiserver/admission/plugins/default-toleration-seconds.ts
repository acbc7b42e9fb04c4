/** DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say otherwise. */
import type { Pod, Toleration } from '#api/types.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

const DEFAULT_TOLERATION_SECONDS = 300;
const TAINTS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'] as const;

export const defaultTolerationSeconds: AdmissionPlugin = {
  name: 'DefaultTolerationSeconds',
  handles: (operation, target) =>
    (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
  admit({ object }) {
    const spec = (object as Pod).spec;
    if (!spec) return;
    const tolerations = spec.tolerations ?? [];
    const missing = TAINTS.filter((key) => !tolerations.some((toleration) => tolerates(toleration, key)));
    if (missing.length === 0) return;
    const added = missing.map((key): Toleration => ({
      key,
      operator: 'Exists',
      effect: 'NoExecute',
      tolerationSeconds: DEFAULT_TOLERATION_SECONDS,
    }));
    spec.tolerations = [...tolerations, ...added];
  },
};

/** No key means every taint, no effect every effect. */
function tolerates(toleration: Toleration, key: string): boolean {
  return (
    (!toleration.key || toleration.key === key) && (!toleration.effect || toleration.effect === 'NoExecute')
  );
}
