import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createTestMembers,
  etcdProgram,
  openMembership,
  type TestEtcdCluster,
} from '#testing/etcd-members.ts';
import { connectEtcd } from './connect.ts';
import {
  defragmentEtcd,
  listEtcdMembers,
  promoteEtcdMember,
  removeEtcdMember,
  saveEtcdSnapshot,
  showEtcdStatus,
  type Output,
} from './etcd.ts';

const skip = etcdProgram === undefined && 'no etcd 3.5';
let cluster: TestEtcdCluster;
let flags: { endpoints: string[] };
let lines: string[] = [];
const asked: string[] = [];
const output: Output = {
  print: (line) => lines.push(line),
  confirm: (what) => Promise.resolve(void asked.push(what)),
};
const said = (): string => lines.splice(0).join('\n');

before(async () => {
  if (!etcdProgram) return;
  cluster = await createTestMembers(etcdProgram, 2);
  const [m1] = cluster.members;
  m1!.start({ members: [m1!], state: 'new' });
  flags = { endpoints: [m1!.clientURL] };
  const membership = openMembership([m1!]);
  while (!(await membership.list().catch(() => undefined))) await sleep(20);
  membership.close();
});
after(() => cluster?.close());

it('lists and prunes members', { skip }, async () => {
  const [, m2] = cluster.members;
  const membership = openMembership([cluster.members[0]!]);
  const { id } = await membership.addLearner([m2!.peerURL]);
  membership.close();
  await listEtcdMembers(flags, output);
  assert.match(
    said(),
    /^ID +NAME +STATE +PEER URLS +CLIENT URLS\n[0-9a-f]{16} +.*learner, never started.*\b/s,
  );
  await assert.rejects(promoteEtcdMember({ ...flags, member: id }, output), /not started/);
  await listEtcdMembers({ ...flags, prune: true, output: 'json' }, output);
  const [removed, ...json] = lines.splice(0);
  assert.equal(removed, `removed the learner ${id}`);
  assert.deepEqual(
    (JSON.parse(json.join('\n')) as { members: { name: string }[] }).members.map(({ name }) => name),
    ['m1'],
  );
  assert.match(asked.at(-1)!, /unless its machine is joining right now/);
});

it('shows the status, saves a snapshot and defragments', { skip }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-etcd-cmd-'));
  try {
    await showEtcdStatus(flags, output);
    assert.match(said(), /^NAME .*PROBLEM\nm1 +[0-9a-f]{16} +3\.5\.\d+ +.*MiB +.*leader .* -$/s);
    const file = join(dir, 'snapshot.db');
    await saveEtcdSnapshot({ ...flags, file }, output);
    assert.match(said(), new RegExp(`^Snapshot of m1 .*${statSync(file).size} bytes, checksum verified`));
    await defragmentEtcd(flags, output);
    assert.match(said(), /^m1: \d+ bytes before/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

it('does not remove the last member', { skip }, async () => {
  await assert.rejects(removeEtcdMember({ ...flags, member: 'm1' }, output), /m1 is the last member of etcd/);
});

it('says where it can be run, and what an endpoint is', () => {
  assert.throws(() => connectEtcd({ rootfs: '/nonexistent' }), /no certificates of etcd .*--endpoints/);
  assert.throws(() => connectEtcd({ endpoints: ['http://:x'] }), /endpoint/);
});
