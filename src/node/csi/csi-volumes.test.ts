/** A node's CSI volumes against a real API server and a driver that makes real mounts. The attach-detach controller is played. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { CSIDriver, PersistentVolume, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createEventRecorder } from '#client/event-recorder.ts';
import {
  csiDrivers,
  csiNodes,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  secrets,
  serviceAccounts,
  volumeAttachments,
} from '#client/refs.ts';
import { attachmentName, uniqueVolumeName } from '#component-helpers/csi.ts';
import type { Stored } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { ServiceAccountTokens } from '../agent/volumes/service-account-tokens.ts';
import { PluginRegistry } from '../plugins/plugin-registry.ts';
import { CsiVolumes } from './csi-volumes.ts';
import { DirectoryDriver, isMounted } from './testing/directory-driver.ts';
import { inlineCsiVolume, persistentCsiVolume } from './volume-request.ts';

const isRoot = process.getuid?.() === 0;
const NODE = 'n1';
const MOUNT = { fsGroup: undefined, fsGroupChangePolicy: undefined };

async function until<T>(what: string, check: () => Promise<T> | T): Promise<NonNullable<T>> {
  for (let left = 400; left > 0; left -= 1) {
    const found = await check();
    if (found) return found;
    await realClock.sleep(25);
  }
  throw new Error(`never: ${what}`);
}

describe('volumes of CSI drivers', { skip: isRoot ? false : 'needs root' }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-csi-'));
  const registryDir = join(dir, 'plugins_registry');
  let test: TestApi;
  let api: Client;
  let driver: DirectoryDriver;
  let plugins: PluginRegistry;
  let volumes: CsiVolumes;

  function agent(): CsiVolumes {
    plugins = new PluginRegistry({ dir: registryDir, clock: realClock, log: silentLogger });
    const made: CsiVolumes = new CsiVolumes({
      api,
      clock: realClock,
      log: silentLogger,
      events: createEventRecorder(api, {
        component: 'kubelet',
        host: NODE,
        clock: realClock,
        log: silentLogger,
      }),
      tokens: new ServiceAccountTokens({ api, clock: realClock }),
      nodeName: NODE,
      node: () => informer.get(NODE),
      podsDir: join(dir, 'pods'),
      pluginsDir: join(dir, 'plugins'),
      plugins,
      onUseChanged: () => void writeInUse(made),
    });
    return made;
  }

  /** The node agent's part of the status. */
  async function writeInUse({ volumesInUse }: CsiVolumes): Promise<void> {
    await api.patch(
      nodes,
      { name: NODE },
      { type: 'merge', subresource: 'status', patch: { status: { volumesInUse } } },
    );
  }

  let informer: ReturnType<typeof api.informer<import('#api/types.ts').Node>>;

  before(async () => {
    test = await startTestApi();
    api = test.api;
    await api.create(nodes, { metadata: { name: NODE, labels: { zone: 'z1' } } });
    informer = api.informer(nodes);
    await informer.synced();
    driver = new DirectoryDriver({
      name: 'dir.test',
      dir: join(dir, 'driver'),
      registryDir,
      capabilities: ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME', 'GET_VOLUME_STATS'],
      node: { nodeId: 'id-1', maxVolumesPerNode: 7, accessibleTopology: { segments: { rack: 'r1' } } },
    });
    await driver.start();
    volumes = agent();
    await volumes.load();
    volumes.start();
    plugins.start();
    await until('driver registered', () => driver.registrations.length > 0);
  });
  after(async () => {
    await plugins.stop();
    await volumes.stop();
    driver.stop();
    execFileSync('sh', [
      '-c',
      `for m in $(awk '{print $5}' /proc/self/mountinfo | grep '^${dir}/' | tac); do umount -l $m; done`,
    ]);
    rmSync(dir, { recursive: true, force: true });
    await test.stop();
  });

  /** A bound claim with its volume. */
  async function persistent(name: string, more: object = {}): Promise<Stored<PersistentVolume>> {
    const claim = await api.create(persistentVolumeClaims, {
      metadata: { name, namespace: 'default' },
      spec: {
        accessModes: ['ReadWriteOnce'],
        volumeName: name,
        storageClassName: '',
        resources: { requests: { storage: '1Gi' } },
      },
    });
    await api.updateStatus(persistentVolumeClaims, {
      ...claim,
      status: { phase: 'Bound', capacity: { storage: '1Gi' } },
    });
    return api.create(persistentVolumes, {
      metadata: { name },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        claimRef: { name, namespace: 'default', uid: claim.metadata.uid },
        csi: { driver: 'dir.test', volumeHandle: `handle-${name}`, fsType: 'ext4', ...more },
      },
    });
  }

  function pod(uid: string): Pod {
    return {
      metadata: { name: `pod-${uid}`, namespace: 'default', uid },
      spec: { containers: [], serviceAccountName: 'default' },
    };
  }

  const csiVolume = (of: Pod, volume: Stored<PersistentVolume>) =>
    persistentCsiVolume(of, { persistent: volume, source: volume.spec!.csi!, readOnly: false });

  async function driverObject(spec: CSIDriver['spec']): Promise<void> {
    await api.delete(csiDrivers, { name: 'dir.test' }).catch(() => {});
    await api.create(csiDrivers, { metadata: { name: 'dir.test' }, spec });
    await until('cache has the CSIDriver', async () => {
      const found = await api
        .informer(csiDrivers)
        .synced()
        .then(() => api.informer(csiDrivers).get('dir.test'));
      return (
        found?.spec.attachRequired === spec.attachRequired &&
        found?.spec.podInfoOnMount === (spec.podInfoOnMount ?? false)
      );
    });
  }

  it('registers a driver: CSINode, topology labels and the annotation of the node', async () => {
    const csiNode = await api.get(csiNodes, { name: NODE });
    assert.deepEqual(csiNode.spec.drivers, [
      { name: 'dir.test', nodeID: 'id-1', topologyKeys: ['rack'], allocatable: { count: 7 } },
    ]);
    assert.equal(csiNode.metadata.ownerReferences?.[0]?.name, NODE);
    const node = await api.get(nodes, { name: NODE });
    assert.equal(node.metadata.labels?.['rack'], 'r1');
    assert.equal(node.metadata.annotations?.['csi.volume.kubernetes.io/nodeid'], '{"dir.test":"id-1"}');
    assert.deepEqual(driver.registrations.at(-1), { pluginRegistered: true, error: '' });
  });

  it('stages once, publishes for each pod, and unstages after the last', async () => {
    await driverObject({ attachRequired: false, podInfoOnMount: true });
    const volume = await persistent('shared');
    driver.calls.length = 0;
    const first = await volumes.mount(csiVolume(pod('u1'), volume), {
      ...MOUNT,
      fsGroup: 4711,
      signal: AbortSignal.timeout(5_000),
    });
    const second = await volumes.mount(csiVolume(pod('u2'), volume), {
      ...MOUNT,
      signal: AbortSignal.timeout(5_000),
    });
    assert.equal(first, join(dir, 'pods/u1/volumes/kubernetes.io~csi/shared/mount'));
    writeFileSync(join(first, 'data'), 'x');
    assert.equal(readFileSync(join(second, 'data'), 'utf8'), 'x');
    assert.equal(statSync(first).gid, 4711);
    const publish = driver.calls.find(({ method }) => method === 'NodePublishVolume')!.request;
    assert.equal(
      (publish['volumeContext'] as Record<string, string>)['csi.storage.k8s.io/pod.name'],
      'pod-u1',
    );
    const record = JSON.parse(readFileSync(join(first, '../vol_data.json'), 'utf8')) as object;
    assert.deepEqual(
      { ...record },
      {
        specVolID: 'shared',
        volumeHandle: 'handle-shared',
        driverName: 'dir.test',
        nodeName: NODE,
        volumeLifecycleMode: 'Persistent',
        attachmentID: '',
        wasPublished: true,
      },
    );
    // Again: nothing more is asked of the driver.
    const before = driver.names().length;
    await volumes.mount(csiVolume(pod('u1'), volume), { ...MOUNT, signal: AbortSignal.timeout(5_000) });
    assert.equal(driver.names().length, before);
    assert.deepEqual(volumes.volumesInUse, ['kubernetes.io/csi/dir.test^handle-shared']);
    await volumes.unmountPod('u1');
    assert.equal(driver.names().includes('NodeUnstageVolume'), false);
    await volumes.unmountPod('u2');
    await volumes.unmountPod('u2');
    assert.deepEqual(driver.names(), [
      'NodeStageVolume',
      'NodePublishVolume',
      'NodeStageVolume',
      'NodePublishVolume',
      'NodeUnpublishVolume',
      'NodeUnpublishVolume',
      'NodeUnstageVolume',
    ]);
    assert.deepEqual(volumes.volumesInUse, []);
    assert.equal(readFileSync(join(driver.volumeDir('handle-shared'), 'data'), 'utf8'), 'x');
    assert.equal(existsSync(join(dir, 'pods/u1/volumes/kubernetes.io~csi/shared')), false);
  });

  it('waits for the attachment, and gives its metadata to the driver', async () => {
    await driverObject({ attachRequired: true });
    const volume = await persistent('attached');
    const unique = uniqueVolumeName(volume.spec!.csi!);
    driver.calls.length = 0;
    const mounting = volumes.mount(csiVolume(pod('u3'), volume), {
      ...MOUNT,
      signal: AbortSignal.timeout(20_000),
    });
    await until('in use', async () =>
      (await api.get(nodes, { name: NODE })).status?.volumesInUse?.includes(unique),
    );
    assert.deepEqual(driver.names(), []);
    const name = attachmentName(volume.spec!.csi!, NODE);
    const made = await api.create(volumeAttachments, {
      metadata: { name },
      spec: { attacher: 'dir.test', nodeName: NODE, source: { persistentVolumeName: 'attached' } },
    });
    await api.updateStatus(volumeAttachments, {
      ...made,
      status: { attached: true, attachmentMetadata: { devicePath: '/dev/xyz' } },
    });
    await api.patch(
      nodes,
      { name: NODE },
      {
        type: 'merge',
        subresource: 'status',
        patch: { status: { volumesAttached: [{ name: unique, devicePath: '' }] } },
      },
    );
    await mounting;
    const stage = driver.calls.find(({ method }) => method === 'NodeStageVolume')!.request;
    assert.deepEqual(stage['publishContext'], { devicePath: '/dev/xyz' });
    await volumes.unmountPod('u3');
  });

  it('a pod that is deleted while it waits leaves nothing in use', async () => {
    const volume = await persistent('never');
    const abort = new AbortController();
    const mounting = volumes.mount(csiVolume(pod('u4'), volume), { ...MOUNT, signal: abort.signal });
    await until('in use', () => volumes.volumesInUse.length === 1);
    driver.calls.length = 0;
    abort.abort(new Error('the pod is being deleted'));
    await assert.rejects(mounting, /the pod is being deleted/);
    await volumes.unmountPod('u4');
    assert.deepEqual(volumes.volumesInUse, []);
    assert.deepEqual(driver.names(), []);
  });

  it('an agent that starts again after a kill at any step undoes or goes on', async () => {
    await driverObject({ attachRequired: false });
    const volume = await persistent('crash');
    for (const step of ['NodeStageVolume', 'NodePublishVolume']) {
      driver.failures.set(step, 'as if killed here');
      await assert.rejects(
        volumes.mount(csiVolume(pod('u5'), volume), { ...MOUNT, signal: AbortSignal.timeout(5_000) }),
        new RegExp('rpc error: code = Internal desc = as if killed here'),
      );
      driver.failures.clear();
      await plugins.stop();
      await volumes.stop();
      volumes = agent();
      await volumes.load();
      assert.deepEqual(volumes.volumesInUse, ['kubernetes.io/csi/dir.test^handle-crash']);
      volumes.start();
      plugins.start();
      const registered = driver.registrations.length;
      await until('driver registered again', () => driver.registrations.length > registered);
    }
    const path = await volumes.mount(csiVolume(pod('u5'), volume), {
      ...MOUNT,
      signal: AbortSignal.timeout(5_000),
    });
    assert.ok(isMounted(path));
    driver.failures.set('NodeUnpublishVolume', 'busy');
    await assert.rejects(volumes.unmountPod('u5'), /busy/);
    driver.failures.clear();
    await volumes.unmountPod('u5');
    assert.equal(isMounted(path), false);
    assert.deepEqual(volumes.volumesInUse, []);
  });

  it('a damaged record is named, and nothing below it is touched', async () => {
    const volume = await persistent('damaged');
    const path = await volumes.mount(csiVolume(pod('u6'), volume), {
      ...MOUNT,
      signal: AbortSignal.timeout(5_000),
    });
    const record = join(path, '../vol_data.json');
    const text = readFileSync(record, 'utf8');
    writeFileSync(record, '{');
    await assert.rejects(volumes.unmountPod('u6'), /cannot read .*vol_data\.json: .*remove the file/);
    assert.ok(isMounted(path));
    writeFileSync(record, text);
    await volumes.unmountPod('u6');
  });

  it('volumes of a pod alone: only of drivers that offer them, unmounted with the pod', async () => {
    const inline = (of: Pod) =>
      inlineCsiVolume(of, {
        volume: { name: 'scratch' },
        source: { driver: 'dir.test', volumeAttributes: { size: '1' } },
      });
    await assert.rejects(
      volumes.mount(inline(pod('u7')), { ...MOUNT, signal: AbortSignal.timeout(5_000) }),
      /volume mode "Ephemeral" not supported by driver dir\.test \(only supports \["Persistent"\]\)/,
    );
    await driverObject({
      attachRequired: false,
      podInfoOnMount: true,
      volumeLifecycleModes: ['Ephemeral', 'Persistent'],
    });
    driver.calls.length = 0;
    await volumes.mount(inline(pod('u7')), { ...MOUNT, signal: AbortSignal.timeout(5_000) });
    assert.deepEqual(driver.names(), ['NodePublishVolume']);
    assert.equal(
      (driver.calls.at(-1)!.request['volumeContext'] as Record<string, string>)[
        'csi.storage.k8s.io/ephemeral'
      ],
      'true',
    );
    assert.deepEqual(volumes.volumesInUse, []);
    await volumes.unmountPod('u7');
    assert.deepEqual(driver.names(), ['NodePublishVolume', 'NodeUnpublishVolume']);
  });

  it('grows a mounted volume, with the secret of its claim', async () => {
    await api.create(secrets, {
      metadata: { name: 'grow', namespace: 'default' },
      data: { key: Buffer.from('s').toString('base64') },
    });
    const volume = await persistent('growing', {
      nodeExpandSecretRef: { name: 'grow', namespace: 'default' },
    });
    await api.patch(
      persistentVolumes,
      { name: 'growing' },
      { type: 'merge', patch: { spec: { capacity: { storage: '2Gi' } } } },
    );
    const claim = await api.get(persistentVolumeClaims, { name: 'growing', namespace: 'default' });
    await api.updateStatus(persistentVolumeClaims, {
      ...claim,
      status: { ...claim.status, conditions: [{ type: 'FileSystemResizePending', status: 'True' }] },
    });
    await api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
    const owner = await api.create(pods, {
      metadata: { name: 'grows', namespace: 'default' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    driver.calls.length = 0;
    await volumes.mount(csiVolume(owner, volume), { ...MOUNT, signal: AbortSignal.timeout(5_000) });
    const { request } = driver.calls.find(({ method }) => method === 'NodeExpandVolume')!;
    assert.deepEqual(request['capacityRange'], { requiredBytes: 2 * 1024 ** 3, limitBytes: 0 });
    assert.deepEqual(request['secrets'], { key: 's' });
    const after = await api.get(persistentVolumeClaims, { name: 'growing', namespace: 'default' });
    assert.equal(after.status?.capacity?.['storage'], '2Gi');
    assert.equal(after.status?.conditions, undefined);
    await volumes.unmountPod(owner.metadata.uid);
  });

  it('a driver that leaves is out of CSINode; its volumes are unmounted when it is back', async () => {
    const volume = await persistent('leaving');
    const path = await volumes.mount(csiVolume(pod('u8'), volume), {
      ...MOUNT,
      signal: AbortSignal.timeout(5_000),
    });
    driver.stop();
    await until(
      'out of CSINode',
      async () => (await api.get(csiNodes, { name: NODE })).spec.drivers?.length !== 1,
    );
    await assert.rejects(
      volumes.unmountPod('u8'),
      /driver name dir\.test not found in the list of registered CSI drivers/,
    );
    const registered = driver.registrations.length;
    await driver.start();
    await until('driver registered again', () => driver.registrations.length > registered);
    await volumes.unmountPod('u8');
    assert.equal(isMounted(path), false);
  });
});
