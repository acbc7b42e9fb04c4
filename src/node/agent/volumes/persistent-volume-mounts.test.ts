import assert from 'node:assert/strict';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PersistentVolumeSpec, Pod } from '#api/types.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { realClock } from '#stdx/clock.ts';
import { ClaimedVolumes } from './claimed-volumes.ts';
import { unmountBelow } from './mounts.ts';
import { setOwnership } from './ownership.ts';
import { PodVolumes } from './pod-volumes.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';

const skip = process.getuid?.() === 0 && process.platform === 'linux' ? false : 'mounts need root on Linux';

describe('volumes of claims', { skip }, () => {
  let dir: string;
  let volumes: PodVolumes;
  let claimed: ClaimedVolumes;
  const api = createClient(createDirectTransport(createFakeApi().handler), {
    userAgent: 'test',
    clock: realClock,
  });
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-claimed-'));
    claimed = new ClaimedVolumes({ api, nodeName: 'n1', nodeLabels: () => ({ zone: 'a' }) });
    volumes = new PodVolumes({
      dir: join(dir, 'pods'),
      clock: realClock,
      objects: { configMap: () => Promise.resolve(undefined), secret: () => Promise.resolve(undefined) },
      tokens: {} as ServiceAccountTokens,
      claimed,
    });
  });
  after(async () => {
    await api.close();
    await unmountBelow(dir);
    await rm(dir, { recursive: true, force: true });
  });

  /** A claim that is bound to a volume with this spec, and a pod that uses it. */
  const podWith = async (
    name: string,
    spec: PersistentVolumeSpec,
    {
      phase = 'Bound',
      securityContext = {},
    }: { readonly phase?: string; readonly securityContext?: object } = {},
  ): Promise<Pod> => {
    const { metadata } = await api.create(persistentVolumeClaims, {
      metadata: { name, namespace: 'shop' },
      spec: { volumeName: `v-${name}` },
      status: { phase },
    });
    await api.create(persistentVolumes, {
      metadata: { name: `v-${name}` },
      spec: { claimRef: { name, namespace: 'shop', uid: metadata.uid }, ...spec },
    });
    return {
      metadata: { name, namespace: 'shop', uid: `uid-${name}` },
      spec: {
        containers: [],
        securityContext,
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }],
      },
    };
  };
  const prepare = async (pod: Pod): Promise<string> => {
    const downward = { pod, podIPs: [], hostIPs: [], nodeName: 'n1', allocatable: {} };
    return (await volumes.prepare(pod, downward)).paths.get('data') ?? '';
  };

  it('a local volume is bound into the pod, given to its group, and outlives it', async () => {
    const path = join(dir, 'disk');
    await mkdir(join(path, 'deep'), { recursive: true });
    await writeFile(join(path, 'deep/file'), 'kept', { mode: 0o600 });
    const pod = await podWith('local', { local: { path } }, { securityContext: { fsGroup: 3000 } });
    const mounted = await prepare(pod);
    assert.equal(mounted, join(dir, 'pods/uid-local/volumes/kubernetes.io~local-volume/v-local'));
    assert.equal(await readFile(join(mounted, 'deep/file'), 'utf8'), 'kept');
    const { gid, mode } = await stat(join(path, 'deep/file'));
    assert.deepEqual([gid, mode & 0o7777], [3000, 0o660]);
    assert.equal((await stat(path)).mode & 0o7777, 0o2775);
    assert.equal(await prepare(pod), mounted, 'again mounts nothing');
    const text = await readFile('/proc/self/mountinfo', 'utf8');
    assert.equal(text.split('\n').filter((line) => line.includes('uid-local')).length, 1);
    assert.equal(claimed.isUsed('v-local'), true);
    await volumes.remove('uid-local');
    assert.equal(claimed.isUsed('v-local'), false);
    assert.equal(await readFile(join(path, 'deep/file'), 'utf8'), 'kept');
  });

  it('a hostPath volume is its path', async () => {
    const pod = await podWith('host', { hostPath: { path: join(dir, 'made'), type: 'DirectoryOrCreate' } });
    assert.equal(await prepare(pod), join(dir, 'made'));
  });

  it("what cannot be used is refused with upstream's words", async () => {
    const far = {
      required: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['b'] }] }],
      },
    };
    const cases: [string, PersistentVolumeSpec, { readonly phase?: string }, string][] = [
      [
        'missing',
        { local: { path: join(dir, 'none') } },
        {},
        `MountVolume.SetUp failed for volume "v-missing" : path "${join(dir, 'none')}" does not exist`,
      ],
      [
        'driver',
        { csi: { driver: 'd', volumeHandle: 'h' } },
        {},
        'MountVolume.SetUp failed for volume "v-driver" : csi volumes are not supported by this node',
      ],
      [
        'block',
        { volumeMode: 'Block', local: { path: dir } },
        {},
        `MountVolume.SetUp failed for volume "v-block" : ${dir} is not a block device`,
      ],
      [
        'far',
        { local: { path: dir }, nodeAffinity: far },
        {},
        'MountVolume.NodeAffinity check failed for volume "v-far" : no matching NodeSelectorTerms',
      ],
      [
        'pending',
        { local: { path: dir } },
        { phase: 'Pending' },
        'Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: error processing PVC shop/pending: PVC is not bound',
      ],
      [
        'stranger',
        { local: { path: dir }, claimRef: { name: 'stranger', namespace: 'shop', uid: 'other' } },
        {},
        '',
      ],
    ];
    for (const [name, spec, options, message] of cases) {
      const pod = await podWith(name, spec, options);
      const expected =
        message === '' ? /its pv\.Spec\.ClaimRef\.UID other does not point to claim\.UID/ : { message };
      await assert.rejects(prepare(pod), expected);
    }
  });

  it('nothing is removed while something is mounted below a pod', async () => {
    const path = join(dir, 'precious');
    await mkdir(path);
    await writeFile(join(path, 'file'), 'kept');
    const pod = await podWith('precious', { local: { path } });
    await prepare(pod);
    await volumes.remove('uid-precious');
    assert.deepEqual(await readdir(path), ['file']);
    assert.deepEqual((await volumes.leftovers()).includes('uid-precious'), false);
  });

  it('ownership: links are not followed; nothing is done twice for OnRootMismatch', async () => {
    const path = join(dir, 'owned');
    await mkdir(path);
    await writeFile(join(dir, 'outside'), '', { mode: 0o600 });
    await symlink(join(dir, 'outside'), join(path, 'link'));
    await setOwnership(path, { group: 4000, onRootMismatch: true });
    assert.equal((await lstat(join(path, 'link'))).gid, 4000);
    assert.equal((await stat(join(dir, 'outside'))).gid, 0);
    await writeFile(join(path, 'late'), '');
    await chmod(join(path, 'late'), 0o600);
    await setOwnership(path, { group: 4000, onRootMismatch: true });
    assert.equal((await stat(join(path, 'late'))).mode & 0o777, 0o600);
    await setOwnership(path, { group: 4000, onRootMismatch: false });
    assert.equal((await stat(join(path, 'late'))).mode & 0o777, 0o660);
  });
});
