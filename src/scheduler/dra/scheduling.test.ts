/** Dynamic resources through the scheduler and a real API server; checks the resulting API objects. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import { deviceClasses, pods, resourceClaims, resourceSlices } from '#client/refs.ts';
import { deviceClaim, deviceClass, exactly, slice } from '../testing/devices.ts';
import { NAMESPACE, until, worldFor, type World } from '../testing/cluster.ts';
import type { PodOptions } from '../testing/snapshot.ts';

const using = (resourceClaimName: string): PodOptions => ({
  spec: { resourceClaims: [{ name: 'gpu', resourceClaimName }] },
});
const read = (w: World, name: string): Promise<ResourceClaim> =>
  w.api.get(resourceClaims, { name, namespace: NAMESPACE });
const devicesOf = ({ status }: ResourceClaim): readonly string[] =>
  (status?.allocation?.devices?.results ?? []).map(({ device }) => device);

async function claim(w: World, name: string): Promise<void> {
  const { spec } = deviceClaim([exactly('r')]);
  await w.api.create(resourceClaims, { metadata: { name, namespace: NAMESPACE }, spec });
}

async function worldWithDevices(t: TestContext, extendedResourceName?: string): Promise<World> {
  const w = await worldFor(t);
  await w.node('x');
  await w.node('y');
  const { spec } = deviceClass('gpus', extendedResourceName ? { extendedResourceName } : {});
  await w.api.create(deviceClasses, { metadata: { name: 'gpus' }, spec });
  for (const [index, nodeName] of ['x', 'y'].entries())
    await w.api.create(
      resourceSlices,
      slice([{ name: `d${index}` }], { name: nodeName, pool: nodeName, nodeName }),
    );
  await w.scheduler();
  return w;
}

describe('dynamic resources', () => {
  it('each of several pods gets a device of its own, the last one waits for it', async (t) => {
    const w = await worldWithDevices(t);
    for (const name of ['a', 'b', 'c']) await claim(w, name);
    for (const name of ['a', 'b', 'c']) await w.pod(name, using(name));
    const placed = await until('two pods have a node', async () => {
      const all = (await w.api.list(pods, { namespace: NAMESPACE })).items;
      const found = all.filter(({ spec }) => spec?.nodeName);
      return found.length === 2 && found;
    });
    const given = await Promise.all(
      placed.map(async ({ metadata, spec }) => {
        const one = await read(w, metadata.name);
        assert.equal(one.status?.reservedFor?.[0]?.uid, metadata.uid);
        return [spec?.nodeName, ...devicesOf(one)].join();
      }),
    );
    assert.deepEqual(given.sort(), ['x,d0', 'y,d1']);
    const waiting = ['a', 'b', 'c'].find((name) => !placed.some(({ metadata }) => metadata.name === name))!;
    assert.match(await w.refusal(waiting), /2 cannot allocate all claims\. still not schedulable/);
    // What the resourceclaim controller does once a pod is over.
    const done = placed[0]!;
    await w.api.delete(pods, { name: done.metadata.name, namespace: NAMESPACE }, { gracePeriodSeconds: 0 });
    await w.api.updateStatus(resourceClaims, { ...(await read(w, done.metadata.name)), status: {} });
    assert.equal(await w.placed(waiting), done.spec?.nodeName);
  });

  it('a device that is added later ends the wait, and a second pod shares its claim', async (t) => {
    const w = await worldFor(t);
    await w.node('x');
    await w.api.create(deviceClasses, { metadata: { name: 'gpus' }, spec: {} });
    await w.scheduler();
    await claim(w, 'c');
    await w.pod('p', using('c'));
    assert.match(await w.refusal('p'), /1 cannot allocate all claims/);
    await w.api.create(resourceSlices, slice([{ name: 'd' }], { nodeName: 'x' }));
    assert.equal(await w.placed('p'), 'x');
    await w.pod('q', using('c'));
    assert.equal(await w.placed('q'), 'x');
    assert.equal((await read(w, 'c')).status?.reservedFor?.length, 2);
  });

  it('an extended resource that a class serves', async (t) => {
    const w = await worldWithDevices(t, 'example.com/gpu');
    const requests = { 'example.com/gpu': '1' };
    await w.pod('p', {
      spec: { containers: [{ name: 'main', image: 'main:1', resources: { requests, limits: requests } }] },
    });
    const node = await w.placed('p');
    const { status } = await w.read('p');
    const name = status?.extendedResourceClaimStatus?.resourceClaimName ?? '';
    assert.match(name, /^p-extended-resources-/);
    assert.deepEqual(status?.extendedResourceClaimStatus?.requestMappings, [
      { containerName: 'main', resourceName: 'example.com/gpu', requestName: 'container-0-request-0' },
    ]);
    assert.deepEqual(devicesOf(await read(w, name)), [node === 'x' ? 'd0' : 'd1']);
  });
});
