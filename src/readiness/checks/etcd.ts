/** Check etcd: members that are not healthy, quorum, learners that are left over, alarms, size of the database. */
import type { EtcdFacts, Finding, ReadinessCheck } from '../check.ts';

/** etcd's default quota of 2 GiB is what alarms go by; suggested maximum 8 GiB. */
const LARGE_BYTES = 1.5 * 2 ** 30;
/** Less of the file in use: a defragmentation is worth it. */
const FRAGMENTED = 0.5;
const SMALL_BYTES = 100 * 2 ** 20;

export const etcd: ReadinessCheck = {
  name: 'etcd',
  short: 'members of etcd are healthy and have room',
  onMachine: true,
  async run({ machine }) {
    const facts = machine!.role === 'worker' ? undefined : await machine!.etcd();
    return facts ? [...quorum(facts), ...members(facts), ...alarms(facts)] : [];
  },
};

function quorum({ members: all }: EtcdFacts): Finding[] {
  const voters = all.filter(({ isLearner }) => !isLearner);
  const healthy = voters.filter(({ problem }) => problem === undefined).length;
  const needed = Math.floor(voters.length / 2) + 1;
  if (voters.length === 2)
    return [
      {
        severity: 'warning',
        object: 'etcd',
        evidence: 'it has two voting members: the loss of either stops all writes',
        remedy: 'join a third control plane, or a witness: capstan join --witness',
      },
    ];
  if (healthy > needed || voters.length === 1) return [];
  return [
    {
      severity: healthy < needed ? 'error' : 'warning',
      object: 'etcd',
      evidence: `${healthy} of ${voters.length} voting members are healthy, and ${needed} are needed`,
      remedy:
        healthy < needed
          ? 'start the others; if they are gone for good: capstan etcd recover'
          : 'bring the others back before one more is lost',
    },
  ];
}

function members({ members: all }: EtcdFacts): Finding[] {
  return all.flatMap(({ name, isLearner, problem, dbSizeBytes = 0, dbSizeInUseBytes = 0 }): Finding[] => {
    const object = `etcd member ${name || '(never started)'}`;
    if (problem !== undefined)
      return [
        {
          severity: 'error' as const,
          object,
          evidence: isLearner ? `a learner that does not answer: ${problem}` : `not healthy: ${problem}`,
          remedy: isLearner
            ? 'capstan etcd members --prune, then join that machine again'
            : 'capstan status on its machine',
        },
      ];
    if (isLearner)
      return [
        {
          severity: 'warning' as const,
          object,
          evidence: 'it is a learner, and does not vote',
          remedy: `wait for its join to end, or: capstan etcd promote ${name}`,
        },
      ];
    if (
      dbSizeBytes > LARGE_BYTES ||
      (dbSizeBytes > SMALL_BYTES && dbSizeInUseBytes < dbSizeBytes * FRAGMENTED)
    )
      return [
        {
          severity: 'warning' as const,
          object,
          evidence: `its database has ${Math.round(dbSizeBytes / 2 ** 20)} MiB, ${Math.round(dbSizeInUseBytes / 2 ** 20)} in use`,
          remedy: 'capstan etcd defrag',
        },
      ];
    return [];
  });
}

function alarms({ alarms: all }: EtcdFacts): Finding[] {
  return all.map((alarm) => ({
    severity: 'error',
    object: 'etcd',
    evidence: `alarm ${alarm}: nothing can be written`,
    remedy: alarm.startsWith('NOSPACE')
      ? 'make room: capstan etcd defrag, then etcdctl alarm disarm'
      : 'replace that member: capstan etcd remove, then join again',
  }));
}
