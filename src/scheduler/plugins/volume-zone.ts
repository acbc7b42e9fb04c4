/** VolumeZone: volumes that are labelled with zones or regions are used in those. After upstream's volumezone; node affinity of volumes has replaced such labels. */
import { claimNameOf, classOfClaim, waitsForFirstConsumer } from '#component-helpers/persistent-volumes.ts';
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import { concernsClaimOf } from './claims-of-pod.ts';

const NAME = 'VolumeZone';
/** Label → the label that replaced it. */
const LABELS: Readonly<Record<string, string>> = {
  'failure-domain.beta.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region': 'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region': 'topology.kubernetes.io/region',
};

interface Requirement {
  readonly label: string;
  readonly values: readonly string[];
}

export const volumeZone: SchedulerPlugin = {
  name: NAME,
  readsPods: false,
  queueingHints: [
    'storage-class-added',
    'claim-added',
    'claim-updated',
    'volume-added',
    'volume-updated',
    'node-added',
    'node-updated',
  ],
  isHelpedBy: concernsClaimOf,
  preFilter({ pod, snapshot, state }) {
    const refused = (reason: string) => refusal(NAME, reason, { resolvable: false });
    const requirements: Requirement[] = [];
    for (const volume of pod.pod.spec?.volumes ?? []) {
      const name = claimNameOf(pod.pod, volume);
      if (name === undefined) continue;
      const claim = snapshot.volumes.claim(pod.namespace, name);
      if (!claim) return refused(`persistentvolumeclaim ${JSON.stringify(name)} not found`);
      const { volumeName } = claim.spec ?? {};
      if (!volumeName) {
        const className = classOfClaim(claim);
        if (className === '') return refused('PersistentVolumeClaim had no pv name and storageClass name');
        if (waitsForFirstConsumer(snapshot.volumes.storageClass(className))) continue;
        return refused('PersistentVolume had no name');
      }
      const bound = snapshot.volumes.volume(volumeName);
      if (!bound) return refused(`persistentvolume ${JSON.stringify(volumeName)} not found`);
      for (const [label, value] of Object.entries(bound.metadata?.labels ?? {}))
        if (LABELS[label] !== undefined) requirements.push({ label, values: value.split('__') });
    }
    if (requirements.length === 0) return 'skip';
    state.set(NAME, requirements);
    return undefined;
  },
  filter({ state }, { labels }) {
    if (!Object.keys(LABELS).some((label) => labels[label] !== undefined)) return undefined;
    const fits = (state.get(NAME) as readonly Requirement[]).every(({ label, values }) => {
      const value = labels[label] ?? labels[LABELS[label]!];
      return value !== undefined && values.includes(value);
    });
    return fits ? undefined : refusal(NAME, 'node(s) had no available volume zone', { resolvable: false });
  },
};
