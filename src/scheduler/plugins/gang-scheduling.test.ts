import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import type { Pod } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { PodGroups } from '../pod-groups.ts';
import { SchedulingQueue } from '../queue.ts';
import { pod } from '../testing/snapshot.ts';
import { gangScheduling } from './gang-scheduling.ts';

const member = (name: string, group: string): Pod =>
  pod(name, { spec: { schedulingGroup: { podGroupName: group } } });
const groupOf = (name: string, schedulingPolicy: object): Stored<PodGroup> =>
  ({ metadata: { name, namespace: 'default' }, spec: { schedulingPolicy } }) as Stored<PodGroup>;

function setup() {
  const kept = new Map<string, Stored<PodGroup>>();
  const placed = new Set<string>();
  const groups = new PodGroups({ find: (key) => kept.get(key), isPlaced: (uid) => placed.has(uid) });
  return { kept, placed, groups };
}

test('gates pods until their group and minCount of them are there', () => {
  const { kept, groups } = setup();
  const [a, b] = [member('a', 'g'), member('b', 'g')];
  const gate = (): string | undefined => gangScheduling.preEnqueue?.(a, groups);
  groups.set(a);
  assert.equal(gate(), 'waiting for pods\'s pod group "g" to appear in scheduling queue');
  kept.set('default/g', groupOf('g', { gang: { minCount: 2 } }));
  assert.equal(gate(), 'waiting for minCount pods from a gang to appear in scheduling queue');
  groups.set(b);
  assert.equal(gate(), undefined);
  groups.delete(b);
  assert.notEqual(gate(), undefined);
  kept.set('default/g', groupOf('g', { basic: {} }));
  assert.equal(gate(), undefined);
  assert.equal(gangScheduling.preEnqueue?.(pod('alone'), groups), undefined);
});

test('permits once minCount have a node', () => {
  const { kept, placed, groups } = setup();
  const a = member('a', 'g');
  const permit = (scheduled: number): string | undefined => gangScheduling.permit?.(a, { groups, scheduled });
  assert.throws(
    () => permit(1),
    /^Error: failed to get podGroup default\/g: podgroup.scheduling.k8s.io "g" not found$/,
  );
  kept.set('default/g', groupOf('g', { gang: { minCount: 2 } }));
  assert.equal(permit(1), 'waiting for minCount pods from a gang to be scheduled');
  assert.equal(permit(2), undefined);
  groups.set(a);
  assert.equal(groups.scheduledCount(a), 0);
  placed.add(a.metadata?.uid ?? '');
  assert.equal(groups.scheduledCount(a), 1);
});

test('in the queue, pods of the same group and the group itself open the gate, others do not', () => {
  const { kept, groups } = setup();
  const hints: string[] = [];
  const queue = new SchedulingQueue({
    clock: new FakeClock(),
    plugins: [gangScheduling],
    groups,
    onReady: () => {},
    onHint: ({ event, isHelped }) => hints.push(`${event} ${isHelped}`),
  });
  const arrives = (one: Pod): void => {
    groups.set(one);
    queue.set(one);
    queue.event('unscheduled-pod-added', one);
  };
  const [a, b] = [member('a', 'g'), member('b', 'g')];
  arrives(a);
  arrives(member('other', 'h'));
  arrives(b);
  assert.equal(queue.pop(), undefined);
  const group = groupOf('g', { gang: { minCount: 3 } });
  kept.set('default/g', group);
  queue.event('pod-group-added', group);
  assert.equal(queue.pop(), undefined);
  const c = member('c', 'g');
  arrives(c);
  assert.equal(queue.activeSize, 3);
  assert.ok(hints.includes('PodGroupAdd true') && hints.includes('UnschedulablePodAdd true'));
  // One is popped, the others are taken out with it.
  queue.pop();
  assert.equal(queue.popPod(b.metadata?.uid ?? '')?.pod.metadata?.name, 'b');
  assert.equal(queue.popPod(b.metadata?.uid ?? ''), undefined);
  // Back after its backoff, whatever refused it.
  queue.failed(b.metadata?.uid ?? '', new Set(['NodeName']));
  assert.equal(queue.placeOf(b.metadata?.uid ?? ''), 'backoff');
  assert.equal(queue.popPod(b.metadata?.uid ?? '')?.attempts, 2);
  queue.stop();
});
