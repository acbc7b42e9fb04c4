/** The storage part of conformance that concerns objects: classes, drivers, attachments, volumes and claims. What containers see of volumes needs containers. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { showLifecycle } from './lifecycle.ts';
import { pod } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

describe('conformance: storage', () => {
  let world: World;
  let namespace: string;
  let core: string;
  before(async () => {
    world = await startWorld({ nodes: 1 });
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}`;
  });
  after(async () => world?.stop());

  const group = 'storage.k8s.io';

  it('CSIDriver, lifecycle', () =>
    showLifecycle(world, {
      group,
      plural: 'csidrivers',
      kind: 'CSIDriver',
      object: () => ({ spec: { attachRequired: true, podInfoOnMount: true } }),
    }));

  it('CSINode, lifecycle', () =>
    showLifecycle(world, {
      group,
      plural: 'csinodes',
      kind: 'CSINode',
      object: () => ({
        spec: { drivers: [{ name: 'driver.example.com', nodeID: 'node-1', topologyKeys: ['zone'] }] },
      }),
    }));

  it('CSIStorageCapacity API', () =>
    showLifecycle(world, {
      group,
      plural: 'csistoragecapacities',
      kind: 'CSIStorageCapacity',
      namespace,
      object: () => ({ storageClassName: 'example', capacity: '1Gi' }),
    }));

  it('StorageClass, lifecycle', () =>
    showLifecycle(world, {
      group,
      plural: 'storageclasses',
      kind: 'StorageClass',
      object: () => ({ provisioner: 'e2e.example.com/fake' }),
    }));

  it('VolumeAttributesClass, lifecycle', () =>
    showLifecycle(world, {
      group,
      plural: 'volumeattributesclasses',
      kind: 'VolumeAttributesClass',
      object: () => ({ driverName: 'e2e.example.com', parameters: { foo: 'bar' } }),
    }));

  const attachment = (): Json => ({
    spec: { attacher: 'e2e.example.com', nodeName: 'node-1', source: { persistentVolumeName: 'volume' } },
  });
  it('VolumeAttachment, lifecycle', () =>
    showLifecycle(world, {
      group,
      plural: 'volumeattachments',
      kind: 'VolumeAttachment',
      object: attachment,
    }));

  it('VolumeAttachment, apply changes to a volumeattachment status', async () => {
    const path = `/apis/${group}/v1/volumeattachments`;
    await world.post(path, { metadata: { name: 'attached' }, ...attachment() });
    assert.equal(
      (await world.patch(`${path}/attached`, { metadata: { labels: { patched: 'yes' } } })).metadata.labels
        .patched,
      'yes',
    );
    assert.equal((await world.get(`${path}/attached/status`)).status.attached, false);
    assert.equal(
      (await world.patch(`${path}/attached/status`, { status: { attached: true } })).status.attached,
      true,
    );
    const read = await world.get(`${path}/attached/status`);
    read.status.attached = false;
    assert.equal((await world.put(`${path}/attached/status`, read)).status.attached, false);
    await world.del(`${path}/attached`);
    await world.refused(404, `GET ${path}/attached`);
  });

  it('CSIInlineVolumes should support Pods with inline volumes', async () => {
    const labels = { inline: namespace };
    await world.post(`/apis/${group}/v1/csidrivers`, {
      metadata: { name: `${namespace}.example.com` },
      spec: { attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: ['Ephemeral'] },
    });
    const volumes = [
      {
        name: 'inline',
        csi: { driver: `${namespace}.example.com`, readOnly: true, volumeAttributes: { foo: 'bar' } },
      },
    ];
    const made = await world.post(`${core}/pods`, pod('inline', { labels, volumes }));
    assert.deepEqual(made.spec.volumes.find(({ name }: Json) => name === 'inline').csi, volumes[0]?.csi);
    assert.equal((await world.get(`/api/v1/pods?labelSelector=inline%3D${namespace}`)).items.length, 1);
    assert.equal(
      (await world.patch(`${core}/pods/inline`, { metadata: { labels: { patched: 'yes' } } }, 'strategic'))
        .metadata.labels.patched,
      'yes',
    );
    await world.del(`${core}/pods/inline`, { gracePeriodSeconds: 0 });
    await world.refused(404, `GET ${core}/pods/inline`);
    await world.del(`/apis/${group}/v1/csidrivers/${namespace}.example.com`);
  });

  const volume = (name: string): Json => ({
    metadata: { name, labels: { e2e: namespace } },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'none',
      csi: { driver: 'e2e.example.com', volumeHandle: `e2e-${name}` },
    },
  });
  const claim = (name: string): Json => ({
    metadata: { name, labels: { e2e: namespace } },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'none',
      resources: { requests: { storage: '1Gi' } },
    },
  });

  it('PersistentVolumes(Claims), lifecycle', async () => {
    const volumes = '/api/v1/persistentvolumes';
    const claims = `${core}/persistentvolumeclaims`;
    const query = `labelSelector=e2e%3D${namespace}`;
    const [madeVolume, madeClaim] = [
      await world.post(volumes, volume(`pv-${namespace}`)),
      await world.post(claims, claim('pvc')),
    ];
    // A volume in use is protected: the claim goes first, as upstream's test deletes them.
    const paths = { claim: `${claims}/pvc`, volume: `${volumes}/pv-${namespace}` };
    const bound = (): Promise<unknown> =>
      until(
        'the claim is bound',
        async () =>
          (await world.get(paths.claim)).status.phase === 'Bound' &&
          (await world.get(paths.volume)).status.phase === 'Bound',
      );
    await bound();
    assert.equal((await world.get(`${volumes}?${query}`)).items.length, 1);
    assert.equal((await world.get(claims)).items.length, 1);
    for (const path of Object.values(paths))
      assert.equal(
        (await world.patch(path, { metadata: { labels: { patched: 'yes' } } })).metadata.labels.patched,
        'yes',
      );
    assert.equal((await world.get(paths.volume)).metadata.uid, madeVolume.metadata.uid);
    assert.equal((await world.get(paths.claim)).metadata.uid, madeClaim.metadata.uid);
    for (const path of Object.values(paths)) {
      await world.del(path);
      await world.gone(path);
    }
    await world.post(volumes, volume(`pv-${namespace}`));
    await world.post(claims, claim('pvc'));
    await bound();
    for (const path of Object.values(paths)) {
      const read = await world.get(path);
      read.metadata.labels.updated = 'yes';
      assert.equal((await world.put(path, read)).metadata.labels.updated, 'yes');
    }
    await world.del(`${claims}?${query}`);
    await world.del(`${volumes}?${query}`);
    for (const path of Object.values(paths)) await world.gone(path);
  });

  it('PersistentVolumes(Claims), apply changes to a pv/pvc status', async () => {
    const volumes = '/api/v1/persistentvolumes';
    const claims = `${core}/persistentvolumeclaims`;
    await world.post(volumes, volume(`pv-${namespace}`));
    await world.post(claims, claim('pvc'));
    const paths = { volume: `${volumes}/pv-${namespace}`, claim: `${claims}/pvc` };
    for (const path of Object.values(paths))
      await until('it is bound', async () => (await world.get(`${path}/status`)).status.phase === 'Bound');
    const condition = (type: string): Json => ({
      type,
      status: 'True',
      reason: 'E2E',
      message: 'Set from e2e test',
    });
    const patched = await world.patch(`${paths.claim}/status`, {
      status: { conditions: [condition('StatusPatched')] },
    });
    assert.equal(patched.status.conditions[0].type, 'StatusPatched');
    assert.deepEqual(
      await (async () => {
        const { status } = await world.patch(`${paths.volume}/status`, {
          status: { message: 'StatusPatched', reason: 'E2E' },
        });
        return [status.message, status.reason];
      })(),
      ['StatusPatched', 'E2E'],
    );
    patched.status.conditions.push(condition('StatusUpdated'));
    assert.deepEqual(
      (await world.put(`${paths.claim}/status`, patched)).status.conditions.map(({ type }: Json) => type),
      ['StatusPatched', 'StatusUpdated'],
    );
    const read = await world.get(`${paths.volume}/status`);
    read.status.message = 'StatusUpdated';
    assert.equal((await world.put(`${paths.volume}/status`, read)).status.message, 'StatusUpdated');
  });

  async function showImmutability(plural: string, data: (value: string) => Json): Promise<void> {
    const path = `${core}/${plural}`;
    await world.post(path, { metadata: { name: 'immutable' }, ...data('value-1') });
    const update = async (change: Json): Promise<{ readonly target: string; readonly body: Json }> => {
      const { metadata, ...read } = await world.get(`${path}/immutable`);
      return {
        target: `PUT ${path}/immutable`,
        body: { ...read, ...change, metadata: { ...metadata, ...change.metadata } },
      };
    };
    const allowed = async (change: Json): Promise<void> => {
      const { target, body } = await update(change);
      assert.equal((await world.send(target, { body })).status, 200);
    };
    const forbidden = async (change: Json): Promise<void> => {
      const { target, body } = await update(change);
      assert.match(
        (await world.refused(422, target, { body })).message,
        /(data|immutable): Forbidden: field is immutable when `immutable` is set/,
      );
    };
    await allowed(data('value-2'));
    await allowed({ immutable: true });
    await forbidden(data('value-3'));
    await forbidden({ immutable: false });
    await allowed({ metadata: { labels: { label: 'value' } } });
    await world.del(`${path}/immutable`);
    await world.refused(404, `GET ${path}/immutable`);
  }
  it('ConfigMap Volume, immutability', () =>
    showImmutability('configmaps', (value) => ({ data: { key: value } })));
  it('Secrets Volume, immutability', () =>
    showImmutability('secrets', (value) => ({ data: { key: Buffer.from(value).toString('base64') } })));
});
