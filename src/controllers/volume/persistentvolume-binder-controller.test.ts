import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec } from '#api/types.ts';
import { events, persistentVolumeClaims, persistentVolumes, pods, storageClasses } from '#client/refs.ts';
import type { KubeObject } from '#machinery/object.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { ephemeralVolumeController } from './ephemeral-volume-controller.ts';
import { persistentVolumeBinderController } from './persistentvolume-binder-controller.ts';
import { persistentVolumeExpanderController } from './persistentvolume-expander-controller.ts';

const NAMESPACE = 'shop';
const OF_USER = { 'pv.kubernetes.io/bind-completed': 'yes' };
const OF_CONTROLLER = { ...OF_USER, 'pv.kubernetes.io/bound-by-controller': 'yes' };

interface VolumeOptions {
  readonly size?: string;
  readonly annotations?: Record<string, string>;
  readonly labels?: Record<string, string>;
  readonly spec?: Partial<PersistentVolumeSpec>;
}

describe('the volume binder', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([
      persistentVolumeBinderController,
      persistentVolumeExpanderController,
      ephemeralVolumeController,
    ]);
    await world.namespace(NAMESPACE);
  });
  after(() => world?.stop());

  const volume = (
    name: string,
    storageClassName: string,
    { size = '1Gi', annotations = {}, labels = {}, spec = {} }: VolumeOptions = {},
  ): Promise<PersistentVolume> =>
    world.api.create(persistentVolumes, {
      metadata: { name, annotations, labels },
      spec: {
        capacity: { storage: size },
        accessModes: ['ReadWriteOnce'],
        storageClassName,
        ...(spec.csi ? {} : { hostPath: { path: '/tmp/x' } }),
        ...spec,
      },
    });
  const claim = (
    name: string,
    storageClassName: string | undefined,
    { size = '1Gi', ...spec }: { readonly size?: string } & PersistentVolumeClaim['spec'] = {},
  ): Promise<PersistentVolumeClaim> =>
    world.api.create(persistentVolumeClaims, {
      metadata: { name, namespace: NAMESPACE },
      spec: {
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: size } },
        ...(storageClassName === undefined ? {} : { storageClassName }),
        ...spec,
      },
    });
  const storageClass = (name: string, more: KubeObject = {}): Promise<KubeObject> =>
    world.api.create(storageClasses, {
      provisioner: 'example.org/disks',
      ...more,
      metadata: { name, ...more.metadata },
    });
  const getVolume = (name: string) => world.api.get(persistentVolumes, { name });
  const getClaim = (name: string) => world.api.get(persistentVolumeClaims, { name, namespace: NAMESPACE });
  const deleteClaim = (name: string) =>
    world.api
      .delete(persistentVolumeClaims, { name, namespace: NAMESPACE })
      .then(() => releaseFinalizers(name));
  /** No protection controller runs here. */
  const releaseFinalizers = async (name: string): Promise<void> => {
    const left = await world.find(persistentVolumeClaims, { name, namespace: NAMESPACE });
    if (left)
      await world.api.update(persistentVolumeClaims, {
        ...left,
        metadata: { ...left.metadata, finalizers: [] },
      });
  };
  const boundTo = (name: string): Promise<string> =>
    world.until(`${name} is bound`, async () => {
      const { spec, status } = await getClaim(name);
      return status?.phase === 'Bound' && spec?.volumeName;
    });
  const volumePhase = (name: string, phase: string): Promise<unknown> =>
    world.until(`${name} is ${phase}`, async () => (await getVolume(name)).status?.phase === phase);
  const event = (name: string, reason: string): Promise<string> =>
    world.until(`${name}: event ${reason}`, async () => {
      const { items } = await world.api.list(events, { fieldSelector: `involvedObject.name=${name}` });
      return (items as KubeObject[]).find((one) => one['reason'] === reason)?.['message'] as string;
    });

  it('binds the smallest volume that satisfies a claim, and both name each other', async () => {
    await volume('small', 'match', { size: '500Mi' });
    await volume('large', 'match', { size: '10Gi' });
    await volume('right', 'match', { size: '2Gi' });
    await volume('right-of-another-class', 'other', { size: '1Gi' });
    await volumePhase('right', 'Available');
    await volumePhase('large', 'Available');
    await claim('match', 'match');
    assert.equal(await boundTo('match'), 'right');
    const { metadata, status } = await getClaim('match');
    assert.deepEqual(status, {
      phase: 'Bound',
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '2Gi' },
    });
    assert.deepEqual(metadata.annotations, OF_CONTROLLER);
    const bound = await getVolume('right');
    assert.equal(bound.status?.phase, 'Bound');
    assert.deepEqual(bound.metadata.annotations, { 'pv.kubernetes.io/bound-by-controller': 'yes' });
    const { resourceVersion: _, ...claimRef } = bound.spec?.claimRef ?? {};
    assert.deepEqual(claimRef, {
      kind: 'PersistentVolumeClaim',
      apiVersion: 'v1',
      namespace: NAMESPACE,
      name: 'match',
      uid: metadata.uid,
    });
  });

  it('fewest access modes first; modes, volume mode, selector and attributes class must fit', async () => {
    const modes = ['ReadWriteOnce', 'ReadOnlyMany'];
    await volume('more-modes', 'modes', { size: '1Gi', spec: { accessModes: modes } });
    await volume('few-modes', 'modes', { size: '5Gi' });
    await volume('block', 'modes', { spec: { volumeMode: 'Block' } });
    await volume('gold', 'modes', { labels: { tier: 'gold' }, size: '8Gi' });
    await volume('attributed', 'modes', {
      spec: { volumeAttributesClassName: 'fast', csi: { driver: 'example.org', volumeHandle: 'h' } },
    });
    for (const name of ['more-modes', 'few-modes', 'block', 'gold', 'attributed'])
      await volumePhase(name, 'Available');
    await claim('wants-block', 'modes', { volumeMode: 'Block' });
    await claim('wants-gold', 'modes', { selector: { matchLabels: { tier: 'gold' } } });
    assert.equal(await boundTo('wants-block'), 'block');
    assert.equal(await boundTo('wants-gold'), 'gold');
    await claim('wants-one', 'modes');
    assert.equal(await boundTo('wants-one'), 'few-modes');
    await claim('wants-two', 'modes', { accessModes: modes });
    assert.equal(await boundTo('wants-two'), 'more-modes');
    await claim('wants-many', 'modes', { accessModes: ['ReadWriteMany'] });
    await claim('wants-fast', 'modes', { volumeAttributesClassName: 'fast' });
    assert.equal(await boundTo('wants-fast'), 'attributed');
    assert.equal((await getClaim('wants-fast')).status?.currentVolumeAttributesClassName, 'fast');
    assert.match(
      await event('wants-many', 'ProvisioningFailed'),
      /^storageclass\.storage\.k8s\.io "modes" not found$/,
    );
    await volume('many-modes', 'modes', { spec: { accessModes: ['ReadWriteMany'] } });
    assert.equal(await boundTo('wants-many'), 'many-modes', 'a volume that comes later is taken');
  });

  it('two claims never share a volume', async () => {
    await Promise.all(Array.from({ length: 8 }, (_, index) => volume(`one-each-${index}`, 'one-each')));
    await Promise.all(Array.from({ length: 10 }, (_, index) => claim(`one-each-${index}`, 'one-each')));
    const bound = await world.until('8 are bound', async () => {
      const { items } = await world.api.list(persistentVolumeClaims, { namespace: NAMESPACE });
      const names = items
        .filter(({ spec, status }) => spec?.storageClassName === 'one-each' && status?.phase === 'Bound')
        .map(({ spec }) => spec?.volumeName);
      return names.length === 8 && names;
    });
    assert.equal(new Set(bound).size, 8);
  });

  it('a volume that was reserved by hand goes to its claim alone', async () => {
    await volume('reserved', 'reserve', { spec: { claimRef: { namespace: NAMESPACE, name: 'later' } } });
    await volumePhase('reserved', 'Available');
    await claim('stranger', 'reserve');
    await event('stranger', 'ProvisioningFailed');
    await claim('later', 'reserve');
    assert.equal(await boundTo('later'), 'reserved');
    assert.deepEqual((await getVolume('reserved')).metadata.annotations ?? {}, {});
    assert.deepEqual((await getClaim('later')).metadata.annotations, OF_CONTROLLER);
    assert.equal((await getClaim('stranger')).status?.phase, 'Pending');
  });

  it('a claim that names its volume waits for it, and its event says why it does not get it', async () => {
    await claim('names', 'names', { volumeName: 'named' });
    await volume('named', 'names', { size: '1Gi' });
    assert.equal(await boundTo('names'), 'named');
    assert.deepEqual((await getClaim('names')).metadata.annotations, OF_USER);
    await claim('names-too', 'names', { volumeName: 'named' });
    assert.equal(
      await event('names-too', 'FailedBinding'),
      'volume "named" already bound to a different claim.',
    );
    await volume('tiny', 'names', { size: '1Mi' });
    const mismatches = [
      ['too-small', { volumeName: 'tiny' }, 'names', 'requested PV is too small'],
      ['wrong-class', { volumeName: 'tiny', size: '1Mi' }, 'else', 'storageClassName does not match'],
      [
        'wrong-mode',
        { volumeName: 'tiny', size: '1Mi', volumeMode: 'Block' },
        'names',
        'incompatible volumeMode',
      ],
      [
        'wrong-access',
        { volumeName: 'tiny', size: '1Mi', accessModes: ['ReadWriteMany'] },
        'names',
        'incompatible accessMode',
      ],
    ] as const;
    for (const [name, spec, of, why] of mismatches) {
      await claim(name, of, spec as object);
      assert.equal(await event(name, 'VolumeMismatch'), `Cannot bind to requested volume "tiny": ${why}`);
      assert.equal((await getClaim(name)).status?.phase, 'Pending');
    }
  });

  it('without a class: no volume, no provisioner, an event; then the default class, retroactively', async () => {
    await claim('classless', undefined);
    await claim('none-at-all', '');
    assert.equal(
      await event('classless', 'FailedBinding'),
      'no persistent volumes available for this claim and no storage class is set',
    );
    await storageClass('standard', {
      metadata: { annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    });
    const { metadata } = await world.until('asked for', async () => {
      const found = await getClaim('classless');
      return found.metadata.annotations?.['volume.kubernetes.io/storage-provisioner'] && found;
    });
    assert.deepEqual(metadata.annotations, {
      'volume.kubernetes.io/storage-provisioner': 'example.org/disks',
      'volume.beta.kubernetes.io/storage-provisioner': 'example.org/disks',
    });
    assert.match(
      await event('classless', 'ExternalProvisioning'),
      /^Waiting for a volume to be created either by the external provisioner 'example\.org\/disks' or manually/,
    );
    assert.equal((await getClaim('none-at-all')).spec?.storageClassName, '', "'' is a choice");
    await world.api.delete(storageClasses, { name: 'standard' });
  });

  it('in-tree provisioners are refused by name', async () => {
    await storageClass('by-hand', { provisioner: 'kubernetes.io/no-provisioner' });
    await claim('by-hand', 'by-hand');
    assert.equal(
      await event('by-hand', 'ProvisioningFailed'),
      'no volume plugin matched name: kubernetes.io/no-provisioner',
    );
  });

  it('waits for the first consumer, then for its node, and then asks the provisioner', async () => {
    await storageClass('patient', { volumeBindingMode: 'WaitForFirstConsumer' });
    await volume('not-yet', 'patient');
    await claim('patient', 'patient');
    assert.equal(
      await event('patient', 'WaitForFirstConsumer'),
      'waiting for first consumer to be created before binding',
    );
    await world.api.create(pods, {
      metadata: { name: 'consumer', namespace: NAMESPACE },
      spec: {
        containers: [{ name: 'c', image: 'i' }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'patient' } }],
      },
    });
    assert.equal(await event('patient', 'WaitForPodScheduled'), 'waiting for pod consumer to be scheduled');
    const waiting = await getClaim('patient');
    assert.equal(waiting.spec?.volumeName, undefined, 'though a volume would fit');
    await world.api.update(persistentVolumeClaims, {
      ...waiting,
      metadata: { ...waiting.metadata, annotations: { 'volume.kubernetes.io/selected-node': 'n1' } },
    });
    await event('patient', 'ExternalProvisioning');
    const { metadata } = await getClaim('patient');
    await volume('made', 'patient', {
      annotations: { 'pv.kubernetes.io/provisioned-by': 'example.org/disks' },
      spec: {
        persistentVolumeReclaimPolicy: 'Delete',
        claimRef: { kind: 'PersistentVolumeClaim', namespace: NAMESPACE, name: 'patient', uid: metadata.uid },
      },
    });
    assert.equal(await boundTo('patient'), 'made');
    await deleteClaim('patient');
    await volumePhase('made', 'Released');
    await world.pass(1_000);
    assert.equal((await getVolume('made')).status?.phase, 'Released', 'its provisioner deletes it');
  });

  it('after the claim: retained, failed without a deleter, failed to recycle', async () => {
    const policies = [
      ['Retain', 'Released', undefined],
      [
        'Delete',
        'Failed',
        'error getting deleter volume plugin for volume "after-delete": no deletable volume plugin matched',
      ],
      ['Recycle', 'Failed', 'No recycler plugin found for the volume!'],
    ] as const;
    for (const [policy, phase, message] of policies) {
      const name = `after-${policy.toLowerCase()}`;
      await volume(name, name, { spec: { persistentVolumeReclaimPolicy: policy } });
      await claim(name, name);
      assert.equal(await boundTo(name), name);
      await deleteClaim(name);
      await volumePhase(name, phase);
      const { status, spec } = await getVolume(name);
      assert.equal(status?.message, message);
      assert.equal(spec?.claimRef?.name, name);
      if (message)
        assert.equal(
          await event(name, policy === 'Delete' ? 'VolumeFailedDelete' : 'VolumeFailedRecycle'),
          message,
        );
    }
    await claim('after-retain', 'after-retain');
    await event('after-retain', 'ProvisioningFailed');
    assert.equal(
      (await getVolume('after-retain')).status?.phase,
      'Released',
      'a new claim of the old name does not get the old data',
    );
  });

  it('a claim whose volume is gone is lost', async () => {
    await volume('going', 'going');
    await claim('left', 'going');
    assert.equal(await boundTo('left'), 'going');
    const gone = await getVolume('going');
    await world.api.update(persistentVolumes, { ...gone, metadata: { ...gone.metadata, finalizers: [] } });
    await world.api.delete(persistentVolumes, { name: 'going' });
    await world.until('lost', async () => (await getClaim('left')).status?.phase === 'Lost');
    assert.equal(
      await event('left', 'ClaimLost'),
      'Bound claim has lost its PersistentVolume. Data on the volume is lost!',
    );
  });

  it('a volume whose claim is bound elsewhere becomes available again', async () => {
    await volume('elsewhere', 'elsewhere');
    await claim('elsewhere', 'elsewhere');
    await boundTo('elsewhere');
    const { uid } = (await getClaim('elsewhere')).metadata;
    const claimRef = { kind: 'PersistentVolumeClaim', namespace: NAMESPACE, name: 'elsewhere', uid };
    await volume('superfluous', 'elsewhere', {
      annotations: { 'pv.kubernetes.io/bound-by-controller': 'yes' },
      spec: { claimRef },
    });
    await volumePhase('superfluous', 'Available');
    assert.equal((await getVolume('superfluous')).spec?.claimRef, undefined);
    await volume('by-user', 'elsewhere', { spec: { claimRef } });
    await world.until('its UID is gone', async () => !(await getVolume('by-user')).spec?.claimRef?.uid);
    assert.equal((await getVolume('by-user')).spec?.claimRef?.name, 'elsewhere');
  });

  it('modes that differ are said on both sides', async () => {
    await claim('files', 'files');
    const { metadata } = await getClaim('files');
    await volume('blocks', 'files', {
      spec: {
        volumeMode: 'Block',
        claimRef: { kind: 'PersistentVolumeClaim', namespace: NAMESPACE, name: 'files', uid: metadata.uid },
      },
    });
    assert.equal(
      await event('blocks', 'VolumeMismatch'),
      'Cannot bind PersistentVolume to requested PersistentVolumeClaim "files" due to incompatible volumeMode.',
    );
    await event('files', 'VolumeMismatch');
  });

  it('a claim that grows waits for the resizer of its volume', async () => {
    await storageClass('growing', { allowVolumeExpansion: true });
    await volume('growing', 'growing');
    await claim('growing', 'growing');
    await boundTo('growing');
    const small = await getClaim('growing');
    await world.api.update(persistentVolumeClaims, {
      ...small,
      spec: { ...small.spec, resources: { requests: { storage: '2Gi' } } },
    });
    assert.equal(
      await event('growing', 'ExternalExpanding'),
      'waiting for an external controller to expand this PVC',
    );
    assert.equal((await getClaim('growing')).status?.capacity?.['storage'], '1Gi');
  });

  it("ephemeral volumes: a claim of the pod's own; another's is refused", async () => {
    await volume('scratch', 'scratch');
    const volumeClaimTemplate = {
      metadata: { labels: { type: 'scratch' } },
      spec: {
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'scratch',
        resources: { requests: { storage: '1Gi' } },
      },
    };
    const pod = (name: string): KubeObject => ({
      metadata: { name, namespace: NAMESPACE },
      spec: {
        containers: [{ name: 'c', image: 'i' }],
        volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate } }],
      },
    });
    const owner = await world.api.create(pods, pod('brief'));
    assert.equal(await boundTo('brief-scratch'), 'scratch');
    const { metadata } = await getClaim('brief-scratch');
    assert.deepEqual(metadata.labels, { type: 'scratch' });
    assert.deepEqual(metadata.ownerReferences, [
      {
        apiVersion: 'v1',
        kind: 'Pod',
        name: 'brief',
        uid: owner.metadata.uid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ]);
    const foreign = await claim('thief-scratch', 'none');
    await world.api.create(pods, pod('thief'));
    await world.pass(500);
    assert.equal((await getClaim('thief-scratch')).metadata.uid, foreign.metadata?.uid);
  });
});
