/** Row: the loss of a worker leaves room for its pods. */
import type { Node, Pod } from '#api/types.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { parseResourceList, podRequests } from '#component-helpers/pod-resources.ts';
import type { Stored } from '#machinery/object.ts';
import { assessment, count, met, type ScorecardRow } from '../row.ts';
import { isWorker } from '../view.ts';

const RESOURCES = ['cpu', 'memory'] as const;

export const spareCapacity: ScorecardRow = {
  name: 'spare-capacity',
  topic: 'Worker nodes',
  title: 'What runs has room when the largest worker is lost',
  explain:
    'Compared are the requests of all pods that run with the allocatable CPU and memory of the Ready workers without the largest of them. It is a sum: a pod that fits no single Node is not found. Met: there are two workers or more, and both resources fit.',
  async assess({ nodes, pods }) {
    const workers = (await nodes()).filter(
      (node) => isWorker(node) && isConditionTrue(node.status?.conditions, 'Ready'),
    );
    const running = (await pods()).filter(({ status }) => !/^(Succeeded|Failed)$/.test(status?.phase ?? ''));
    const used = RESOURCES.map((name) => ({ name, share: shareWithout(name, { workers, running }) }));
    if (workers.length >= 2 && used.every(({ share }) => share <= 1))
      return met(
        `${count(workers.length, 'worker')}; without the largest, ${textOf(used)} of the rest are requested`,
      );
    return assessment(workers.length < 2 ? 'not met' : 'partly', {
      evidence: [
        workers.length < 2
          ? `${count(workers.length, 'Ready worker')}: the pods of a lost one have nowhere to go`
          : `without the largest of ${workers.length} workers, ${textOf(used)} of the rest are requested`,
      ],
      remedy: 'join a worker: capstan token create --print-join-command',
    });
  },
};

interface Fleet {
  readonly workers: readonly Stored<Node>[];
  readonly running: readonly Stored<Pod>[];
}

/** Requests as a part of what is left without the largest worker. */
function shareWithout(name: string, { workers, running }: Fleet): number {
  const sizes = workers.map(
    ({ status }) => parseResourceList(status?.allocatable).get(name)?.milliValue() ?? 0,
  );
  const left = sizes.reduce((sum, size) => sum + size, 0) - Math.max(0, ...sizes);
  const wanted = running.reduce((sum, pod) => sum + (podRequests(pod).get(name)?.milliValue() ?? 0), 0);
  return wanted === 0 ? 0 : wanted / left;
}

function textOf(used: readonly { readonly name: string; readonly share: number }[]): string {
  return used.map(({ name, share }) => `${Math.round(share * 100)} % of ${name}`).join(' and ');
}
