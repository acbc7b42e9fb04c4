import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { DaemonSet, DaemonSetStatus, Pod } from '#api/types.ts';
import { controllerRevisions, daemonSets, nodes, pods } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { daemonSetController } from './daemonset-controller.ts';
import { targetNode } from './daemonset/model.ts';

function daemonSet(namespace: string, spec: Partial<NonNullable<DaemonSet['spec']>> = {}): DaemonSet {
  const template = {
    metadata: { labels: { app: 'log' } },
    spec: {
      containers: [{ name: 'c', image: 'log:1' }],
      terminationGracePeriodSeconds: 0,
      nodeSelector: { [namespace]: 'yes' },
    },
  };
  return {
    metadata: { name: 'log', namespace },
    spec: { selector: { matchLabels: { app: 'log' } }, template, ...spec },
  };
}

describe('daemonset-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([daemonSetController]);
  });
  after(() => world.stop());

  const podsOf = async (namespace: string): Promise<Pod[]> =>
    (await world.api.list(pods, { namespace })).items;
  const places = async (namespace: string): Promise<string> =>
    (await podsOf(namespace))
      .map((pod) => `${targetNode(pod)}=${pod.spec!.containers[0]!.image}`)
      .sort()
      .join(' ');
  const status = async (namespace: string): Promise<DaemonSetStatus | undefined> =>
    (await world.api.get(daemonSets, { name: 'log', namespace })).status;
  const setImage = (namespace: string, image: string): Promise<DaemonSet> =>
    world.api.patch(
      daemonSets,
      { name: 'log', namespace },
      { type: 'strategic', patch: { spec: { template: { spec: { containers: [{ name: 'c', image }] } } } } },
    );

  /** Nodes that match only the daemon set of this namespace. */
  async function nodesFor(namespace: string, count: number): Promise<void> {
    for (let index = 1; index <= count; index++)
      await world.node(`${namespace}-${index}`, (node) => {
        node.metadata!.labels![namespace] = 'yes';
      });
  }

  async function runAll(namespace: string): Promise<void> {
    for (const pod of await podsOf(namespace)) {
      if (pod.metadata!.deletionTimestamp || pod.status?.phase === 'Running') continue;
      if (!pod.spec!.nodeName) await world.bind(pod, targetNode(pod)!);
      await world.setPod(pod, {});
    }
  }

  it('places a pod on each eligible node, also on new and relabelled ones, and deletes it from ineligible ones', async () => {
    await world.namespace('place');
    await nodesFor('place', 2);
    await world.node('stranger');
    await world.api.create(daemonSets, daemonSet('place'));
    await world.until('two', async () => (await places('place')) === 'place-1=log:1 place-2=log:1');
    await runAll('place');
    await world.until('status', async () => (await status('place'))?.numberAvailable === 2);
    assert.deepEqual(await status('place'), {
      currentNumberScheduled: 2,
      numberMisscheduled: 0,
      desiredNumberScheduled: 2,
      numberReady: 2,
      observedGeneration: 1,
      updatedNumberScheduled: 2,
      numberAvailable: 2,
    });
    const [pod] = await podsOf('place');
    assert.ok(
      pod!.spec!.tolerations!.some(
        ({ key, effect }) => key === 'node.kubernetes.io/unschedulable' && effect === 'NoSchedule',
      ),
    );
    assert.ok(pod!.metadata!.labels!['controller-revision-hash']);
    await world.api.patch(
      nodes,
      { name: 'stranger' },
      { type: 'merge', patch: { metadata: { labels: { place: 'yes' } } } },
    );
    await world.until('three', async () => (await podsOf('place')).length === 3);
    await world.api.patch(
      nodes,
      { name: 'place-1' },
      { type: 'merge', patch: { metadata: { labels: { place: null } } } },
    );
    await world.until('moved away', async () => (await places('place')) === 'place-2=log:1 stranger=log:1');
    await world.api.patch(
      nodes,
      { name: 'place-2' },
      { type: 'merge', patch: { spec: { taints: [{ key: 'gone', effect: 'NoExecute' }] } } },
    );
    await world.until('tainted', async () => (await places('place')) === 'stranger=log:1');
  });

  it('replaces a deleted and a failed pod', async () => {
    await world.namespace('replace');
    await nodesFor('replace', 1);
    await world.api.create(daemonSets, daemonSet('replace'));
    const [pod] = await world.until('pod', async () => {
      const list = await podsOf('replace');
      return list.length === 1 && list;
    });
    await runAll('replace');
    await world.setPod(pod!, { phase: 'Failed' });
    await world.until('another', async () => {
      const [next] = await podsOf('replace');
      return next && next.metadata!.uid !== pod!.metadata!.uid;
    });
  });

  it('updates within maxUnavailable, keeps revisions, and rolls back to one', async () => {
    await world.namespace('update');
    await nodesFor('update', 4);
    await world.api.create(
      daemonSets,
      daemonSet('update', {
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 2 } },
      }),
    );
    await world.until('four', async () => {
      await runAll('update');
      return (await status('update'))?.numberAvailable === 4;
    });
    await setImage('update', 'log:2');
    const violations: number[] = [];
    await world.until('updated', async () => {
      const ready = (await podsOf('update')).filter(
        (pod) => pod.status?.phase === 'Running' && !pod.metadata!.deletionTimestamp,
      ).length;
      if (ready < 2) violations.push(ready);
      await runAll('update');
      const now = await status('update');
      return now?.updatedNumberScheduled === 4 && now.numberAvailable === 4 && now.observedGeneration === 2;
    });
    assert.deepEqual(violations, []);
    assert.equal((await world.api.list(controllerRevisions, { namespace: 'update' })).items.length, 2);
    await setImage('update', 'log:1');
    await world.until('back', async () => {
      await runAll('update');
      return (await places('update')) === 'update-1=log:1 update-2=log:1 update-3=log:1 update-4=log:1';
    });
    const revisions = (await world.api.list(controllerRevisions, { namespace: 'update' })).items;
    assert.deepEqual(revisions.map(({ revision }) => revision).sort(), [2, 3]);
    // Clients compare the bytes with those of the template as Go writes it.
    const template = (await world.api.list(daemonSets, { namespace: 'update' })).items[0]!.spec!.template;
    assert.equal(
      JSON.stringify(revisions.find(({ revision }) => revision === 3)?.data),
      `{"spec":{"template":${sortedText({ ...template, $patch: 'replace' })}}}`,
    );
  });

  it('with maxSurge, starts the new pod before the old one is deleted', async () => {
    await world.namespace('surge');
    await nodesFor('surge', 2);
    await world.api.create(
      daemonSets,
      daemonSet('surge', {
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      }),
    );
    await world.until('two', async () => {
      await runAll('surge');
      return (await status('surge'))?.numberAvailable === 2;
    });
    await setImage('surge', 'log:2');
    await world.until('three', async () => (await podsOf('surge')).length === 3);
    await world.pass(300);
    assert.equal((await podsOf('surge')).length, 3);
    await world.until('updated', async () => {
      await runAll('surge');
      return (await places('surge')) === 'surge-1=log:2 surge-2=log:2';
    });
  });

  it('with OnDelete, replaces only deleted pods', async () => {
    await world.namespace('manual');
    await nodesFor('manual', 1);
    await world.api.create(daemonSets, daemonSet('manual', { updateStrategy: { type: 'OnDelete' } }));
    await world.until('one', async () => {
      await runAll('manual');
      return (await status('manual'))?.numberAvailable === 1;
    });
    await setImage('manual', 'log:2');
    await world.until('seen', async () => (await status('manual'))?.observedGeneration === 2);
    assert.equal(await places('manual'), 'manual-1=log:1');
    await world.finishPod((await podsOf('manual'))[0]!);
    await world.until('new one', async () => (await places('manual')) === 'manual-1=log:2');
  });
});

/** JSON with sorted fields. */
function sortedText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => `${JSON.stringify(name)}:${sortedText(inner)}`)
    .join(',')}}`;
}
