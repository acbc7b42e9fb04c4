import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import {
  createTestMembers,
  etcdProgram,
  openMembership,
  type TestEtcdCluster,
} from '#testing/etcd-members.ts';
import { defragmentAll, findMember, inspectMembers, quorumWithout, removeMember } from './members.ts';

const skip = etcdProgram === undefined && 'no etcd 3.5';
let cluster: TestEtcdCluster;
let etcd: EtcdMembership;

before(async () => {
  if (!etcdProgram) return;
  cluster = await createTestMembers(etcdProgram, 3);
  const { members } = cluster;
  for (const member of members) member.start({ members, state: 'new' });
  etcd = openMembership(members);
  await untilHealthy(3);
});
after(async () => {
  etcd?.close();
  await cluster?.close();
});

async function untilHealthy(count: number): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await sleep(50)) {
    const reports = await inspectMembers(etcd).catch(() => []);
    if (reports.filter(({ problem }) => problem === undefined).length === count) return;
    assert.ok(performance.now() < deadline, JSON.stringify(reports));
  }
}

it('reports each member, and finds one by name or ID', { skip }, async () => {
  const reports = await inspectMembers(etcd);
  const members = reports.map(({ member }) => member);
  assert.deepEqual(members.map(({ name }) => name).toSorted(), ['m1', 'm2', 'm3']);
  const m2 = findMember(members, 'm2');
  assert.equal(findMember(members, m2.id), m2);
  assert.throws(() => findMember(members, 'm4'), /no member "m4"; it has m\d \([0-9a-f]{16}\)/);
  assert.deepEqual(quorumWithout(reports, m2.id), { voters: 2, needed: 2, healthy: 2 });
});

it('defragments all, the leader last', { skip }, async () => {
  const lines: string[] = [];
  const [{ status } = {}] = await inspectMembers(etcd);
  await defragmentAll(etcd, { print: (line) => lines.push(line) });
  const leader = findMember(await etcd.list(), status!.leaderId);
  assert.equal(lines.length, 3);
  assert.match(lines[2]!, new RegExp(`^${leader.name}: \\d+ bytes before, \\d+ after$`));
});

it('removes the leader without an election, and refuses what would cost the quorum', { skip }, async () => {
  const [{ status } = {}] = await inspectMembers(etcd);
  const leader = findMember(await etcd.list(), status!.leaderId);
  const retried = async (): Promise<void> => {
    for (;;)
      try {
        return await removeMember({ membership: etcd, member: leader, force: false });
      } catch (error) {
        if (!/unhealthy cluster/.test(String(error))) throw error;
        await sleep(200);
      }
  };
  await retried();
  await removeMember({ membership: etcd, member: leader, force: false });
  await untilHealthy(2);
  const [gone, left] = await etcd.list();
  await cluster.members.find(({ name }) => name === gone!.name)!.kill();
  await assert.rejects(
    removeMember({ membership: etcd, member: left!, force: false }),
    /etcd has 1 voting members of which 0 are healthy, and needs 1: nothing could be written/,
  );
  await assert.rejects(defragmentAll(etcd, { print() {} }), new RegExp(`${gone!.name} is not healthy`));
});
