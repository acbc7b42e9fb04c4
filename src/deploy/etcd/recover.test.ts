import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { realClock } from '#stdx/clock.ts';
import {
  createTestMembers,
  etcdProgram,
  openMembership,
  type TestEtcdCluster,
  type TestMember,
} from '#testing/etcd-members.ts';
import { machineFile } from '../machine/record.ts';
import type { ServiceSpec } from '../machine/services.ts';
import { recoverEtcd, requireBestSurvivor } from './recover.ts';

const skip = etcdProgram === undefined && 'no etcd 3.5';
let cluster: TestEtcdCluster;
let m1: TestMember, m2: TestMember, m3: TestMember;
let etcd: EtcdMembership;

beforeEach(async () => {
  if (!etcdProgram) return;
  cluster = await createTestMembers(etcdProgram, 3);
  [m1, m2, m3] = cluster.members as [TestMember, TestMember, TestMember];
  for (const member of cluster.members) member.start({ members: cluster.members, state: 'new' });
  etcd = openMembership([m1]);
  while (!(await etcd.list().catch(() => undefined))) await sleep(20);
});
afterEach(async () => {
  etcd?.close();
  await cluster?.close();
});

/** The machine of m1; its supervisor is this function: it starts and stops what the record says. */
function machineOf() {
  const dir = join(m1.dataDir, '..');
  const machine = machineFile({ machineFile: join(dir, 'machine.json'), manifests: join(dir, 'manifests') });
  const apiserver: ServiceSpec = { name: 'apiserver', run: { capstan: ['apiserver'] } };
  const spec: ServiceSpec = { name: 'etcd', run: { program: 'etcd', args: ['--name=m1'] } };
  machine.update((record) => ({
    ...record,
    etcd: { name: 'm1', peerURL: m1.peerURL },
    services: [spec, apiserver],
  }));
  const followed: string[] = [];
  let args: readonly string[] | undefined = ['--name=m1'];
  const follow = async (): Promise<void> => {
    const { services } = machine.read();
    const wanted = services.find(({ name }) => name === 'etcd');
    const now = wanted && 'program' in wanted.run ? wanted.run.args : undefined;
    followed.push(services.map(({ name }) => name).join('+'));
    if (String(now) === String(args)) return;
    args = now;
    await m1.kill();
    if (now)
      m1.start({
        members: cluster.members,
        state: 'existing',
        flags: now.filter((arg) => arg.startsWith('--force')),
      });
  };
  return { machine, follow, followed };
}

it('makes a cluster of one out of the survivor, also after a kill in the middle', { skip }, async () => {
  const { machine, follow, followed } = machineOf();
  const lines: string[] = [];
  const options = {
    machine,
    paths: { etcdData: m1.dataDir },
    membership: etcd,
    clientURL: m1.clientURL,
    clock: realClock,
    follow,
    print: (line: string) => void lines.push(line),
  };
  await assert.rejects(requireBestSurvivor(options), /there is nothing to recover/);
  await Promise.all([m2.kill(), m3.kill()]);
  while ((await etcd.status(m1.clientURL)).leaderId !== '') await sleep(50);
  await requireBestSurvivor(options);

  const killed = {
    ...options,
    follow: () => (followed.length < 1 ? follow() : Promise.reject(new Error('killed'))),
  };
  await assert.rejects(recoverEtcd(killed), /killed/);
  const copy = await recoverEtcd(options);
  const members = await etcd.list();
  assert.deepEqual(
    members.map(({ name, peerURLs }) => ({ name, peerURLs })),
    [{ name: 'm1', peerURLs: [m1.peerURL] }],
  );
  assert.ok(existsSync(join(copy, 'member', 'snap', 'db')));
  const { recovering, services } = machine.read();
  assert.equal(recovering, undefined);
  assert.deepEqual(
    services.map(({ name, run }) => ('program' in run ? `${name} ${run.args.join(' ')}` : name)),
    [`etcd --name=m1 --initial-cluster=m1=${m1.peerURL}`, 'apiserver'],
  );
  assert.equal(followed.at(-1), 'etcd+apiserver');
});
