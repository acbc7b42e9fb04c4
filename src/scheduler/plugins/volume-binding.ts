/** VolumeBinding: bound claims restrict the pod to nodes that can reach their volumes; unbound ones keep it pending. The controller binds claims. */
import { refusal, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';

type Fits = (node: Pick<NodeInfo, 'name' | 'labels'>) => boolean;

export const volumeBinding: SchedulerPlugin = {
  name: 'VolumeBinding',
  queueingHints: ['storage-changed', 'node-added', 'node-updated'],
  preFilter(cycle) {
    const claims = (cycle.pod.pod.spec?.volumes ?? []).flatMap((volume) => {
      if (volume.persistentVolumeClaim) return [volume.persistentVolumeClaim.claimName];
      return volume.ephemeral ? [`${cycle.pod.pod.metadata?.name ?? ''}-${volume.name}`] : [];
    });
    if (claims.length === 0) return 'skip';
    const fits: Fits[] = [];
    for (const name of claims) {
      const claim = cycle.snapshot.volumes.claim(cycle.pod.namespace, name);
      if ('problem' in claim) return refusal('VolumeBinding', claim.problem, { resolvable: false });
      fits.push(claim.nodeFits);
    }
    cycle.state.set('VolumeBinding', fits);
    return undefined;
  },
  filter(cycle, node) {
    const fits = cycle.state.get('VolumeBinding') as readonly Fits[];
    return fits.every((fit) => fit(node))
      ? undefined
      : refusal('VolumeBinding', "node(s) didn't match PersistentVolume's node affinity", {
          resolvable: false,
        });
  },
};
