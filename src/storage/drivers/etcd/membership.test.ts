import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  EtcdMembershipError,
  type EtcdMembership,
  type EtcdMembershipErrorCode,
} from '#machinery/etcd-membership.ts';
import { createEtcdMembership } from './membership.ts';
import {
  createTestMembers,
  etcdProgram as program,
  type TestEtcdCluster,
  type TestMember,
} from '#testing/etcd-members.ts';

const skip = program === undefined && 'no etcd 3.5';
let cluster: TestEtcdCluster;
let etcd: EtcdMembership;
let m1: TestMember, m2: TestMember, m3: TestMember, m4: TestMember;

before(async () => {
  if (!program) return;
  cluster = await createTestMembers(program, 4);
  [m1, m2, m3, m4] = cluster.members as [TestMember, TestMember, TestMember, TestMember];
  m1.start({ members: [m1], state: 'new' });
  etcd = createEtcdMembership({ endpoints: [m1.clientURL, m2.clientURL] });
});
after(async () => {
  etcd?.close();
  await cluster?.close();
});

const code = (wanted: EtcdMembershipErrorCode, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EtcdMembershipError, String(error));
  assert.equal(error.code, wanted, error.message);
  assert.match(error.message, text);
  return true;
};
/** Repeats what etcd refuses for a state that passes. */
async function until<T>(step: () => Promise<T>, passing: readonly EtcdMembershipErrorCode[]): Promise<T> {
  for (const deadline = performance.now() + 30_000; ;) {
    try {
      return await step();
    } catch (error) {
      const passes = error instanceof EtcdMembershipError && passing.includes(error.code);
      if (!passes || performance.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

it('adds a learner, promotes it once it is in sync, and repeats harmlessly', { skip }, async () => {
  const learner = await until(() => etcd.addLearner([m2.peerURL]), ['unavailable', 'no-quorum']);
  assert.deepEqual(
    { name: learner.name, isLearner: learner.isLearner, peerURLs: learner.peerURLs },
    { name: '', isLearner: true, peerURLs: [m2.peerURL] },
  );
  assert.match(learner.id, /^[0-9a-f]{16}$/);
  await assert.rejects(etcd.promote(learner.id), code('learner-not-ready', /not started/));
  await assert.rejects(etcd.addLearner([m2.peerURL]), code('duplicate-peer-url', /has this peer URL/));
  await assert.rejects(etcd.addLearner([m3.peerURL]), code('too-many-learners', /one learner at a time/));
  m2.start({ members: [m1, m2], state: 'existing' });
  await until(() => etcd.promote(learner.id), ['learner-not-ready']);
  await etcd.promote(learner.id);
  assert.deepEqual(
    (await etcd.list())
      .map(({ name, isLearner }) => ({ name, isLearner }))
      .toSorted((a, b) => a.name.localeCompare(b.name)),
    [
      { name: 'm1', isLearner: false },
      { name: 'm2', isLearner: false },
    ],
  );
});

it('tells the status of each member, and moves the leader', { skip }, async () => {
  const first = await etcd.status(m1.clientURL);
  const second = await etcd.status(m2.clientURL);
  assert.match(first.version, /^3\.5\./);
  assert.equal(first.clusterId, second.clusterId);
  assert.equal(first.leaderId, second.leaderId);
  const [leader, other] = first.id === first.leaderId ? [m1, second] : [m2, first];
  const follower = leader === m1 ? m2 : m1;
  await assert.rejects(etcd.moveLeader(follower.clientURL, other.id), code('not-leader', /only the leader/));
  await etcd.moveLeader(leader.clientURL, other.id);
  assert.equal((await etcd.status(leader.clientURL)).leaderId, other.id);
});

it('defragments, lists alarms, and saves a snapshot that is whole', { skip }, async () => {
  await etcd.defragment(m2.clientURL);
  assert.deepEqual(await etcd.alarms(), []);
  const file = join(m1.dataDir, '..', 'snapshot.db');
  const bytes = await etcd.snapshot(m1.clientURL, file);
  assert.equal(statSync(file).size, bytes);
  assert.equal(bytes % 512, 32);
});

it('removes a member, also one that is gone already, but never below quorum', { skip }, async () => {
  const learner = await until(() => etcd.addLearner([m3.peerURL]), ['unhealthy']);
  m3.start({ members: [m1, m2, m3], state: 'existing' });
  await until(() => etcd.promote(learner.id), ['learner-not-ready', 'unhealthy']);
  await m3.kill();
  const survivor = (await etcd.list()).find(({ name }) => name === 'm2')!;
  await assert.rejects(etcd.remove(survivor.id), code('unhealthy', /risk the quorum/));
  await etcd.remove(learner.id);
  await etcd.remove(learner.id);
  await assert.rejects(etcd.promote('00000000000000ff'), code('member-not-found', /no such member/));
  assert.equal((await etcd.list()).length, 2);
});

it('says so when there is no quorum, and reads what one member knows', { skip }, async () => {
  await m2.kill();
  const alone = createEtcdMembership({ endpoints: [m1.clientURL], callTimeoutMs: 3_000 });
  try {
    await until(async () => {
      const { leaderId } = await alone.status(m1.clientURL);
      if (leaderId !== '') throw new EtcdMembershipError('unhealthy', 'still has a leader');
    }, ['unhealthy']);
    await assert.rejects(alone.list(), code('no-quorum', /lost its quorum/));
    assert.equal((await alone.list({ local: true })).length, 2);
    assert.ok((await alone.status(m1.clientURL)).errors.length > 0);
    await assert.rejects(alone.addLearner([m4.peerURL]), code('no-quorum', /lost its quorum/));
  } finally {
    alone.close();
  }
});

it('names the endpoint that does not answer', { skip }, async () => {
  const nobody = createEtcdMembership({ endpoints: [m4.clientURL] });
  await assert.rejects(nobody.list(), code('unavailable', new RegExp(m4.clientURL)));
  nobody.close();
});
