/** ExtendedResourceToleration: pods that ask for an extended resource (a GPU, say) tolerate the taint of its name, so that nodes can be kept for them. */
import type { Pod } from '#api/types.ts';
import { isTarget } from './forbid.ts';
import { mergeTolerations } from './tolerations.ts';
import type { AdmissionPlugin } from './plugin.ts';

export const extendedResourceToleration: AdmissionPlugin = {
  name: 'ExtendedResourceToleration',
  handles: (operation, target) => (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
  admit({ object }) {
    const { spec } = object as Pod;
    if (!spec) return;
    const names = new Set([...spec.containers, ...spec.initContainers ?? []].flatMap(({ resources }) => Object.keys(resources?.requests ?? {}).filter(isExtended)));
    if (names.size === 0) return;
    spec.tolerations = mergeTolerations(spec.tolerations ?? [], [...names].toSorted().map((key) => ({ key, operator: 'Exists', effect: 'NoSchedule' })));
  },
};

/** A name with a domain that is not Kubernetes' own. */
function isExtended(name: string): boolean {
  return name.includes('/') && !name.includes('kubernetes.io/') && !name.startsWith('requests.');
}
