/** LimitPodHardAntiAffinityTopology: required anti-affinity may keep pods off nodes only, not off wider parts of the cluster. */
import type { Pod } from '#api/types.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

const HOSTNAME = 'kubernetes.io/hostname';

export const limitPodHardAntiAffinityTopology: AdmissionPlugin = {
  name: 'LimitPodHardAntiAffinityTopology',
  handles: (operation, target) =>
    (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
  validate(attributes) {
    const terms =
      (attributes.object as Pod).spec?.affinity?.podAntiAffinity
        ?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
    const wrong = terms.find(({ topologyKey }) => topologyKey !== HOSTNAME);
    if (wrong)
      throw forbid(
        attributes,
        `affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey ${wrong.topologyKey} but only key ${HOSTNAME} is allowed`,
      );
  },
};
