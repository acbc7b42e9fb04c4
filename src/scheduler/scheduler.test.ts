/** The component against a real API server; checks the resulting API objects. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { identities } from '#cmd/all-in-one/identities.ts';
import {
  deviceClasses,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  priorityClasses,
  resourceClaims,
  services,
  storageClasses,
} from '#client/refs.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { NAMESPACE, until, worldFor, type World } from './testing/cluster.ts';
import type { PodOptions } from './testing/snapshot.ts';

describe('the scheduler', () => {
  it('binds existing and new pods', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    await w.pod('early', { cpu: '1' });
    await w.scheduler();
    assert.equal(await w.placed('early'), 'x');
    await w.pod('late');
    assert.equal(await w.placed('late'), 'x');
    assert.equal(await w.eventOf('late', 'Scheduled'), 'Successfully assigned default/late to x');
    assert.equal(
      (await w.read('late')).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.status,
      'True',
    );
  });

  it('tells what pods request while it leads', async (t) => {
    const w = await worldFor(t);
    const [resourceMetrics, ofStandby] = [new MetricsRegistry(), new MetricsRegistry()];
    await w.pod('a', { cpu: '1' });
    await w.scheduler({ resourceMetrics, leaderElect: {} });
    await until('it leads', async () => /pod="a".* 1$/m.test(resourceMetrics.render()));
    await w.scheduler({ resourceMetrics: ofStandby, leaderElect: {}, identity: 'standby' });
    assert.equal(ofStandby.render(), '\n');
  });

  it('reports why a pod is pending, and binds it once there is room', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    await w.node('tainted', { spec: { taints: [{ key: 'k', effect: 'NoSchedule' }] } });
    await w.scheduler();
    await w.pod('first', { cpu: '3' });
    await w.placed('first');
    await w.pod('second', { cpu: '2' });
    const message =
      '0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.';
    assert.equal(await w.refusal('second'), message);
    assert.equal(await w.eventOf('second', 'FailedScheduling'), message);
    await w.api.delete(pods, { name: 'first', namespace: NAMESPACE }, { gracePeriodSeconds: 0 });
    assert.equal(await w.placed('second'), 'x');
  });

  it('binds no pod whose claim is not allocated, and reserves the claim first', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    await w.scheduler();
    const at = { name: 'c', namespace: NAMESPACE };
    await w.pod('p', { spec: { resourceClaims: [{ name: 'gpu', resourceClaimName: 'c' }] } });
    await w.pod('q', { spec: { resourceClaims: [{ name: 'gpu', resourceClaimTemplateName: 't' }] } });
    assert.match(await w.refusal('p'), /: resourceclaim\.resource\.k8s\.io "c" not found\./);
    assert.match(await w.refusal('q'), /: pod "default\/q": ResourceClaim not created yet\./);
    await w.api.create(deviceClasses, { metadata: { name: 'gpus' }, spec: {} });
    const exactly = { deviceClassName: 'gpus' };
    await w.api.create(resourceClaims, {
      metadata: at,
      spec: { devices: { requests: [{ name: 'one', exactly }] } },
    });
    const message = /: 1 cannot allocate all claims\. still not schedulable, preemption: /;
    await until('it waits for devices', async () => message.test(await w.refusal('p')));
    assert.equal((await w.read('p')).spec?.nodeName, undefined);
    const made = await w.api.get(resourceClaims, at);
    const results = [{ request: 'one', driver: 'd.example.com', pool: 'x', device: 'gpu0' }];
    await w.api.updateStatus(resourceClaims, { ...made, status: { allocation: { devices: { results } } } });
    assert.equal(await w.placed('p'), 'x');
    const { uid } = (await w.read('p')).metadata!;
    assert.deepEqual((await w.api.get(resourceClaims, at)).status?.reservedFor, [
      { resource: 'pods', name: 'p', uid },
    ]);
    assert.equal((await w.read('q')).spec?.nodeName, undefined);
  });

  it('waits for nodes to be added', async (t) => {
    const w = await worldFor(t);
    await w.scheduler();
    await w.pod('a');
    assert.equal(await w.refusal('a'), 'no nodes available to schedule pods');
    await w.node('x');
    assert.equal(await w.placed('a'), 'x');
  });

  it('preempts, keeps the room for the nominated pod, and binds it', async (t) => {
    const w = await worldFor(t);
    await w.api.create(priorityClasses, { metadata: { name: 'vip' }, value: 1000 });
    await w.node('x');
    await w.scheduler();
    await w.pod('victim', { cpu: '3' });
    await w.placed('victim');
    await w.pod('important', { cpu: '3', className: 'vip' });
    const nominated = await until(
      'a node is promised',
      async () => (await w.read('important')).status?.nominatedNodeName || false,
    );
    assert.equal(nominated, 'x');
    const victim = await until('the victim ends', async () => {
      const found = await w.read('victim');
      return found.metadata?.deletionTimestamp !== undefined && found;
    });
    const target = victim.status?.conditions?.find(({ type }) => type === 'DisruptionTarget');
    assert.deepEqual(
      [target?.status, target?.reason, target?.message],
      ['True', 'PreemptionByScheduler', 'default-scheduler: preempting to accommodate a higher priority pod'],
    );
    // It would fit if the node were not nominated for another pod.
    await w.pod('sneaky', { cpu: '3' });
    await w.refusal('sneaky');
    await w.api.delete(pods, { name: 'victim', namespace: NAMESPACE }, { gracePeriodSeconds: 0 });
    assert.equal(await w.placed('important'), 'x');
    assert.equal((await w.read('sneaky')).spec?.nodeName ?? '', '');
    assert.equal(
      await w.eventOf('victim', 'Preempted'),
      `Preempted by pod ${(await w.read('important')).metadata?.uid} on node x`,
    );
  });

  it('preempts again when a victim could not be deleted', async (t) => {
    const w = await worldFor(t);
    await w.api.create(priorityClasses, { metadata: { name: 'vip' }, value: 1000 });
    await w.node('x');
    const real = w.testApi.clientAs(identities.scheduler);
    let failures = 0;
    const api = real.over((transport) => ({
      request: (request) =>
        request.method === 'DELETE' && failures === 0
          ? Promise.reject(new Error(`the network is down (${(failures += 1)})`))
          : transport.request(request),
      close: () => transport.close(),
    }));
    await w.scheduler({ api });
    await w.pod('victim', { cpu: '3' });
    await w.placed('victim');
    await w.pod('important', { cpu: '3', className: 'vip' });
    await until('the victim ends', async () => (await w.read('victim')).metadata?.deletionTimestamp);
    assert.equal(failures, 1);
    await w.api.delete(pods, { name: 'victim', namespace: NAMESPACE }, { gracePeriodSeconds: 0 });
    assert.equal(await w.placed('important'), 'x');
  });

  it('ignores gated pods and those of other schedulers', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    await w.scheduler();
    await w.pod('gated', { spec: { schedulingGates: [{ name: 'wait' }] } });
    await w.pod('foreign', { spec: { schedulerName: 'other' } });
    await w.pod('plain');
    await w.placed('plain');
    assert.deepEqual(
      [(await w.read('gated')).spec?.nodeName, (await w.read('foreign')).spec?.nodeName],
      [undefined, undefined],
    );
    await w.api.patch(
      pods,
      { name: 'gated', namespace: NAMESPACE },
      { type: 'merge', patch: { spec: { schedulingGates: null } } },
    );
    assert.equal(await w.placed('gated'), 'x');
  });

  it('spreads the pods of a Service, and never over-commits a node when many pods are created at once', async (t) => {
    const w = await worldFor(t);
    for (const name of ['x', 'y', 'z']) await w.node(name, { pods: '10' });
    await w.api.create(services, {
      metadata: { name: 'web', namespace: NAMESPACE },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    });
    await w.scheduler();
    await Promise.all(
      Array.from({ length: 33 }, (_, index) => w.pod(`web-${index}`, { labels: { app: 'web' } })),
    );
    const settled = await until('30 are placed and 3 are refused', async () => {
      const { items } = await w.api.list(pods, { namespace: NAMESPACE });
      const done = items.every(
        (one) =>
          one.spec?.nodeName ||
          one.status?.conditions?.some(({ type, status }) => type === 'PodScheduled' && status === 'False'),
      );
      return done && items;
    });
    const perNode = Map.groupBy(
      settled.filter((one) => one.spec?.nodeName),
      (one) => one.spec?.nodeName,
    );
    assert.deepEqual(
      [...perNode.values()].map((list) => list.length),
      [10, 10, 10],
    );
  });

  it('another instance takes over after the leader stops', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    const first = await w.scheduler({ identity: 'first', leaderElect: {} });
    await w.scheduler({
      identity: 'second',
      leaderElect: { retryPeriodMs: 100, renewDeadlineMs: 2_000, leaseDurationMs: 3_000 },
    });
    await w.pod('a');
    await w.placed('a');
    await first.stop();
    await w.pod('b');
    assert.equal(await w.placed('b'), 'x');
  });
});

describe('volumes', () => {
  const requests = { storage: '1Gi' };
  const using = (claimName: string): PodOptions => ({
    spec: { volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
  });

  async function worldWithClass(t: TestContext, provisioner: string): Promise<World> {
    const w = await worldFor(t);
    await w.node('x', { labels: { zone: 'a' } });
    await w.node('y', { labels: { zone: 'b' } });
    await w.api.create(storageClasses, {
      metadata: { name: 'patient' },
      provisioner,
      volumeBindingMode: 'WaitForFirstConsumer',
    });
    await w.scheduler({ backoff: { initialMs: 20, maximumMs: 50 } });
    await w.api.create(persistentVolumeClaims, {
      metadata: { name: 'data', namespace: NAMESPACE },
      spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'patient', resources: { requests } },
    });
    return w;
  }
  const claim = (w: World) => w.api.get(persistentVolumeClaims, { name: 'data', namespace: NAMESPACE });
  /** Plays the volume binder. */
  async function finishBinding(w: World, volumeName: string): Promise<void> {
    const waiting = await claim(w);
    const bound = await w.api.update(persistentVolumeClaims, {
      ...waiting,
      metadata: {
        ...waiting.metadata,
        annotations: { ...waiting.metadata.annotations, 'pv.kubernetes.io/bind-completed': 'yes' },
      },
      spec: { ...waiting.spec, volumeName },
    });
    await w.api.updateStatus(persistentVolumeClaims, { ...bound, status: { phase: 'Bound' } });
  }
  const volume = (name: string, more: object = {}) => ({
    metadata: { name },
    spec: {
      capacity: requests,
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'patient',
      local: { path: '/mnt/disk' },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['b'] }] }],
        },
      },
      ...more,
    },
  });

  it('a claim that waits gets a volume that its node reaches, before the pod is bound', async (t) => {
    const w = await worldWithClass(t, 'kubernetes.io/no-provisioner');
    await w.pod('user', using('data'));
    assert.match(await w.refusal('user'), /2 node\(s\) didn't find available persistent volumes to bind/);
    const made = await w.api.create(persistentVolumes, volume('disk'));
    await w.api.updateStatus(persistentVolumes, { ...made, status: { phase: 'Available' } });
    const taken = await until('the volume is reserved', async () => {
      const found = await w.api.get(persistentVolumes, { name: 'disk' });
      return found.spec?.claimRef && found;
    });
    assert.equal(taken.spec?.claimRef?.uid, (await claim(w)).metadata.uid);
    assert.equal(taken.metadata.annotations?.['pv.kubernetes.io/bound-by-controller'], 'yes');
    assert.equal((await w.read('user')).spec?.nodeName, undefined, 'not yet bound');
    await finishBinding(w, 'disk');
    assert.equal(await w.placed('user'), 'y');
  });

  it('a provisioner gets the chosen node; one that gives up lets the pod be scheduled again', async (t) => {
    const w = await worldWithClass(t, 'example.org/disks');
    await w.pod('user', { ...using('data'), spec: { ...using('data').spec, nodeSelector: { zone: 'b' } } });
    const selected = (): Promise<string> =>
      until('a node is selected', async () => {
        const found = await claim(w);
        return found.metadata.annotations?.['volume.kubernetes.io/selected-node'];
      });
    assert.equal(await selected(), 'y');
    const { metadata, ...rest } = await claim(w);
    await w.api.update(persistentVolumeClaims, { ...rest, metadata: { ...metadata, annotations: {} } });
    assert.equal(
      await w.eventOf('user', 'FailedScheduling'),
      'running PreBind plugin "VolumeBinding": binding volumes: selectedNode annotation reset for PVC "data"',
    );
    assert.equal(await selected(), 'y', 'tried again');
    const { uid } = (await claim(w)).metadata;
    await w.api.create(
      persistentVolumes,
      volume('made', {
        claimRef: { kind: 'PersistentVolumeClaim', namespace: NAMESPACE, name: 'data', uid },
      }),
    );
    await finishBinding(w, 'made');
    assert.equal(await w.placed('user'), 'y');
  });
});
