/** An upgrade of a cluster of which only the API is real: its machines are a table that a driver changes. Killed at every step and run again; gates that fail; the way back. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Client } from '#client/client.ts';
import { configMaps, leases, nodes, podDisruptionBudgets, pods, serviceAccounts } from '#client/refs.ts';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { applyUpgrade } from './apply.ts';
import { observeMachines } from './observe.ts';
import { makePlan, renderPlan } from './plan.ts';
import { rollBackUpgrade, type RollbackJournal, type RollbackOptions } from './rollback.ts';
import { UpgradeRecord, type UpgradeState } from './state.ts';
import { FakeCluster, FROM, Killed, TO, type FakeMachine } from './testing/fake-cluster.ts';
import type { ApplyOptions } from './tools.ts';

let cluster: FakeCluster;
let api: Client;
let machines: FakeMachine[];
let changes: string[];
let printed: string[];
/** What was running between two changes, for the rules that hold at any moment. */
let seen: string[];

beforeEach(async () => {
  cluster = await FakeCluster.start(['m1', 'm2', 'm3', 'w1', 'w2']);
  ({ api, machines } = cluster);
  changes = [];
  printed = [];
  seen = [];
});
afterEach(() => cluster.stop());

const find = (name: string): FakeMachine => cluster.find(name);
const at = (server: string): Client => cluster.at(server);
const postStatus = (name: string): Promise<void> => cluster.postStatus(name);

interface Run {
  readonly killAt?: string;
  readonly extra?: () => Promise<string | undefined>;
  readonly drain?: boolean;
}

async function options({ killAt, extra, drain = true }: Run = {}): Promise<ApplyOptions> {
  const clock = skippingClock();
  const record = new UpgradeRecord(api, Date.now);
  if (!(await record.load())) await record.begin({ from: FROM, to: TO, emulated: '1.36' });
  const gates = cluster.gates(clock, extra);
  return {
    api,
    at,
    clock,
    record,
    gates,
    driver: {
      async change({ name }, { step, emulated }) {
        changes.push(`${step} ${name}`);
        const machine = find(name);
        if (step === 'control-plane') Object.assign(machine, { git: TO, emulated: emulated ?? '1.37' });
        if (step === 'raise') machine.emulated = '1.37';
        if (step === 'node') machine.kubelet = TO;
        if (step === 'hold') Object.assign(machine, { stopped: true, kubelet: FROM });
        if (step === 'rollback-node') machine.kubelet = FROM;
        if (step === 'rollback')
          Object.assign(machine, { git: FROM, emulated: '1.36', kubelet: FROM, stopped: false });
        seen.push(machines.map((one) => `${one.git} ${one.emulated} ${one.kubelet}`).join('\n'));
        checkSkew();
        await postStatus(name);
      },
    },
    print: (line) => void printed.push(line),
    backup: () => Promise.resolve('backup-1'),
    leader: () => Promise.resolve('m1'),
    drain,
    drainTimeoutMs: 60_000,
    soakMs: 5_000,
    machineTimeoutMs: 60_000,
    before(step) {
      changes.push(`· ${step}`);
      if (step === killAt) throw new Killed(step);
    },
  };
}

async function patchRecord(to: string): Promise<UpgradeRecord> {
  const record = new UpgradeRecord(api, Date.now);
  await record.load();
  await record.update({ to });
  return record;
}

/** A node agent is never newer than any API server. */
function checkSkew(): void {
  const planes = machines.filter(({ role, stopped }) => role === 'control-plane' && !stopped);
  if (machines.some(({ kubelet }) => kubelet === TO))
    assert.ok(
      planes.every(({ git }) => git === TO),
      'a node agent is newer than an API server',
    );
}

async function state(): Promise<UpgradeState> {
  const { data } = await api.get(configMaps, { name: 'capstan-upgrade', namespace: 'kube-system' });
  return JSON.parse(data!['state']!) as UpgradeState;
}

const steps = (): string[] => changes.filter((line) => !line.startsWith('·'));

