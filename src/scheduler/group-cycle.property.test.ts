/** Random gangs in random clusters: none is bound below minCount, each that fits is bound, and a refused attempt leaves the cluster as it was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import type { Client } from '#client/client.ts';
import { silentLogger } from '#stdx/log.ts';
import type { Stored } from '#machinery/object.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { Assigner } from './assigner.ts';
import { BindingCycle } from './binding-cycle.ts';
import type { SchedulerCache } from './cache.ts';
import { Decider } from './decider.ts';
import { GroupCycle } from './group-cycle.ts';
import { GroupMetrics } from './group-metrics.ts';
import { GroupReporter } from './group-reporter.ts';
import { SchedulerMetrics } from './metrics.ts';
import { Nominator } from './nominator.ts';
import { pluginsWith } from './plugins/list.ts';
import { PodGroups } from './pod-groups.ts';
import { PodReporter } from './pod-reporter.ts';
import { PostFilter } from './post-filter.ts';
import { PreemptionExecutor } from './preemption-executor.ts';
import { SchedulingQueue } from './queue.ts';
import { SchedulingCycle } from './scheduling-cycle.ts';
import { node, pod, world } from './testing/snapshot.ts';
import { WriteSlots } from './write-slots.ts';

const WORLDS = 40;
const GANGS = 8;
const below = (random: Random, most: number): number => Math.floor(random() * most);
const SIZES = {
  queues: { active: 0, backoff: 0, unschedulable: 0, gated: 0 },
  cache: { nodes: 0, pods: 0, assumed_pods: 0 },
  refusals: [],
  inFlight: {},
  writes: 0,
};

/** The parts of a scheduler that decide on groups. What they write is kept here instead of in an API server. */
function schedulerOf(random: Random) {
  const bound: string[] = [];
  const deleted: string[] = [];
  const fenced = {
    patch: async () => ({}),
    create: async () => ({}),
    delete: async (_ref: unknown, { name }: { name: string }) => void deleted.push(name),
    createSubresource: async (_ref: unknown, { name }: { name: string }) => void bound.push(name),
  } as unknown as Client;
  const nodes = Array.from({ length: 2 + below(random, 5) }, (_, index) =>
    node(`n${index}`, { cpu: String(1 + below(random, 6)), pods: String(1 + below(random, 6)) }),
  );
  const nominator = new Nominator();
  const { cache, snapshot } = world({ nodes, nominated: (name) => nominator.on(name) });
  const kept = new Map<string, Stored<PodGroup>>();
  const find = (key: string) => kept.get(key);
  const groups = new PodGroups({ find, isPlaced: (uid) => cache.isPlaced(uid) });
  const [clock, log] = [new FakeClock(), silentLogger];
  const features = new Set(['GangScheduling']);
  const profile = { schedulerName: 'default-scheduler', plugins: pluginsWith({}, features) };
  const queue = new SchedulingQueue({ clock, plugins: profile.plugins, groups, onReady: () => {} });
  const metrics = new SchedulerMetrics(undefined, () => SIZES);
  const reporter = new PodReporter({ fenced, clock, log, profiles: [profile], informer: () => undefined });
  const slots = new WriteSlots(1000, log);
  const unused = {
    extenders: undefined,
    claimBinder: { postFilter: async () => undefined } as never,
    volumeBinder: undefined as never,
  };
  const shared = {
    ...unused,
    fenced,
    clock,
    log,
    cache,
    queue,
    nominator,
    metrics,
    reporter,
    slots,
    groups,
    random,
  };
  const postFilter = new PostFilter({
    ...shared,
    executor: new PreemptionExecutor(shared),
    budgets: () => [],
  });
  const bindingCycle = new BindingCycle({ ...shared, mayWrite: () => true });
  const deciding = {
    ...shared,
    decider: new Decider({ ...shared, snapshot }),
    assigner: new Assigner({ ...shared, bindingCycle }),
    postFilter,
  };
  const single = new SchedulingCycle({
    ...deciding,
    profiles: new Map([[profile.schedulerName, profile]]),
  });
  const cycle = new GroupCycle({
    ...deciding,
    single,
    groupMetrics: new GroupMetrics(undefined),
    groupReporter: new GroupReporter({ fenced, clock, log, find }),
  });
  return { cycle, queue, cache, groups, kept, nominator, slots, bound, deleted, clock, reporter };
}

type Parts = ReturnType<typeof schedulerOf>;

function shown(cache: SchedulerCache, nominator: Nominator): unknown {
  return [...cache.byName.values()].map((info) => [
    info.name,
    [...info.pods.keys()].toSorted(),
    { ...info.requested },
    { ...info.scoringRequested },
    nominator.on(info.name).map(({ uid }) => uid),
  ]);
}

