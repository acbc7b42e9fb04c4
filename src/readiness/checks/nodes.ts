/** Check nodes: Nodes that are not Ready, under pressure, or cordoned, with the cause. */
import { nodes as nodeRef } from '#client/refs.ts';
import type { Node } from '#api/types.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import type { Stored } from '#machinery/object.ts';
import { listAll } from '../list-all.ts';
import type { Finding, ReadinessCheck } from '../check.ts';

const PRESSURES = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'NetworkUnavailable'];

export const nodes: ReadinessCheck = {
  name: 'nodes',
  short: 'Nodes are Ready',
  async run({ api }) {
    return (await listAll(api, nodeRef)).items.flatMap((node) => findingsOf(node));
  },
};

function findingsOf({ metadata, spec, status }: Stored<Node>): Finding[] {
  const object = `Node ${metadata.name}`;
  const ready = findCondition(status?.conditions, 'Ready');
  if (ready?.status !== 'True')
    return [
      {
        severity: 'error',
        object,
        evidence:
          ready?.status === 'Unknown'
            ? `its agent stopped posting status since ${ready.lastTransitionTime}: ${ready.message ?? ''}`
            : `it is not Ready: ${ready?.reason ?? 'no condition'}: ${ready?.message ?? ''}`,
        remedy: `on that machine: capstan status, capstan doctor, /var/log/capstan/node.log; if it is gone for good: kubectl delete node ${metadata.name}`,
      },
    ];
  const pressed = PRESSURES.map((type) => findCondition(status?.conditions, type)).filter(
    (condition) => condition?.status === 'True',
  );
  return [
    ...pressed.map((condition): Finding => ({
      severity: 'warning',
      object,
      evidence: `${condition!.type}: ${condition!.message ?? condition!.reason ?? ''}`,
      remedy:
        condition!.type === 'DiskPressure'
          ? 'free its disk: images, logs, emptyDir volumes'
          : 'move pods away, or give the machine more',
    })),
    ...(spec?.unschedulable
      ? [
          {
            severity: 'info' as const,
            object,
            evidence: 'it is cordoned: no new pods come to it',
            remedy: `kubectl uncordon ${metadata.name}`,
          },
        ]
      : []),
  ];
}