describe('apply', () => {
  test('control planes with the leader last, raise, then node agents; workers are drained', async () => {
    const ClusterConfiguration = 'kind: ClusterConfiguration\nkubernetesVersion: v1.36.0\n';
    const metadata = { name: 'kubeadm-config', namespace: 'kube-system' };
    await api.create(configMaps, { metadata, data: { ClusterConfiguration } });
    assert.equal(await applyUpgrade(await options()), 'done');
    assert.match((await api.get(configMaps, metadata)).data!['ClusterConfiguration']!, /: v1\.37\.0$/m);
    assert.deepEqual(steps().slice(0, 11), [
      'control-plane m2',
      'control-plane m3',
      'control-plane m1',
      'raise m2',
      'raise m3',
      'raise m1',
      'node m2',
      'node m3',
      'node m1',
      'node w1',
      'node w2',
    ]);
    const { phase, backup, cordoned } = await state();
    assert.deepEqual([phase, backup, cordoned], ['done', 'backup-1', []]);
    assert.ok(machines.every(({ kubelet }) => kubelet === TO));
    const { items } = await api.list(nodes);
    assert.ok(items.every(({ spec }) => !spec?.unschedulable));
    assert.ok(printed.some((line) => line.includes('w1: The Node') || line.includes('No pod is left')));
    // Said for status and for the next apply.
    assert.equal(await applyUpgrade(await options()), 'done');
  });

  test('the machine whose controllers lead is the very last', async () => {
    const metadata = { name: 'kube-controller-manager', namespace: 'kube-system' };
    await api.create(leases, { metadata, spec: { holderIdentity: 'm2_3f0c' } });
    assert.equal(await applyUpgrade(await options()), 'done');
    assert.deepEqual(steps().slice(0, 3), ['control-plane m3', 'control-plane m1', 'control-plane m2']);
  });

  test('killed at every step, run again', async () => {
    await applyUpgrade(await options());
    const points = changes.filter((line) => line.startsWith('·')).map((line) => line.slice(2));
    assert.ok(points.length >= 15, points.join());
    for (const killAt of points) {
      await api.delete(configMaps, { name: 'capstan-upgrade', namespace: 'kube-system' });
      for (const machine of machines) {
        Object.assign(machine, { git: FROM, emulated: '1.36', kubelet: FROM });
        await postStatus(machine.name);
      }
      changes = [];
      await assert.rejects(applyUpgrade(await options({ killAt })), Killed);
      const before = steps();
      assert.equal(await applyUpgrade(await options()), 'done', killAt);
      const repeated = steps()
        .slice(before.length)
        .filter((line) => before.includes(line) && !line.startsWith('finish'));
      assert.deepEqual(repeated, [], `done twice after a kill at ${killAt}`);
      assert.ok(machines.every(({ kubelet }) => kubelet === TO));
      const { items } = await api.list(nodes);
      assert.ok(
        items.every(({ spec }) => !spec?.unschedulable),
        `cordoned after a kill at ${killAt}`,
      );
    }
  });

  test('a gate that stays shut before the raise takes everything back by itself', async () => {
    const extra = (): Promise<string | undefined> =>
      Promise.resolve(find('m3').git === TO ? 'the test says so' : undefined);
    assert.equal(await applyUpgrade(await options({ extra })), 'rolled-back');
    assert.deepEqual(steps(), ['control-plane m2', 'control-plane m3', 'rollback m2', 'rollback m3']);
    assert.ok(machines.every(({ git, kubelet }) => git === FROM && kubelet === FROM));
    assert.match((await state()).problem!, /m3: the test says so/);
  });

  test('killed while it takes everything back, it goes on with that', async () => {
    const extra = (): Promise<string | undefined> =>
      Promise.resolve(find('m3').git === TO ? 'the test says so' : undefined);
    await assert.rejects(applyUpgrade(await options({ extra, killAt: 'rollback m3' })), Killed);
    assert.equal((await state()).phase, 'rollback');
    assert.equal(await applyUpgrade(await options()), 'rolled-back');
    assert.ok(machines.every(({ git }) => git === FROM));
  });

  test('a gate that stays shut in the raise: all behave as the old version again, and it stops', async () => {
    let ill = true;
    const extra = (): Promise<string | undefined> =>
      Promise.resolve(ill && find('m3').emulated === '1.37' ? 'no' : undefined);
    assert.equal(await applyUpgrade(await options({ extra })), 'raise');
    assert.ok(machines.every(({ emulated }) => emulated === '1.36'));
    assert.match((await state()).problem!, /m3: no/);
    ill = false;
    assert.equal(await applyUpgrade(await options({ extra })), 'done');
  });

  test('an API server that is not ready is a gate', async () => {
    find('m2').ill = true;
    assert.equal(await applyUpgrade(await options()), 'rolled-back');
    assert.match((await state()).problem!, /API server of m2: not ready: \[-\]etcd failed/);
  });

  test('a pod that begins to loop is a gate; one that did before is not, also after a kill', async () => {
    const pod = async (name: string): Promise<void> => {
      const made = await api.create(pods, {
        metadata: { name, namespace: 'default' },
        spec: { automountServiceAccountToken: false, containers: [{ name: 'c', image: 'i' }] },
      });
      const waiting = { reason: 'CrashLoopBackOff', message: '' };
      const container = {
        name: 'c',
        image: 'i',
        imageID: '',
        ready: false,
        restartCount: 3,
        state: { waiting },
      };
      await api.updateStatus(pods, { ...made, status: { containerStatuses: [container] } });
    };
    await api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
    await pod('before');
    await assert.rejects(applyUpgrade(await options({ killAt: 'soak' })), Killed);
    assert.deepEqual((await state()).baseline, { notReady: [], looping: ['default/before'] });
    await pod('after');
    assert.equal(await applyUpgrade(await options()), 'rolled-back');
    assert.match((await state()).problem!, /^soak: Pod default\/after is in CrashLoopBackOff$/);
  });

  test('errors of an API server are a gate, and it says which count', async () => {
    find('m1').errors = 8;
    assert.equal(await applyUpgrade(await options()), 'rolled-back');
    assert.match(
      (await state()).problem!,
      /API server of m1: \d+ of \d+ requests were answered with 500 \(429, 503 and 504, which clients retry, do not count\)/,
    );
  });

  test('a budget that blocks a drain stops it, is named, and the Node takes pods again', async () => {
    await api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
    const owner = {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      name: 'r',
      uid: randomUUID(),
      controller: true,
    };
    const labels = { app: 'front' };
    const made = await api.create(pods, {
      metadata: { name: 'front', namespace: 'default', labels, ownerReferences: [owner] },
      spec: {
        nodeName: 'w1',
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        containers: [{ name: 'c', image: 'i' }],
      },
    });
    const conditions = [{ type: 'Ready', status: 'True' }];
    await api.updateStatus(pods, { ...made, status: { phase: 'Running', conditions } });
    const budget = { metadata: { name: 'guard', namespace: 'default' } };
    const guard = await api.create(podDisruptionBudgets, {
      ...budget,
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    });
    const none = { currentHealthy: 1, desiredHealthy: 1, disruptionsAllowed: 0, expectedPods: 1 };
    await api.updateStatus(podDisruptionBudgets, { ...guard, status: { ...none, observedGeneration: 1 } });
    assert.equal(await applyUpgrade(await options()), 'nodes');
    assert.match(
      (await state()).problem!,
      /^w1 cannot be drained: after 60 s .* default\/front \(Cannot evict pod .* disruption budget guard .*--no-drain$/,
    );
    assert.deepEqual((await state()).cordoned, []);
    assert.ok(!(await api.get(nodes, { name: 'w1' })).spec?.unschedulable);
    assert.equal(find('w1').kubelet, FROM);
    await api.delete(podDisruptionBudgets, { name: 'guard', namespace: 'default' });
    assert.equal(await applyUpgrade(await options()), 'done');
  });

  test('without a drain workers are not cordoned, and a Node that an administrator cordoned stays so', async () => {
    await api.patch(nodes, { name: 'w2' }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    assert.equal(await applyUpgrade(await options({ drain: false })), 'done');
    assert.ok(!printed.some((line) => line.includes('cordoned')));
    assert.equal((await api.get(nodes, { name: 'w2' })).spec?.unschedulable, true);
  });

  test('clocks that jump an hour at every step, either way', async () => {
    const { clock, before, ...rest } = await options();
    let offsetMs = 0;
    const jumping = { ...clock, now: () => clock.now() + offsetMs };
    const record = new UpgradeRecord(api, jumping.now);
    await record.load();
    const jump = (step: string): void => {
      before?.(step);
      offsetMs = offsetMs > 0 ? -3_600_000 : 3_600_000;
    };
    assert.equal(await applyUpgrade({ ...rest, clock: jumping, record, before: jump }), 'done');
    assert.ok(machines.every(({ kubelet }) => kubelet === TO));
  });

  test('two at the same time: the second is refused', async () => {
    const first = await options();
    const second = await options();
    await first.record.update({ phase: 'soak' });
    await assert.rejects(applyUpgrade(second), /Another `capstan upgrade` is at work/);
  });
});

describe('rollback', () => {
  let restored: number;
  let journal: RollbackJournal | undefined;
  beforeEach(() => {
    restored = 0;
    journal = undefined;
  });
  const backup = {
    report: () => Promise.resolve(3),
    restore: () => {
      restored += 1;
      assert.ok(machines.every(({ role, stopped }) => role === 'worker' || stopped));
      return Promise.resolve();
    },
  };
  async function rollback(
    run: Run & { readonly confirmed?: boolean; readonly backup?: RollbackOptions['backup'] } = {},
  ): Promise<void> {
    await rollBackUpgrade({
      ...(await options(run)),
      confirmed: run.confirmed ?? true,
      backup: run.backup ?? (() => Promise.resolve(backup)),
      journal: {
        read: () => journal,
        write: (next) => (journal = structuredClone(next)),
        remove: () => (journal = undefined),
      },
    });
  }

  test('before the raise: only the programs, and no backup is touched', async () => {
    await assert.rejects(applyUpgrade(await options({ killAt: 'soak' })), Killed);
    await rollback({ confirmed: false, backup: () => Promise.reject(new Error('unused')) });
    assert.ok(machines.every(({ git }) => git === FROM));
    assert.equal((await state()).phase, 'rolled-back');
    assert.match(printed.at(-1)!, /nothing that was written is lost/);
  });

  test('killed at every step before the raise, run again', async () => {
    const halfway = async (): Promise<void> => {
      for (const { name, role } of machines)
        Object.assign(find(name), { git: role === 'worker' ? FROM : TO, emulated: '1.36', kubelet: FROM });
      const { record } = await options();
      await record.load();
      await record.update({ phase: 'soak', cordoned: ['w1'], raised: undefined });
      await api.patch(nodes, { name: 'w1' }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    };
    await halfway();
    changes = [];
    await rollback();
    const points = changes.filter((line) => line.startsWith('·')).map((line) => line.slice(2));
    assert.deepEqual(points, ['rollback m1', 'rollback m2', 'rollback m3']);
    for (const killAt of points) {
      await halfway();
      await assert.rejects(rollback({ killAt }), Killed);
      // Either command goes on with it.
      if (killAt === 'rollback m2') assert.equal(await applyUpgrade(await options()), 'rolled-back');
      else await rollback();
      assert.ok(
        machines.every(({ git, kubelet }) => git === FROM && kubelet === FROM),
        killAt,
      );
      assert.equal((await state()).phase, 'rolled-back', killAt);
      assert.ok(!(await api.get(nodes, { name: 'w1' })).spec?.unschedulable, killAt);
      assert.equal(restored, 0, 'no backup is touched');
    }
  });

  test('after the raise: what was written since is listed, and the backup restored only with --yes', async () => {
    await applyUpgrade(await options());
    await assert.rejects(rollback({ confirmed: false }), /3 objects were written since backup-1; with --yes/);
    assert.equal(restored, 0);
    changes = [];
    await rollback();
    assert.equal(restored, 1);
    assert.deepEqual(steps().slice(0, 8), [
      'rollback w1',
      'rollback w2',
      'hold m1',
      'hold m2',
      'hold m3',
      'rollback m1',
      'rollback m2',
      'rollback m3',
    ]);
    assert.ok(machines.every(({ git, kubelet, stopped }) => git === FROM && kubelet === FROM && !stopped));
  });

  test('raised and lowered again: the new version may have stored what the old one does not know', async () => {
    const extra = (): Promise<string | undefined> =>
      Promise.resolve(find('m2').emulated === '1.37' ? 'no' : undefined);
    assert.equal(await applyUpgrade(await options({ extra })), 'raise');
    assert.ok(machines.every(({ emulated }) => emulated === '1.36'));
    await assert.rejects(rollback({ confirmed: false }), /3 objects were written since backup-1/);
    await rollback();
    assert.equal(restored, 1);
  });

  test('killed at every step after the raise, run again', { timeout: 120_000 }, async () => {
    const raise = async (): Promise<void> => {
      for (const machine of machines)
        Object.assign(machine, { git: TO, emulated: '1.37', kubelet: TO, stopped: false });
      for (const { name } of machines) await postStatus(name);
      const { record } = await options();
      await record.load();
      await record.update({ phase: 'done', raised: true, backup: 'backup-1' });
    };
    await raise();
    changes = [];
    await rollback();
    const points = changes.filter((line) => line.startsWith('·')).map((line) => line.slice(2));
    assert.deepEqual(points, [
      'rollback w1',
      'rollback w2',
      'hold m1',
      'hold m2',
      'hold m3',
      'restore',
      'rollback m1',
      'rollback m2',
      'rollback m3',
      'record',
    ]);
    for (const killAt of points) {
      await raise();
      restored = 0;
      await assert.rejects(rollback({ killAt }), Killed);
      assert.ok(journal, killAt);
      // What was written to the restored cluster meanwhile is not lost by the second run.
      const wasRestored = restored;
      await rollback({ confirmed: false });
      assert.equal(restored, 1, `${killAt}: restored ${wasRestored} times before the kill`);
      assert.ok(
        machines.every(({ git, kubelet, stopped }) => git === FROM && kubelet === FROM && !stopped),
        killAt,
      );
      assert.deepEqual([journal, (await state()).phase], [undefined, 'rolled-back'], killAt);
    }
  });
});

describe('plan', () => {
  const plan = async (target: string): Promise<string> => {
    const made = await makePlan({ api, machines: await observeMachines(api, at), target, nowMs: Date.now() });
    return renderPlan(made).join('\n');
  };

  test('says what runs, what would be done, and what is in the way', async () => {
    const text = await plan(TO);
    assert.match(text, /^Upgrade from v1\.36\.0\+capstan\.0\.1\.0 to v1\.37\.0\+capstan\.0\.2\.0\n/);
    assert.match(text, /control planes one by one.*: m1, m2, m3; the new program behaves as 1\.36/);
    assert.match(text, /workers by cordon, drain, node agent, uncordon: w1, w2/);
    assert.match(text, /error +leases: Lease kube-system\/kube-scheduler/);
    assert.match(text, /in the way\.$/);
  });

  test('skips no minor version, never goes back, and sees a silent API server', async () => {
    assert.match(
      await plan('v1.38.0'),
      /from 1\.36 to 1\.38 a minor version is skipped\n +→ upgrade to 1\.37 first/,
    );
    assert.match(await plan('v1.35.0'), /1\.35 is older than 1\.36, which runs/);
    find('m2').stopped = true;
    assert.match(await plan(TO), /API server of m2: it does not answer at m2:6443/);
  });

  test('between two of one minor version nothing is raised', async () => {
    const text = await plan('v1.36.1+capstan.0.1.1');
    assert.doesNotMatch(text, /raise|behaves as/);
    assert.equal(
      await applyUpgrade({
        ...(await options()),
        record: await patchRecord('v1.36.1+capstan.0.1.1'),
        machineTimeoutMs: 1_000,
      }),
      'rolled-back',
      'the fake driver makes another version: it never comes',
    );
    assert.ok(!steps().some((line) => line.startsWith('raise')));
  });

  test('nothing to do', async () => {
    assert.equal(await plan(FROM), `Every machine runs ${FROM}: there is nothing to upgrade.`);
  });
});
