/** The provisioner with the volume binder, and the node's part as the node itself; a scheduler is played. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PersistentVolume, PersistentVolumeClaim } from '#api/types.ts';
import { events, nodes, persistentVolumeClaims, persistentVolumes, storageClasses } from '#client/refs.ts';
import { nodeIdentity } from '#cmd/all-in-one/identities.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { persistentVolumeBinderController } from '#controllers/volume/persistentvolume-binder-controller.ts';
import { persistentVolumeClaimProtectionController } from '#controllers/volume/persistentvolumeclaim-protection-controller.ts';
import { persistentVolumeProtectionController } from '#controllers/volume/persistentvolume-protection-controller.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { LocalPathVolumes } from '#node/agent/volumes/local-path-volumes.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { localPathProvisionerController } from '#addons/local-path/local-path-provisioner-controller.ts';

const NAMESPACE = 'shop';

describe('local-path volumes', () => {
  let world: TestWorld;
  let dir: string;
  let agent: LocalPathVolumes;
  const inUse = new Set<string>();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-local-path-'));
    world = await startTestWorld([
      persistentVolumeBinderController,
      persistentVolumeClaimProtectionController,
      persistentVolumeProtectionController,
      localPathProvisionerController,
    ]);
    await world.namespace(NAMESPACE);
    for (const name of ['n1', 'n2', 'away'])
      await world.node(name, (node) => {
        node.metadata!.annotations = { 'local-path.capstan.dev/directory': dir };
      });
    await world.node('foreign');
    agent = new LocalPathVolumes({
      api: world.test.clientAs(nodeIdentity('n1')),
      clock: realClock,
      log: silentLogger,
      nodeName: 'n1',
      dir,
      isUsed: (name) => inUse.has(name),
    });
    agent.start();
    await world.until('the class', () => world.find(storageClasses, { name: 'local-path' }));
  });
  after(async () => {
    await agent?.stop();
    await world?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const getClaim = (name: string): Promise<Stored<PersistentVolumeClaim>> =>
    world.api.get(persistentVolumeClaims, { name, namespace: NAMESPACE });
  const create = (name: string, spec: object = {}): Promise<KubeObject> =>
    world.api.create(persistentVolumeClaims, {
      metadata: { name, namespace: NAMESPACE },
      spec: {
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: '1Gi' } },
        storageClassName: 'local-path',
        ...spec,
      },
    });
  const select = async (name: string, node: string): Promise<void> => {
    const { metadata, ...claim } = await getClaim(name);
    const annotations = { ...metadata.annotations, 'volume.kubernetes.io/selected-node': node };
    await world.api.update(persistentVolumeClaims, { ...claim, metadata: { ...metadata, annotations } });
  };
  const bound = (name: string): Promise<Stored<PersistentVolume>> =>
    world.until(`${name} is bound`, async () => {
      const { status, spec } = await getClaim(name);
      return status?.phase === 'Bound' && world.api.get(persistentVolumes, { name: spec!.volumeName! });
    }) as Promise<Stored<PersistentVolume>>;
  const provisioned = async (name: string, node: string, spec: object = {}) => {
    await create(name, spec);
    await world.until('waits', async () => (await getClaim(name)).status?.phase === 'Pending');
    await select(name, node);
    return bound(name);
  };
  const failure = (name: string): Promise<string> =>
    world.until(`${name} is refused`, async () => {
      const { items } = await world.api.list(events, { fieldSelector: `involvedObject.name=${name}` });
      return (items as KubeObject[]).find((one) => one['reason'] === 'ProvisioningFailed')?.[
        'message'
      ] as string;
    });
  const gone = (name: string): Promise<unknown> =>
    world.until(`${name} is gone`, async () => !(await world.find(persistentVolumes, { name })));

  it('the default class exists, and a claim without a class gets it', async () => {
    const { storageClassName: _, ...withoutClass } = { storageClassName: '' };
    await world.api.create(persistentVolumeClaims, {
      metadata: { name: 'any', namespace: NAMESPACE },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...withoutClass },
    });
    assert.equal((await getClaim('any')).spec?.storageClassName, 'local-path');
  });

  it('a claim gets a directory of the selected node; deleting it removes the directory', async () => {
    const volume = await provisioned('data', 'n1');
    const { name } = volume.metadata;
    assert.equal(name, `pvc-${(await getClaim('data')).metadata.uid}`);
    assert.deepEqual(volume.spec?.local, { path: join(dir, name) });
    assert.deepEqual(volume.spec?.nodeAffinity?.required?.nodeSelectorTerms, [
      { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n1'] }] },
    ]);
    assert.equal(volume.spec?.persistentVolumeReclaimPolicy, 'Delete');
    const path = await agent.makeDirectory(volume);
    assert.equal((await stat(path)).mode & 0o7777, 0o777);
    await writeFile(join(path, 'kept'), 'x');
    await mkdir(join(dir, 'stranger'));
    assert.equal(await agent.makeDirectory(volume), path, 'again changes nothing');
    const made = (await world.api.get(persistentVolumes, { name })).metadata.annotations;
    assert.match(made?.['local-path.capstan.dev/made'] ?? '', /^20.*Z$/);
    inUse.add(name);
    await world.api.delete(persistentVolumeClaims, { name: 'data', namespace: NAMESPACE });
    await world.until(
      'the order to delete',
      async () => (await world.api.get(persistentVolumes, { name })).metadata.deletionTimestamp,
    );
    await world.pass(1_000);
    assert.deepEqual(await readdir(path), ['kept'], 'a pod of this node has it yet');
    inUse.delete(name);
    // What the agent does every few seconds, at once.
    await world.api.patch(
      persistentVolumes,
      { name },
      { type: 'merge', patch: { metadata: { annotations: { look: 'now' } } } },
    );
    await gone(name);
    assert.deepEqual(await readdir(dir), ['stranger'], 'a directory without a volume is kept');
  });

  it('a volume that is retained keeps its directory, also when it is deleted by hand', async () => {
    const volume = await provisioned('precious', 'n1');
    const { name } = volume.metadata;
    await agent.makeDirectory(volume);
    await world.api.update(persistentVolumes, {
      ...(await world.api.get(persistentVolumes, { name })),
      spec: { ...volume.spec, persistentVolumeReclaimPolicy: 'Retain' },
    });
    await world.api.delete(persistentVolumeClaims, { name: 'precious', namespace: NAMESPACE });
    await world.until(
      'released',
      async () => (await world.api.get(persistentVolumes, { name })).status?.phase === 'Released',
    );
    await world.api.delete(persistentVolumes, { name });
    await gone(name);
    assert.ok((await readdir(dir)).includes(name));
  });

  it('what cannot be made is refused, and the scheduler may choose another node', async () => {
    const cases: [string, string, object, RegExp][] = [
      ['many', 'n1', { accessModes: ['ReadWriteMany'] }, /access mode ReadWriteMany is not supported/],
      ['blocks', 'n1', { volumeMode: 'Block' }, /volumes of mode Block are not supported/],
      ['elsewhere', 'foreign', {}, /node "foreign" offers no directory for volumes/],
      ['nowhere', 'none', {}, /node "none" not found/],
    ];
    for (const [name, node, spec, message] of cases) {
      await create(name, spec);
      await select(name, node);
      assert.match(await failure(name), message);
      await world.until(
        'the node is taken back',
        async () =>
          (await getClaim(name)).metadata.annotations?.['volume.kubernetes.io/selected-node'] === undefined,
      );
    }
    const { items } = await world.api.list(events, { fieldSelector: 'involvedObject.name=elsewhere' });
    assert.deepEqual(
      (items as KubeObject[]).filter((one) => /no node was selected/.test(String(one['message']))),
      [],
    );
    await select('elsewhere', 'n2');
    assert.equal((await bound('elsewhere')).metadata.labels?.['local-path.capstan.dev/node'], 'n2');
  });

  it('a node that is away deletes later; one whose Node was deleted never does', async () => {
    const { name } = (await provisioned('far', 'away')).metadata;
    await world.api.delete(persistentVolumeClaims, { name: 'far', namespace: NAMESPACE });
    const isDeleted = async () =>
      (await world.api.get(persistentVolumes, { name })).metadata.deletionTimestamp;
    await world.until('ordered', isDeleted);
    await world.pass(5_000);
    assert.ok(await isDeleted(), 'waits for its node');
    await world.api.delete(nodes, { name: 'away' });
    await gone(name);
  });

  it('a node sees and releases its own volumes only, and changes nothing else of them', async () => {
    const own = (await provisioned('own', 'n1')).metadata.name;
    const other = (await provisioned('other', 'n2')).metadata.name;
    const node = world.test.clientAs(nodeIdentity('n1'));
    const listed = await node.list(persistentVolumes, { labelSelector: 'local-path.capstan.dev/node=n1' });
    assert.deepEqual(
      listed.items.map(({ metadata }) => metadata.name),
      [own],
    );
    const forbidden = { reason: 'Forbidden' };
    await assert.rejects(node.list(persistentVolumes), forbidden);
    await assert.rejects(
      node.list(persistentVolumes, { labelSelector: 'local-path.capstan.dev/node=n2' }),
      forbidden,
    );
    await assert.rejects(
      node.list(persistentVolumes, { labelSelector: 'local-path.capstan.dev/node in (n1, n2)' }),
      forbidden,
    );
    const patch = (name: string, metadata: object, spec?: object) =>
      node.patch(
        persistentVolumes,
        { name },
        { type: 'merge', patch: { metadata, ...(spec ? { spec } : {}) } },
      );
    await assert.rejects(patch(other, { finalizers: null }), forbidden);
    await assert.rejects(patch(own, { finalizers: null }), forbidden, 'it was not deleted');
    await assert.rejects(patch(own, { labels: { x: 'y' } }), forbidden);
    const made = (time: string | null) =>
      patch(own, { annotations: { 'local-path.capstan.dev/made': time } });
    await assert.rejects(
      patch(own, { annotations: { 'local-path.capstan.dev/made': 'x', other: 'y' } }),
      forbidden,
    );
    await made('2026-01-01T00:00:00Z');
    await assert.rejects(made('2027-01-01T00:00:00Z'), forbidden);
    await assert.rejects(made(null), forbidden);
    await world.api.patch(
      persistentVolumes,
      { name: own },
      {
        type: 'merge',
        patch: { metadata: { finalizers: ['example.org/held', 'local-path.capstan.dev/directory'] } },
      },
    );
    await world.api.delete(persistentVolumes, { name: own });
    await assert.rejects(patch(own, { finalizers: null }), forbidden, "another's finalizer");
    await assert.rejects(
      patch(own, { finalizers: ['example.org/held'] }, { capacity: { storage: '9Gi' } }),
      forbidden,
    );
    const { finalizers = [] } = (await world.api.get(persistentVolumes, { name: own })).metadata;
    await patch(own, { finalizers: finalizers.filter((one) => !one.startsWith('local-path.capstan.dev/')) });
    await assert.rejects(node.delete(persistentVolumes, { name: own }), forbidden);
  });

  it('a directory that is missing is not made again, empty', async () => {
    const volume = await provisioned('vanished', 'n1');
    const path = await agent.makeDirectory(volume);
    const noted = await world.api.get(persistentVolumes, { name: volume.metadata.name });
    await rm(path, { recursive: true });
    assert.equal(await agent.makeDirectory(noted), path);
    await assert.rejects(stat(path), { code: 'ENOENT' });
  });

  it('the path comes from the own directory and the name, never from the API', async () => {
    const volume = await provisioned('path', 'n1');
    await assert.rejects(
      agent.makeDirectory({ ...volume, spec: { ...volume.spec, local: { path: '/etc' } } }),
      /local path "\/etc" is not where this node keeps volumes/,
    );
    await assert.rejects(
      agent.makeDirectory({ ...volume, metadata: { name: '../../etc' } }),
      /invalid volume name/,
    );
  });
});
