/**
 * Upgrades of three control planes and two workers under load: killed at a step and run again, taken back by a gate, done, and taken back after the raise. A
 * client that repeats what may be repeated sees no failure, and pods stay where they are.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { until } from '#testing/cluster.ts';
import { buildSecondVersion, type SecondVersion } from '#testing/second-version.ts';
import { UpgradeCluster, upgradeObstacle } from '#testing/upgrade/cluster.ts';

const PODS = 6;
/** What apply and rollback are killed at, one after the other, each run from where the last one ended. */
const KILLED_AT = ['control-planes', 'control-plane m2', 'soak', 'raise m3', 'node w1', 'migrate', 'finish'];
const POD_UIDS = '/api/v1/namespaces/default/pods?labelSelector=app%3Dkept';

interface LoadResult {
  readonly written: number;
  readonly read: number;
  readonly repeated: number;
  readonly failed: readonly string[];
  readonly longestMs: number;
}

interface List<T> {
  readonly items: readonly T[];
}

interface SeenNode {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly unschedulable?: boolean };
  readonly status: { readonly nodeInfo: { readonly kubeletVersion: string } };
}

interface SeenPod {
  readonly metadata: { readonly uid: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly phase?: string;
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

describe('upgrade of three control planes and two workers', { skip: upgradeObstacle }, () => {
  let cluster: UpgradeCluster;
  let next: SecondVersion;
  before(async () => {
    next = buildSecondVersion();
    cluster = new UpgradeCluster({ planes: 3, workers: 2, subnet: '10.222.2' });
    await cluster.start();
    await cluster.ready();
    await createPods();
  });
  after(async () => {
    await cluster?.close();
    next?.remove();
  });

  async function createPods(): Promise<void> {
    const spec = { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'pause' }] };
    const body = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'kept' },
      spec: {
        replicas: PODS,
        selector: { matchLabels: { app: 'kept' } },
        template: { metadata: { labels: { app: 'kept' } }, spec },
      },
    };
    const path = '/apis/apps/v1/namespaces/default/deployments';
    assert.match(await cluster.request('POST', path, JSON.stringify(body)), /^201/);
    await until('pods to run', async () => (await pods()).every(({ phase }) => phase === 'Running'), 120_000);
  }

  async function pods(): Promise<{ uid: string; node: string; phase: string; restarts: number }[]> {
    const { items } = await cluster.json<List<SeenPod>>(POD_UIDS);
    assert.ok(items.length >= PODS, `${items.length} pods`);
    return items
      .map(({ metadata, spec, status }) => ({
        uid: metadata.uid,
        node: spec.nodeName ?? '',
        phase: status.phase ?? '',
        restarts: (status.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0),
      }))
      .toSorted((a, b) => a.uid.localeCompare(b.uid));
  }

  async function requireVersion(version: string): Promise<void> {
    for (const { address } of cluster.planes) {
      const answer = await cluster.requestAt(`https://${address}:6443`, 'GET', '/version');
      assert.match(answer, new RegExp(version.replaceAll(/[.+]/g, '\\$&')), address);
    }
    const { items } = await cluster.json<List<SeenNode>>('/api/v1/nodes');
    for (const { metadata, spec, status } of items) {
      assert.equal(status.nodeInfo.kubeletVersion, version, metadata.name);
      assert.ok(!spec.unschedulable, metadata.name);
    }
  }

  /** Work under load from both workers; what a careful client saw. */
  async function underLoad(name: string, work: () => Promise<void>): Promise<void> {
    const loads = cluster.workers.map((worker) => cluster.startLoad(worker, `${name}-${worker.name}`));
    const results = loads.map((load) => text(load.stdout!));
    try {
      await work();
    } finally {
      for (const load of loads) process.kill(load.pid!, 'SIGTERM');
    }
    await Promise.all(loads.map((load) => once(load, 'exit')));
    for (const result of results) {
      const found = JSON.parse(await result) as LoadResult;
      process.stdout.write(`${name}: ${JSON.stringify(found)}\n`);
      assert.deepEqual(found.failed, []);
      assert.ok(found.written > 10 && found.read === found.written);
    }
  }

  test('a gate that stays shut takes it back by itself, under load', { timeout: 900_000 }, () =>
    underLoad('gate', async () => {
      const { code, stdout } = await cluster.apply(next.dir, { shutAt: 'm3' });
      assert.equal(code, 1, stdout);
      assert.match(stdout, /The upgrade was taken back: every machine runs/, `${stdout}${cluster.logs()}`);
      await requireVersion(KUBERNETES_VERSION);
    }),
  );

  test('killed at steps and run again it is done; pods stay, etcd too', { timeout: 1_800_000 }, async () => {
    const kept = await pods();
    const etcd = cluster.planes.map((plane) => cluster.pids(plane, '--listen-peer-urls'));
    await underLoad('upgrade', async () => {
      for (const killAt of KILLED_AT) {
        const { code, stdout } = await cluster.apply(next.dir, { killAt });
        assert.notEqual(code, 0, `not killed at ${killAt}: ${stdout}`);
      }
      const { code, stdout, stderr } = await cluster.apply(next.dir);
      assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
      await requireVersion(next.version);
    });
    assert.deepEqual(await pods(), kept);
    assert.deepEqual(
      cluster.planes.map((plane) => cluster.pids(plane, '--listen-peer-urls')),
      etcd,
    );
  });

  test(
    'rollback after the raise: the objects of the backup, on every machine',
    { timeout: 900_000 },
    async () => {
      const body = JSON.stringify({ metadata: { name: 'late' } });
      assert.match(await cluster.request('POST', '/api/v1/namespaces/default/configmaps', body), /^201/);
      const { code, stdout, stderr } = await cluster.apply(next.dir, { command: 'rollback' });
      assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
      assert.match(stdout, /^created +configmaps default\/late$/m);
      await requireVersion(KUBERNETES_VERSION);
      assert.match(await cluster.request('GET', '/api/v1/namespaces/default/configmaps/late'), /^404/);
      await until(
        'pods to run',
        async () => (await pods()).every(({ phase }) => phase === 'Running'),
        120_000,
      );
    },
  );
});
