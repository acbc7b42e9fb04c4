import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import {
  createTestMembers,
  etcdProgram,
  bound,
  openMembership,
  type TestEtcdCluster,
  type TestMember,
} from '#testing/etcd-members.ts';
import { joinEtcd, type LocalEtcd } from './join-member.ts';

const skip = etcdProgram === undefined && 'no etcd 3.5';
/** Minutes of waiting pass in seconds. */
const SPEED = 60;
const fast: Clock = { ...realClock, monotonic: () => performance.now() * SPEED, sleep: () => sleep(30) };

let cluster: TestEtcdCluster;
let etcd: EtcdMembership;
let m1: TestMember, m2: TestMember, m3: TestMember;
let printed: string[] = [];

beforeEach(async () => {
  if (!etcdProgram) return;
  printed = [];
  cluster = await createTestMembers(etcdProgram, 3);
  [m1, m2, m3] = cluster.members as [TestMember, TestMember, TestMember];
  m1.start({ members: [m1], state: 'new' });
  etcd = openMembership([m1]);
});
afterEach(async () => {
  etcd?.close();
  await cluster?.close();
});

/** etcd of a machine; its record outlives a kill. */
function localEtcd(member: TestMember, record: { id?: string | undefined } = {}): LocalEtcd {
  let running = false;
  return {
    name: member.name,
    peerURL: member.peerURL,
    clientURL: member.clientURL,
    hasData: () => existsSync(join(member.dataDir, 'member')),
    removeData: () => rm(member.dataDir, { recursive: true, force: true }),
    recordedId: () => record.id,
    record: (id) => void (record.id = id),
    start(initialCluster) {
      if (!running) member.start({ members: initialCluster, state: 'existing' });
      running = true;
      return Promise.resolve();
    },
    async stop() {
      running = false;
      await member.kill();
    },
  };
}

const run = (local: LocalEtcd, { membership = etcd, clock = realClock } = {}): Promise<void> =>
  joinEtcd({ local, membership, clock, print: (line) => printed.push(line) });

async function list(): Promise<string[]> {
  const members = await etcd.list();
  return members
    .map(({ name, isLearner }) => `${name || 'unstarted'}${isLearner ? ' learner' : ''}`)
    .toSorted();
}

class Killed extends Error {}
/** Does it, then dies. */
function killedAfter<T extends object>(target: T, method: keyof T): T {
  const work = target[method] as (...args: unknown[]) => unknown;
  return new Proxy(target, {
    get: (object, name, receiver) =>
      name === method
        ? (...args: unknown[]) => {
            const done = work.apply(object, args);
            if (done instanceof Promise) return done.then(() => Promise.reject(new Killed()));
            throw new Killed();
          }
        : (Reflect.get(object, name, receiver) as unknown),
  });
}

it('joins one machine after another, and once more harmlessly', { skip }, async () => {
  const second = localEtcd(m2);
  await run(second);
  assert.deepEqual(await list(), ['m1', 'm2']);
  await run(localEtcd(m3));
  await run(second);
  assert.deepEqual(await list(), ['m1', 'm2', 'm3']);
});

for (const at of ['addLearner', 'record', 'start', 'promote'] as const)
  it(`goes on after a kill behind ${at}`, { skip }, async () => {
    const record: { id?: string } = {};
    const local = localEtcd(m2, record);
    const isOfEtcd = at === 'addLearner' || at === 'promote';
    // The process that was killed does nothing more; what it did stays.
    const dead = isOfEtcd ? local : killedAfter(local, at);
    const membership = isOfEtcd ? killedAfter(etcd, at) : etcd;
    const quiet: EtcdMembership = { ...bound(membership), remove: () => Promise.reject(new Killed()) };
    await assert.rejects(run(dead, { membership: quiet }));
    await m2.kill();
    await run(localEtcd(m2, record));
    assert.deepEqual(await list(), ['m1', 'm2']);
  });

it('takes its learner back when etcd does not start, then joins', { skip }, async () => {
  const record: { id?: string } = {};
  const broken: LocalEtcd = { ...localEtcd(m2, record), start: () => Promise.resolve() };
  await assert.rejects(run(broken, { clock: fast }), /not seen started by the other members within 120 s/);
  assert.deepEqual(await list(), ['m1']);
  assert.equal(record.id, undefined);
  await run(localEtcd(m2, record));
  assert.deepEqual(await list(), ['m1', 'm2']);
});

it(
  "removes another machine's learner that was never started, and waits for one that was",
  { skip },
  async () => {
    await untilReady();
    await etcd.addLearner([m3.peerURL]);
    await run(localEtcd(m2), { clock: fast });
    assert.deepEqual(await list(), ['m1', 'm2']);
    assert.ok(printed.some((line) => line.includes(`Removing the learner ${m3.peerURL}`)));
  },
);

it('comes back under a new ID when its data is lost', { skip }, async () => {
  const record: { id?: string } = {};
  const local = localEtcd(m2, record);
  await run(local);
  await run(localEtcd(m3));
  const before = record.id;
  await local.stop();
  await local.removeData();
  await run(local);
  assert.notEqual(record.id, before);
  assert.deepEqual(await list(), ['m1', 'm2', 'm3']);
});

it('does not take data over that it did not make, nor the name of another member', { skip }, async () => {
  m2.start({ members: [m2], state: 'new' });
  while (!existsSync(join(m2.dataDir, 'member'))) await sleep(10);
  await m2.kill();
  await assert.rejects(run(localEtcd(m2)), /data directory of etcd is not empty/);
  const namesake: LocalEtcd = { ...localEtcd(m3), name: 'm1' };
  await assert.rejects(run(namesake), /etcd has a member m1 at .* which is not this machine/);
  assert.deepEqual(await list(), ['m1']);
});

async function untilReady(): Promise<void> {
  while (!(await etcd.list().catch(() => undefined))) await sleep(20);
}
