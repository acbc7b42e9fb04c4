import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { realClock } from '#stdx/clock.ts';
import {
  bound,
  createTestMembers,
  etcdProgram,
  openMembership,
  type TestEtcdCluster,
} from '#testing/etcd-members.ts';
import { inspectMembers } from '../../etcd/members.ts';
import { machinePaths } from '../../machine/paths.ts';
import { machineFile } from '../../machine/record.ts';
import type { LeaveContext } from './context.ts';
import { preflight, removeEtcdMember } from './remove-etcd-member.ts';

const skip = etcdProgram === undefined && 'no etcd 3.5';
let cluster: TestEtcdCluster;
let etcd: EtcdMembership;
let dir: string;
let followed: string[] = [];

before(async () => {
  if (!etcdProgram) return;
  dir = mkdtempSync(join(tmpdir(), 'capstan-leave-'));
  cluster = await createTestMembers(etcdProgram, 3);
  const { members } = cluster;
  for (const member of members) member.start({ members, state: 'new' });
  etcd = openMembership(members);
  await untilHealthy(3);
});
after(async () => {
  etcd?.close();
  await cluster?.close();
  if (dir) rmSync(dir, { recursive: true });
});

async function untilHealthy(count: number): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await sleep(50)) {
    const reports = await inspectMembers(etcd).catch(() => []);
    if (reports.length === count && reports.every(({ problem }) => problem === undefined)) return;
    assert.ok(performance.now() < deadline, JSON.stringify(reports));
  }
}

/** The machine of a member, as join left it. */
function contextOf(index: number, options: Partial<LeaveContext['options']> = {}): LeaveContext {
  const member = cluster.members[index]!;
  const paths = machinePaths({ rootfs: join(dir, member.name) });
  const machine = machineFile(paths);
  mkdirSync(paths.etcdPki, { recursive: true });
  for (const name of ['ca.crt', 'healthcheck-client.crt', 'healthcheck-client.key'])
    writeFileSync(join(paths.etcdPki, name), '');
  if (!machine.exists())
    machine.update((record) => ({
      ...record,
      role: 'control-plane',
      nodeName: member.name,
      etcd: { name: member.name, peerURL: member.peerURL },
      services: (['etcd', 'apiserver', 'scheduler', 'node'] as const).map((name) => ({
        name,
        run: { capstan: [name] },
      })),
    }));
  followed = [];
  const unused = (): never => assert.fail('not for this phase');
  return {
    paths,
    machine,
    clock: realClock,
    dryRun: false,
    options: { force: false, bestEffort: false, drainTimeoutMs: 0, ...options },
    program: {
      client: unused,
      etcd: () => ({ ...bound(etcd), close: () => {} }),
      serverProblem: unused,
      followSupervisor: () =>
        Promise.resolve(
          void followed.push(
            machine
              .read()
              .services.map(({ name }) => name)
              .join('+'),
          ),
        ),
      stopSupervisor: unused,
      destroyNode: unused,
    },
    print: () => {},
    warn: (line) => void followed.push(`warning: ${line}`),
  };
}
const names = async (): Promise<string[]> =>
  (await etcd.list({ local: true })).map(({ name }) => name).toSorted();

it('stops what uses etcd, removes the member, then stops etcd; again is harmless', { skip }, async () => {
  const context = contextOf(2);
  await preflight.run!(context);
  await removeEtcdMember.run!(context);
  assert.deepEqual(followed, ['etcd+node', 'node']);
  assert.equal(context.machine.read().etcd, undefined);
  assert.deepEqual(await names(), ['m1', 'm2']);
  await removeEtcdMember.run!(context);
  await cluster.members[2]!.kill();
  etcd.close();
  etcd = openMembership(cluster.members.slice(0, 2));
  await untilHealthy(2);
});

it('changes nothing where the others would have no quorum', { skip }, async () => {
  await cluster.members[0]!.kill();
  const context = contextOf(1);
  for (const phase of [preflight, removeEtcdMember])
    await assert.rejects(
      phase.run!(context),
      /Without m2 etcd has 1 voting members of which 0 are healthy.*To leave all the same: --force/,
    );
  assert.deepEqual(followed, []);
  assert.equal(context.machine.read().services.length, 4);
  const forced = contextOf(1, { force: true, bestEffort: true });
  await preflight.run!(forced);
});

it('does not take the last control plane, unless that is meant', { skip }, async () => {
  const { members } = cluster;
  const [m1, m2] = members;
  m1!.start({ members, state: 'existing' });
  await untilHealthy(2);
  const [gone] = (await etcd.list()).filter(({ name }) => name === 'm2');
  for (;;)
    try {
      await etcd.remove(gone!.id);
      break;
    } catch (error) {
      assert.match(String(error), /unhealthy cluster/);
      await sleep(200);
    }
  await m2!.kill();
  etcd.close();
  etcd = openMembership([m1!]);
  await assert.rejects(preflight.run!(contextOf(0)), /m1 is the last control plane: without it the cluster/);
  const forced = contextOf(0, { force: true });
  await removeEtcdMember.run!(forced);
  assert.deepEqual(await names(), ['m1']);
  assert.deepEqual(forced.machine.read().etcd?.name, 'm1');
});
