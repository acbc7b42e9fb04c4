/** ExtendedResourceToleration: pods that request an extended resource (a GPU, say) tolerate the taint of its name, so that nodes can be dedicated. */
import type { Pod, Toleration } from '#api/types.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

export const extendedResourceToleration: AdmissionPlugin = {
  name: 'ExtendedResourceToleration',
  handles: (operation, target) =>
    (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
  admit({ object }) {
    const { spec } = object as Pod;
    if (!spec) return;
    const names = new Set(
      [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ resources }) =>
        Object.keys(resources?.requests ?? {}).filter(isExtended),
      ),
    );
    if (names.size === 0) return;
    for (const key of [...names].toSorted()) spec.tolerations = withToleration(spec.tolerations ?? [], key);
  },
};

/** Replaces one of the same key, operator and effect; a wider one is kept as well. */
function withToleration(tolerations: readonly Toleration[], key: string): Toleration[] {
  const added: Toleration = { key, operator: 'Exists', effect: 'NoSchedule' };
  const isSame = (other: Toleration): boolean =>
    other.key === key && other.operator === added.operator && other.effect === added.effect && !other.value;
  return tolerations.some(isSame)
    ? tolerations.map((other) => (isSame(other) ? added : other))
    : [...tolerations, added];
}

/** A name with a domain that is not Kubernetes' own. */
function isExtended(name: string): boolean {
  return name.includes('/') && !name.includes('kubernetes.io/') && !name.startsWith('requests.');
}
