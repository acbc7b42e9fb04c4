/** Row: machines in several zones. */
import type { Node } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import { assessment, count, someOf, type ScorecardRow } from '../row.ts';
import { isControlPlane, isWorker, ZONE_LABEL } from '../view.ts';

export const zones: ScorecardRow = {
  name: 'zones',
  topic: 'Control plane',
  title: 'Machines stand in several zones',
  explain:
    'Met: the Nodes that take pods are in two zones or more, and the control planes in three (or have no Node here), by the label topology.kubernetes.io/zone. Two zones cannot keep a quorum of etcd if the larger one is lost.',
  async assess({ nodes }) {
    const all = await nodes();
    const workers = zonesOf(all.filter(isWorker));
    const planes = all.filter(isControlPlane);
    const planeZones = zonesOf(planes);
    const without = all.filter(({ metadata }) => !metadata.labels?.[ZONE_LABEL]);
    const wide = planes.length === 0 || planeZones.length >= 3;
    const good = workers.length >= 2 && wide;
    return assessment(good ? 'met' : workers.length >= 2 || planeZones.length >= 2 ? 'partly' : 'not met', {
      evidence: [
        `workers in ${count(workers.length, 'zone')}${workers.length > 0 ? `: ${someOf(workers)}` : ''}`,
        ...(planes.length > 0 ? [`control planes in ${count(planeZones.length, 'zone')}`] : []),
        ...(without.length > 0 ? [`${count(without.length, 'Node')} without a zone`] : []),
      ],
      remedy:
        'label each Node: kubectl label node NAME topology.kubernetes.io/zone=ZONE, or give --node-labels at join, and spread the machines',
    });
  },
};

function zonesOf(nodes: readonly Stored<Node>[]): readonly string[] {
  const named = nodes
    .map(({ metadata }) => metadata.labels?.[ZONE_LABEL] ?? '')
    .filter((zone) => zone !== '');
  return [...new Set(named)].toSorted();
}
