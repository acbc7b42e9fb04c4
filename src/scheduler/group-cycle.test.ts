/** PodGroups and the scheduler against a real API server with the gates GenericWorkload and GangScheduling. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import { podGroupsV1alpha2, pods, priorityClasses } from '#client/refs.ts';
import { servingFrom } from '#cmd/apiserver/flags/serving.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { pluginsWith } from './plugins/list.ts';
import type { SchedulerOptions } from './scheduler.ts';
import { NAMESPACE, until, worldFor, type World } from './testing/cluster.ts';

const FEATURES = new Set(['GenericWorkload', 'GangScheduling']);
const serving = servingFrom({
  featureGates: 'GenericWorkload=true',
  runtimeConfig: 'scheduling.k8s.io/v1alpha2=true',
});

async function start(t: TestContext, options: Partial<SchedulerOptions> = {}): Promise<World> {
  const w = await worldFor(t, { serving });
  await w.scheduler({ features: FEATURES, backoff: { initialMs: 50, maximumMs: 100 }, ...options });
  return w;
}

async function group(w: World, name: string, minCount: number): Promise<void> {
  await w.api.create(podGroupsV1alpha2, {
    metadata: { name, namespace: NAMESPACE },
    spec: { schedulingPolicy: minCount > 0 ? { gang: { minCount } } : { basic: {} } },
  });
}

interface MemberOptions {
  readonly cpu?: string;
  readonly className?: string;
  readonly schedulerName?: string;
}

async function member(
  w: World,
  name: string,
  { schedulerName, ...options }: MemberOptions = {},
): Promise<void> {
  const podGroupName = name.split('-')[0]!;
  await w.pod(name, {
    cpu: '1',
    ...options,
    spec: {
      containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: options.cpu ?? '1' } } }],
      schedulingGroup: { podGroupName },
      terminationGracePeriodSeconds: 0,
      ...(schedulerName ? { schedulerName } : {}),
    },
  });
}

async function bound(w: World): Promise<string[]> {
  const { items } = await w.api.list(pods, { namespace: NAMESPACE });
  return items.filter(({ spec }) => spec?.nodeName).map(({ metadata }) => metadata.name);
}

async function condition(w: World, name: string, reason: string) {
  return until(`group ${name} is ${reason}`, async () => {
    const found: PodGroup = await w.api.get(podGroupsV1alpha2, { name, namespace: NAMESPACE });
    return found.status?.conditions?.find((one) => one.type === 'PodGroupScheduled' && one.reason === reason);
  });
}

describe('gangs', () => {
  it('wait for their group and for minCount pods, and are bound together', async (t) => {
    const w = await start(t);
    await w.node('x');
    for (const name of ['g-a', 'g-b']) await member(w, name);
    await w.pod('alone');
    await w.placed('alone');
    assert.deepEqual(await bound(w), ['alone']);
    await group(w, 'g', 3);
    await w.pod('later');
    await w.placed('later');
    assert.deepEqual(await bound(w), ['alone', 'later']);
    await member(w, 'g-c');
    for (const name of ['g-a', 'g-b', 'g-c']) assert.equal(await w.placed(name), 'x');
    assert.equal((await condition(w, 'g', 'Scheduled')).status, 'True');
    // One more than it needs.
    await member(w, 'g-d', { cpu: '500m' });
    assert.equal(await w.placed('g-d'), 'x');
  });

  it('hold nothing while they do not fit, and are bound once they do', async (t) => {
    const metrics = new MetricsRegistry();
    const w = await start(t, { metrics });
    await w.node('x', { cpu: '2' });
    await group(w, 'g', 3);
    for (const name of ['g-a', 'g-b', 'g-c']) await member(w, name);
    const messages = (await Promise.all(['g-a', 'g-b', 'g-c'].map((name) => w.refusal(name)))).toSorted();
    assert.match(messages[0]!, /^0\/1 nodes are available: 1 Insufficient cpu\. /);
    const waiting = 'pod group is unschedulable, waiting for minCount pods from a gang to be scheduled';
    assert.deepEqual(messages.slice(1), [waiting, waiting]);
    const { status, message } = await condition(w, 'g', 'Unschedulable');
    assert.deepEqual([status, message], ['False', 'pod group is unschedulable']);
    await w.pod('alone', { cpu: '2' });
    assert.equal(await w.placed('alone'), 'x');
    assert.deepEqual(await bound(w), ['alone']);
    await w.node('y', { cpu: '3' });
    for (const name of ['g-a', 'g-b', 'g-c']) assert.equal(await w.placed(name), 'y');
    await condition(w, 'g', 'Scheduled');
    const shown = metrics.render();
    for (const result of ['scheduled', 'unschedulable'])
      assert.match(
        shown,
        new RegExp(
          `^scheduler_podgroup_schedule_attempts_total\\{profile="default-scheduler",result="${result}"\\} [1-9]`,
          'm',
        ),
      );
  });

  it('preempt for the whole group, and nobody for one that does not fit', async (t) => {
    const w = await start(t);
    await w.api.create(priorityClasses, { metadata: { name: 'vip' }, value: 1000 });
    await w.node('x', { cpu: '2' });
    const containers = [{ name: 'c', image: 'i', resources: { requests: { cpu: '2' } } }];
    await w.pod('low', { spec: { containers, terminationGracePeriodSeconds: 0 } });
    await w.placed('low');
    await group(w, 'large', 3);
    for (const name of ['large-a', 'large-b', 'large-c']) await member(w, name, { className: 'vip' });
    await condition(w, 'large', 'Unschedulable');
    await group(w, 'g', 2);
    assert.deepEqual(await bound(w), ['low']);
    for (const name of ['large-a', 'large-b', 'large-c'])
      await w.api.delete(pods, { name, namespace: NAMESPACE });
    for (const name of ['g-a', 'g-b']) await member(w, name, { className: 'vip' });
    for (const name of ['g-a', 'g-b']) assert.equal(await w.placed(name), 'x');
    assert.deepEqual(await bound(w), ['g-a', 'g-b']);
  });

  it('fail where two profiles are named', async (t) => {
    const plugins = pluginsWith({}, FEATURES);
    const w = await start(t, {
      profiles: ['default-scheduler', 'other'].map((schedulerName) => ({ schedulerName, plugins })),
    });
    await group(w, 'g', 2);
    await w.node('x');
    await member(w, 'g-a');
    await member(w, 'g-b', { schedulerName: 'other' });
    assert.match(
      await w.refusal('g-a'),
      /^all pods in a single pod group should have the same .spec.schedulerName set, got: "\S+" and "\S+"$/,
    );
    assert.deepEqual(await bound(w), []);
  });

  it('do not count pods that wait for another scheduler', async (t) => {
    const w = await start(t);
    await group(w, 'g', 2);
    await w.node('x');
    await member(w, 'g-a');
    await member(w, 'g-b', { schedulerName: 'other' });
    await w.pod('alone');
    await w.placed('alone');
    assert.deepEqual(await bound(w), ['alone']);
  });
});

it('a group with the basic policy is scheduled as far as there is room', async (t) => {
  const w = await start(t);
  await w.node('x', { cpu: '2' });
  await group(w, 'g', 0);
  for (const name of ['g-a', 'g-b', 'g-c']) await member(w, name);
  await until('two are bound', async () => (await bound(w)).length === 2);
  await condition(w, 'g', 'Scheduled');
});
