import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { DeviceTaint, DeviceToleration, ResourceSlice } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { deviceClasses, events, pods, resourceClaims, resourceSlices } from '#client/refs.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { deviceTaintEvictionController } from './device-taint-eviction-controller.ts';

const DRIVER = 'd.example.com';
const NO_EXECUTE: DeviceTaint = { key: 'broken', effect: 'NoExecute' };

describe('device-taint-eviction-controller', () => {
  let world: TestWorld;
  let number = 0;
  let namespace = '';
  let slice: Stored<ResourceSlice>;
  before(async () => {
    world = await startTestWorld([deviceTaintEvictionController]);
    await world.node('n');
    await world.api.create(deviceClasses, { metadata: { name: 'gpus' }, spec: {} });
  });
  after(() => world.stop());
  beforeEach(async () => {
    namespace = `ns-${++number}`;
    await world.namespace(namespace);
    slice = await publish({ name: `s-${number}`, generation: 1 });
  });

  /** A pool of its own for each test. */
  const publish = (
    { name, generation }: { readonly name: string; readonly generation: number },
    taints?: DeviceTaint[],
  ): Promise<Stored<ResourceSlice>> =>
    world.api.create(resourceSlices, {
      metadata: { name },
      spec: {
        driver: DRIVER,
        pool: { name: namespace, generation, resourceSliceCount: 1 },
        nodeName: 'n',
        devices: [{ name: '0', ...(taints ? { taints } : {}) }, { name: '1' }],
      },
    });
  const taint = async (...taints: DeviceTaint[]): Promise<void> => {
    slice = await world.api.update(resourceSlices, {
      ...slice,
      spec: { ...slice.spec, devices: [{ name: '0', taints }, { name: '1' }] },
    });
  };
  /** A running pod that uses a device. */
  async function user(
    name: string,
    {
      device = '0',
      tolerations,
    }: { readonly device?: string; readonly tolerations?: DeviceToleration[] } = {},
  ): Promise<Stored<Pod>> {
    const claim = await world.api.create(resourceClaims, {
      metadata: { name, namespace },
      spec: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'gpus' } }] } },
    });
    const pod = await world.api.create(pods, {
      metadata: { name, namespace },
      spec: {
        containers: [{ name: 'c', image: 'c:1' }],
        resourceClaims: [{ name: 'gpu', resourceClaimName: name }],
        terminationGracePeriodSeconds: 0,
      },
    });
    const result = {
      request: 'r',
      driver: DRIVER,
      pool: namespace,
      device,
      ...(tolerations && { tolerations }),
    };
    await world.api.updateStatus(resourceClaims, {
      ...claim,
      status: {
        allocation: { devices: { results: [result] } },
        reservedFor: [{ resource: 'pods', name, uid: pod.metadata.uid }],
      },
    });
    await world.bind(pod, 'n');
    return pod;
  }
  /** It was marked as a pod of a tainted device before it was deleted. */
  const evicted = (name: string): Promise<unknown> =>
    world.until(`${name} is evicted`, async () => {
      const pod = await world.find(pods, { name, namespace });
      return (
        !pod ||
        (pod.metadata?.deletionTimestamp &&
          pod.status?.conditions?.some(({ reason }) => reason === 'DeletionByDeviceTaintManager'))
      );
    });
  const stays = async (name: string): Promise<void> => {
    await world.pass(5_000);
    const pod = await world.find(pods, { name, namespace });
    assert.ok(pod && !pod.metadata?.deletionTimestamp, `${name} stays`);
  };
  const messages = async (): Promise<(string | undefined)[]> =>
    (await world.api.list(events, { namespace })).items
      .filter(({ reason }) => reason === 'DeviceTaintManagerEviction')
      .map(({ message }) => message);

  it('evicts the pods of a device that is tainted NoExecute, and no others', async () => {
    await user('uses');
    await user('other', { device: '1' });
    await user('tolerates', { tolerations: [{ key: 'broken', operator: 'Exists', effect: 'NoExecute' }] });
    await taint({ key: 'slow', effect: 'NoSchedule' });
    await stays('uses');
    await taint(NO_EXECUTE);
    await evicted('uses');
    await stays('other');
    await stays('tolerates');
    await world.until('the event', async () => (await messages()).includes('Marking for deletion'));
  });

  it('waits for what is tolerated from when the taint was added, and stops when the taint goes', async () => {
    const tolerations: DeviceToleration[] = [
      { key: 'broken', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 60 },
    ];
    const timeAdded = formatTime(world.clock.now() - 30_000);
    await user('waits', { tolerations });
    await taint({ ...NO_EXECUTE, timeAdded });
    await stays('waits');
    await taint();
    await world.until('the event', async () => (await messages()).includes('Cancelling deletion'));
    await world.pass(60_000);
    await stays('waits');
    await taint({ ...NO_EXECUTE, timeAdded: formatTime(world.clock.now() - 50_000) });
    await evicted('waits');
  });

  it('reads the newest generation of a pool, and spares pods that are not yet on a node', async () => {
    await publish({ name: `new-${number}`, generation: 2 });
    await user('runs');
    await taint(NO_EXECUTE);
    await stays('runs');
    await publish({ name: `newest-${number}`, generation: 3 }, [NO_EXECUTE]);
    await evicted('runs');
  });

  it('leaves a pod alone that took the name of the one the claim is reserved for', async () => {
    const first = await user('same');
    await world.api.delete(pods, { name: 'same', namespace }, { gracePeriodSeconds: 0 });
    const next = await world.api.create(pods, {
      metadata: { name: 'same', namespace },
      spec: first.spec!.nodeName ? first.spec! : { ...first.spec!, nodeName: 'n' },
    });
    assert.notEqual(next.metadata.uid, first.metadata.uid);
    await taint(NO_EXECUTE);
    await stays('same');
  });
});
