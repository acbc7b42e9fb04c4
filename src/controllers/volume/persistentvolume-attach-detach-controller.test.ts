import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Node, Pod, VolumeAttachment } from '#api/types.ts';
import {
  events,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  serviceAccounts,
  volumeAttachments,
} from '#client/refs.ts';
import { attachmentName } from '#component-helpers/csi.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { persistentVolumeAttachDetachController } from './persistentvolume-attach-detach-controller.ts';

const MANAGED = { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' };

describe('attaching and detaching', () => {
  let world: TestWorld;
  beforeEach(async () => {
    world = await startTestWorld([persistentVolumeAttachDetachController]);
    await world.namespace('shop');
    await world.api
      .create(serviceAccounts, { metadata: { name: 'default', namespace: 'shop' } })
      .catch(() => {});
    for (const name of ['n1', 'n2'])
      await world.api.create(nodes, { metadata: { name, annotations: MANAGED } });
  });
  afterEach(() => world.stop());

  async function claim(name: string, accessModes = ['ReadWriteOnce']): Promise<void> {
    const made = await world.api.create(persistentVolumeClaims, {
      metadata: { name, namespace: 'shop' },
      spec: {
        accessModes,
        volumeName: name,
        storageClassName: '',
        resources: { requests: { storage: '1Gi' } },
      },
    });
    await world.api.create(persistentVolumes, {
      metadata: { name },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes,
        claimRef: { name, namespace: 'shop', uid: made.metadata.uid },
        csi: { driver: 'd.test', volumeHandle: `h-${name}` },
      },
    });
  }

  async function podOn(
    nodeName: string,
    { name, claimName }: { name: string; claimName: string },
  ): Promise<Pod> {
    return world.api.create(pods, {
      metadata: { name, namespace: 'shop' },
      spec: {
        nodeName,
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'i' }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }],
      },
    });
  }

  const nameFor = (claimName: string, nodeName: string): string =>
    attachmentName({ driver: 'd.test', volumeHandle: `h-${claimName}` }, nodeName);
  const attachment = (claimName: string, nodeName: string): Promise<VolumeAttachment | undefined> =>
    world.find(volumeAttachments, { name: nameFor(claimName, nodeName) });

  /** Plays the attacher. */
  async function attached(claimName: string, nodeName: string): Promise<void> {
    const found = await world.until('attachment made', () => attachment(claimName, nodeName));
    await world.api.updateStatus(volumeAttachments, {
      ...(found as VolumeAttachment & { metadata: { name: string } }),
      status: { attached: true },
    } as never);
  }

  async function inUse(nodeName: string, volumesInUse: string[]): Promise<void> {
    await world.api.patch(
      nodes,
      { name: nodeName },
      { type: 'merge', subresource: 'status', patch: { status: { volumesInUse } } },
    );
  }

  const shown = async (nodeName: string): Promise<string[]> =>
    ((await world.api.get(nodes, { name: nodeName })) as Node).status?.volumesAttached?.map(
      ({ name }) => name,
    ) ?? [];
  const messages = async (reason: string): Promise<string[]> =>
    (await world.api.list(events, { namespace: 'shop' })).items
      .filter((event) => event.reason === reason)
      .map((event) => event.message ?? '');

  it('attaches for a pod, shows it on the node, and detaches only what the node does not use any more', async () => {
    await claim('data');
    const pod = await podOn('n1', { name: 'p', claimName: 'data' });
    await attached('data', 'n1');
    const unique = 'kubernetes.io/csi/d.test^h-data';
    await world.until('shown on the node', async () => (await shown('n1')).includes(unique));
    const found = await attachment('data', 'n1');
    assert.deepEqual(found?.spec, {
      attacher: 'd.test',
      nodeName: 'n1',
      source: { persistentVolumeName: 'data' },
    });
    await world.until('event', async () => (await messages('SuccessfulAttachVolume')).length === 1);
    assert.deepEqual(await messages('SuccessfulAttachVolume'), [
      'AttachVolume.Attach succeeded for volume "data" ',
    ]);
    await inUse('n1', [unique]);
    await world.api.delete(pods, { name: 'p', namespace: 'shop' }, { gracePeriodSeconds: 0 });
    await world.until('not shown any more', async () => (await shown('n1')).length === 0);
    await world.pass(5_000);
    assert.ok(await attachment('data', 'n1'), 'the node uses it still');
    await inUse('n1', []);
    await world.until('detached', async () => !(await attachment('data', 'n1')));
    assert.equal(pod.metadata?.name, 'p');
  });

  it('a volume of one node goes to another only when the first has given it up', async () => {
    await claim('single');
    await podOn('n1', { name: 'first', claimName: 'single' });
    await podOn('n2', { name: 'second', claimName: 'single' });
    const holder = await world.until('one holds it', async () =>
      (await attachment('single', 'n1')) ? 'n1' : (await attachment('single', 'n2')) ? 'n2' : undefined,
    );
    const other = holder === 'n1' ? 'n2' : 'n1';
    await attached('single', holder);
    await world.until('the other waits', async () => (await messages('FailedAttachVolume')).length === 1);
    const holding = holder === 'n1' ? 'first' : 'second';
    assert.deepEqual(await messages('FailedAttachVolume'), [
      `Multi-Attach error for volume "single" Volume is already used by pod(s) ${holding}`,
    ]);
    await world.pass(5_000);
    assert.equal(await attachment('single', other), undefined);
    assert.equal((await messages('FailedAttachVolume')).length, 1);
    await world.api.delete(pods, { name: holding, namespace: 'shop' }, { gracePeriodSeconds: 0 });
    await world.until('the other has it', () => attachment('single', other));
    assert.equal(await attachment('single', holder), undefined);
  });

  it('a volume of many nodes is attached to each', async () => {
    await claim('many', ['ReadWriteMany']);
    await podOn('n1', { name: 'one', claimName: 'many' });
    await podOn('n2', { name: 'two', claimName: 'many' });
    await attached('many', 'n1');
    await attached('many', 'n2');
  });

  it('forces a volume off a node that is out of service, or not ready for 6 minutes', async () => {
    for (const [name, prepare] of [
      [
        'taint',
        () =>
          world.api.patch(
            nodes,
            { name: 'n1' },
            {
              type: 'merge',
              patch: {
                spec: { taints: [{ key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }] },
              },
            },
          ),
      ],
      ['silent', () => world.pass(7 * 60_000)],
    ] as const) {
      const node = name === 'taint' ? 'n1' : 'n2';
      await claim(name);
      await podOn(node, { name, claimName: name });
      await attached(name, node);
      const unique = `kubernetes.io/csi/d.test^h-${name}`;
      await world.until('shown', async () => (await shown(node)).includes(unique));
      await inUse(node, [unique]);
      await world.api.delete(pods, { name, namespace: 'shop' }, { gracePeriodSeconds: 0 });
      await world.pass(60_000);
      assert.ok(await attachment(name, node));
      await prepare();
      await world.until('detached', async () => !(await attachment(name, node)));
    }
  });

  it("says what the attacher said, and leaves others' attachments alone", async () => {
    await claim('bad');
    const foreign = await world.api.create(volumeAttachments, {
      metadata: { name: 'by-hand' },
      spec: { attacher: 'x', nodeName: 'n1', source: { persistentVolumeName: 'none' } },
    });
    await podOn('n1', { name: 'p', claimName: 'bad' });
    const found = await world.until('made', () => attachment('bad', 'n1'));
    await world.api.updateStatus(volumeAttachments, {
      ...found,
      status: { attached: false, attachError: { time: '2026-01-01T00:00:00Z', message: 'no such disk' } },
    } as never);
    await world.until('event', async () => (await messages('FailedAttachVolume')).length === 1);
    assert.deepEqual(await messages('FailedAttachVolume'), [
      'AttachVolume.Attach failed for volume "bad" : no such disk',
    ]);
    assert.ok(await world.find(volumeAttachments, { name: foreign.metadata.name }));
  });
});
