import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { createClient } from '#client/create.ts';
import { nodes, podDisruptionBudgets, pods, serviceAccounts } from '#client/refs.ts';
import type { Transport } from '#client/transport.ts';
import { realClock } from '#stdx/clock.ts';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { renderKubeconfig } from '../../pki/kubeconfig.ts';
import { machinePaths } from '../../machine/paths.ts';
import { machineFile } from '../../machine/record.ts';
import type { LeaveContext } from './context.ts';
import { deleteNode } from './delete-node.ts';
import { drain, drainNode } from './drain.ts';

let test: TestApi;
let dir: string;
let lines: string[] = [];
before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-drain-'));
  test = await startTestApi();
  await test.api.create(nodes, { metadata: { name: 'w1' } });
  await test.api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
});
after(async () => {
  await test.stop();
  rmSync(dir, { recursive: true });
});

function contextOf(options: Partial<LeaveContext['options']> = {}): LeaveContext {
  lines = [];
  const paths = machinePaths({ rootfs: dir });
  const machine = machineFile(paths);
  machine.update((record) => ({
    ...record,
    role: 'worker',
    nodeName: 'w1',
    controlPlaneEndpoint: 'api:6443',
    phases: {},
  }));
  const kubeconfig = join(dir, 'admin.conf');
  writeFileSync(
    kubeconfig,
    renderKubeconfig({
      server: 'https://api:6443',
      caPem: test.pki.ca.certificatePem,
      clusterName: 'k',
      userName: 'u',
      credentials: { token: 't' },
    }),
  );
  const program: LeaveContext['program'] = {
    client: () => createClient(test.api.transport, { userAgent: 'test' }),
    etcd: () => assert.fail('a worker has no etcd'),
    serverProblem: () => Promise.resolve(undefined),
    followSupervisor: () => Promise.resolve(),
    stopSupervisor: () => Promise.resolve(),
    destroyNode: () => Promise.resolve(),
  };
  return {
    paths,
    machine,
    program,
    clock: realClock,
    dryRun: false,
    options: {
      force: false,
      bestEffort: false,
      drainTimeoutMs: 1_500,
      gracePeriodSeconds: 0,
      kubeconfig,
      ...options,
    },
    print: (line) => lines.push(line),
    warn: (line) => lines.push(`warning: ${line}`),
  };
}

async function pod(name: string, metadata: Pod['metadata'] = {}): Promise<void> {
  const made = await test.api.create(pods, {
    metadata: { name, namespace: 'default', ...metadata },
    spec: { nodeName: 'w1', automountServiceAccountToken: false, containers: [{ name: 'c', image: 'i' }] },
  });
  // Budgets are not asked about pods that never ran.
  await test.api.updateStatus(pods, {
    ...made,
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
  });
}
const ownedBy = (kind: string) => [
  { apiVersion: 'apps/v1', kind, name: 'owner', uid: crypto.randomUUID(), controller: true },
];
const left = async (): Promise<string[]> =>
  (await test.api.list(pods, { namespace: 'default' })).items
    .map(({ metadata }) => metadata!.name!)
    .toSorted();

it('does not take pods that nobody makes again, unless forced', async () => {
  await pod('alone');
  await assert.rejects(drain.run!(contextOf()), /have no controller: default\/alone/);
  assert.deepEqual(await left(), ['alone']);
  await drain.run!(contextOf({ force: true }));
  assert.deepEqual(await left(), []);
  assert.equal((await test.api.get(nodes, { name: 'w1' })).spec?.unschedulable, true);
});

it('evicts by budgets, and leaves static pods and those of DaemonSets', async () => {
  await pod('web', { ownerReferences: ownedBy('ReplicaSet'), labels: { app: 'web' } });
  await pod('guarded', { ownerReferences: ownedBy('ReplicaSet'), labels: { app: 'guarded' } });
  await pod('daemon', { ownerReferences: ownedBy('DaemonSet') });
  await pod('static', { annotations: { 'kubernetes.io/config.mirror': 'x' } });
  const budget = await test.api.create(podDisruptionBudgets, {
    metadata: { name: 'guard', namespace: 'default' },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'guarded' } } },
  });
  await assert.rejects(
    drain.run!(contextOf()),
    /these pods are still on the Node "w1": default\/guarded \(Cannot evict .+ The disruption budget guard .+\).*--skip-phases drain/,
  );
  assert.deepEqual(await left(), ['daemon', 'guarded', 'static']);
  await test.api.delete(podDisruptionBudgets, { name: budget.metadata!.name!, namespace: 'default' });
  await drain.run!(contextOf());
  assert.deepEqual(await left(), ['daemon', 'static']);
});

it('waits no longer for a budget that the server asks to retry later than for the drain', async () => {
  await pod('late', { ownerReferences: ownedBy('ReplicaSet'), labels: { app: 'late' } });
  // No controller has looked at it: 429 with Retry-After: 10.
  await test.api.create(podDisruptionBudgets, {
    metadata: { name: 'unseen', namespace: 'default' },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'late' } } },
  });
  const asked: string[] = [];
  const transport: Transport = {
    request(request) {
      if (request.method === 'POST') asked.push(request.path);
      return test.api.transport.request(request);
    },
    close: () => Promise.resolve(),
  };
  const clock = skippingClock();
  const context = { ...contextOf({ drainTimeoutMs: 32_000 }), clock };
  const api = createClient(transport, { userAgent: 'test', clock });
  await assert.rejects(
    drainNode(context, { api, nodeName: 'w1' }),
    /default\/late \(Cannot evict .+ The disruption budget unseen is still being processed by the server\./,
  );
  assert.equal(asked.length, 4, 'at 0, 10, 20 and 30 s');
  assert.ok(clock.monotonic() <= 32_500, `${clock.monotonic()} ms`);
  await assert.rejects(drainNode({ ...context, begin: 0 }, { api, nodeName: 'w1' }), /after 32 s/);
  assert.ok(clock.monotonic() <= 32_500, 'gone on with, it has no time of its own');
  await test.api.delete(podDisruptionBudgets, { name: 'unseen', namespace: 'default' });
  await drainNode(context, { api, nodeName: 'w1' });
  assert.deepEqual(await left(), ['daemon', 'static']);
});

it('deletes the Node, and does neither again once that is done', async () => {
  const context = contextOf();
  await deleteNode.run!(context);
  assert.match(lines.join('\n'), /Deleted the Node "w1"/);
  await deleteNode.run!(context);
  assert.match(lines.join('\n'), /There is no Node "w1"/);
  await drain.run!(context);
  assert.match(lines.join('\n'), /\[drain\] There is no Node "w1"/);
  context.machine.update((record) => ({ ...record, phases: { leave: ['drain', 'delete-node'] } }));
  const before = lines.length;
  await drain.run!({
    ...context,
    program: { ...context.program, serverProblem: () => Promise.resolve('nobody answers') },
  });
  assert.equal(lines.length, before);
});
