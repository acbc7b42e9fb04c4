/** Row: the store is replicated, and has a quorum to spare. */
import { assessment, count, met, unknown, type Assessment, type ScorecardRow } from '../row.ts';
import type { EtcdFacts } from '../../check.ts';

const WANTED = 3;
const REMEDY =
  'join control planes until etcd has three members, or a witness beside two: capstan join --witness';

export const etcdReplicas: ScorecardRow = {
  name: 'etcd-replicas',
  topic: 'Control plane',
  title: 'etcd has three healthy members or more',
  explain:
    'Three members survive the loss of one; two survive none. Seen from a control plane by asking etcd, else by the pods of etcd, as kubeadm and kind run it. Met: three, and all are healthy.',
  async assess({ machine, pods, servers }) {
    const facts = machine && machine.role !== 'worker' ? await machine.etcd() : undefined;
    if (facts) return ofMembers(facts);
    const members = (await pods()).filter(
      ({ metadata }) => metadata.namespace === 'kube-system' && metadata.labels?.['component'] === 'etcd',
    );
    if (members.length > 0) return ofCount(members.length, 'pod of etcd');
    if (machine || (await servers()).length > 0)
      return unknown('etcd is not asked from here: run it on a control plane');
    return assessment('not met', {
      evidence: ['the store is in one program on one machine'],
      remedy: 'capstan init and capstan join make a replicated one; capstan store migrate moves the objects',
    });
  },
};

function ofMembers({ members }: EtcdFacts): Assessment {
  const healthy = members.filter(({ isLearner, problem }) => !isLearner && problem === undefined).length;
  if (healthy < members.length)
    return assessment('not met', {
      evidence: [`${healthy} of ${members.length} members are healthy and vote`],
      remedy: 'capstan doctor says which one, and what to do',
    });
  return ofCount(healthy, 'healthy member');
}

function ofCount(number: number, noun: string): Assessment {
  const evidence = [count(number, noun)];
  return number >= WANTED ? met(...evidence) : assessment('not met', { evidence, remedy: REMEDY });
}