/** How many pods of so much CPU the nodes take. */
function roomFor(milliCPU: number, cache: SchedulerCache): number {
  let room = 0;
  for (const { allocatable, requested, podLimit, pods } of cache.byName.values())
    room += Math.min(
      Math.floor((allocatable.milliCPU - requested.milliCPU) / milliCPU),
      podLimit - pods.size,
    );
  return room;
}

/** A gang of equal pods; some of it may be there already. Returns the names of the pods. */
function addGang(parts: Parts, { name, random }: { readonly name: string; readonly random: Random }) {
  const size = 1 + below(random, 6);
  const minCount = 1 + below(random, size);
  const milliCPU = 250 * (1 + below(random, 6));
  parts.kept.set(`default/${name}`, {
    metadata: { name, namespace: 'default' },
    spec: { schedulingPolicy: { gang: { minCount } } },
  } as Stored<PodGroup>);
  const schedulingGroup = { podGroupName: name };
  const members = Array.from({ length: size }, (_, index) =>
    pod(`${name}-${index}`, {
      spec: {
        containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: `${milliCPU}m` } } }],
        schedulingGroup,
      },
    }),
  );
  for (const member of members) parts.groups.set(member);
  for (const member of members) parts.queue.set(member);
  return { size, minCount, milliCPU };
}

test('gangs are bound whole or not at all', async () => {
  const counts = { bound: 0, refused: 0 };
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const random = seededRandom(seed);
    const parts = schedulerOf(random);
    const { cycle, queue, cache, nominator, slots, bound } = parts;
    for (let number = 0; number < GANGS; number += 1) {
      const where = `seed ${seed}, gang ${number}`;
      const name = `g${number}`;
      const { size, minCount, milliCPU } = addGang(parts, { name, random });
      const fitting = Math.min(size, roomFor(milliCPU, cache));
      const before = shown(cache, nominator);
      await cycle.run(queue.pop()!);
      await slots.settled();
      const members = bound.filter((one) => one.startsWith(`${name}-`)).length;
      assert.equal(members, fitting >= minCount ? fitting : 0, where);
      if (members === 0) assert.deepEqual(shown(cache, nominator), before, where);
      counts[members > 0 ? 'bound' : 'refused'] += 1;
      assert.equal(queue.pop(), undefined, where);
    }
    queue.stop();
    parts.reporter.stop();
  }
  assert.ok(counts.bound > WORLDS && counts.refused > WORLDS, JSON.stringify(counts));
});

test('victims go only for a gang that fits once they are gone, and are back otherwise', async () => {
  const counts = { preempting: 0, refused: 0 };
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const random = seededRandom(1000 + seed);
    const parts = schedulerOf(random);
    const { cycle, queue, cache, nominator, slots, deleted, bound } = parts;
    const total = roomFor(1000, cache);
    // Fills each node with pods that anybody may preempt.
    for (const { name, allocatable, podLimit } of cache.byName.values())
      for (let index = 0; index < Math.min(allocatable.milliCPU / 1000, podLimit); index += 1)
        cache.setPod(pod(`low-${name}-${index}`, { on: name, cpu: '1', priority: -1 }));
    const size = 1 + below(random, 2 * total);
    parts.kept.set('default/g', {
      metadata: { name: 'g', namespace: 'default' },
      spec: { schedulingPolicy: { gang: { minCount: size } } },
    } as Stored<PodGroup>);
    const members = Array.from({ length: size }, (_, index) =>
      pod(`g-${index}`, {
        cpu: '1',
        spec: { ...pod('x', { cpu: '1' }).spec, schedulingGroup: { podGroupName: 'g' } },
      }),
    );
    for (const member of members) parts.groups.set(member);
    for (const member of members) queue.set(member);
    const before = shown(cache, nominator);
    await cycle.run(queue.pop()!);
    await slots.settled();
    assert.deepEqual(bound, [], `seed ${seed}`);
    assert.equal(deleted.length, size <= total ? size : 0, `seed ${seed}`);
    if (size > total) assert.deepEqual(shown(cache, nominator), before, `seed ${seed}`);
    else assert.equal(members.filter(({ metadata }) => nominator.nodeOf(metadata!.uid!)).length, size);
    counts[size <= total ? 'preempting' : 'refused'] += 1;
    queue.stop();
    parts.reporter.stop();
  }
  assert.ok(counts.preempting > 5 && counts.refused > 5, JSON.stringify(counts));
});
