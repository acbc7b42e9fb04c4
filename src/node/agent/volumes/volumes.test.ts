import assert from 'node:assert/strict';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ConfigMap, Pod, Secret, Volume } from '#api/types.ts';
import { realClock } from '#stdx/clock.ts';
import type { DownwardContext } from '../config/downward.ts';
import { writeAtomically, type VolumeFile } from './atomic-writer.ts';
import { prepareHostPath } from './host-path.ts';
import { unmount, unmountBelow } from './mounts.ts';
import { buildPayload } from './payload.ts';
import { PodVolumes } from './pod-volumes.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';
import { bindSubPath } from './sub-path.ts';

const skip = process.getuid?.() === 0 && process.platform === 'linux' ? false : 'mounts need root on Linux';
let dir: string;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capstan-volumes-'));
});
after(async () => {
  if (!skip) await unmountBelow(dir);
  await rm(dir, { recursive: true, force: true });
});

function files(content: Readonly<Record<string, string>>, mode = 0o644): ReadonlyMap<string, VolumeFile> {
  return new Map(Object.entries(content).map(([path, text]) => [path, { data: Buffer.from(text), mode }]));
}

describe('atomic writer', () => {
  test('files behind one link that is swapped; nothing is written when nothing changed', async () => {
    const target = join(dir, 'atomic');
    await mkdir(target);
    assert.equal(await writeAtomically(target, { files: files({ a: '1', 'deep/b': '2' }), nowMs: 0 }), true);
    const first = await readlink(join(target, '..data'));
    assert.equal(await readlink(join(target, 'a')), '..data/a');
    assert.equal(await readFile(join(target, 'deep/b'), 'utf8'), '2');
    assert.equal(await writeAtomically(target, { files: files({ a: '1', 'deep/b': '2' }), nowMs: 1 }), false);
    assert.equal(await writeAtomically(target, { files: files({ a: '1', c: '3' }), nowMs: 2 }), true);
    const second = await readlink(join(target, '..data'));
    assert.notEqual(second, first);
    assert.deepEqual((await readdir(target)).sort(), ['..data', second, 'a', 'c'].sort());
    assert.equal(
      await writeAtomically(target, { files: files({ a: '1', c: '3' }, 0o400), nowMs: 3 }),
      true,
      'modes count',
    );
    assert.equal((await stat(join(target, 'a'))).mode & 0o777, 0o400);
    assert.equal(await writeAtomically(target, { files: new Map(), nowMs: 4 }), true);
    assert.deepEqual(
      (await readdir(target)).filter((name) => !name.startsWith('..')),
      [],
    );
  });

  test('a reader sees the old files or the new ones, never a mixture', async () => {
    const target = join(dir, 'mixture');
    await mkdir(target);
    await writeAtomically(target, { files: files({ a: '0', b: '0' }), nowMs: 0 });
    let done = false;
    const writer = (async () => {
      for (let round = 1; round <= 50; round += 1)
        await writeAtomically(target, { files: files({ a: String(round), b: String(round) }), nowMs: round });
      done = true;
    })();
    while (!done) {
      const at = await readlink(join(target, '..data'));
      const pair = await Promise.all(
        ['a', 'b'].map((name) => readFile(join(target, at, name), 'utf8').catch(() => undefined)),
      );
      if (pair[0] !== undefined && pair[1] !== undefined) assert.equal(pair[0], pair[1]);
    }
    await writer;
  });

  test('paths that lead out are refused', async () => {
    for (const path of ['../x', '/x', 'a/../../x', '..data', ''])
      await assert.rejects(
        writeAtomically(join(dir, 'none'), { files: files({ [path]: 'x' }), nowMs: 0 }),
        /must be relative and inside the volume/,
      );
  });
});

describe('payload', () => {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u', labels: { b: '2', a: '1' } },
    spec: { containers: [{ name: 'c', resources: { limits: { cpu: '1500m' } } }] },
  };
  const downward: DownwardContext = {
    pod,
    podIPs: [],
    hostIPs: [],
    nodeName: 'n',
    allocatable: { cpu: '2', memory: '1Gi' },
  };
  const map: ConfigMap = {
    metadata: { name: 'm', namespace: 'ns' },
    data: { k: 'v', l: 'w' },
    binaryData: { bin: Buffer.from([0, 255]).toString('base64') },
  };
  const secret: Secret = {
    metadata: { name: 's', namespace: 'ns' },
    data: { p: Buffer.from('hush').toString('base64') },
  };
  const objects = {
    configMap: (_: string, name: string) => Promise.resolve(name === 'm' ? map : undefined),
    secret: (_: string, name: string) => Promise.resolve(name === 's' ? secret : undefined),
  };
  const tokens = { token: () => Promise.resolve({ token: 't.o.k', renewAtMs: 77, expiresAtMs: 99 }) };
  const contents = async (
    volume: Omit<Volume, 'name'>,
    of: DownwardContext = downward,
  ): Promise<Record<string, string>> => {
    const payload = await buildPayload({ name: 'v', ...volume }, { objects, tokens, downward: of });
    return Object.fromEntries(
      [...(payload?.files ?? [])].map(([path, { data, mode, uid }]) => [
        path,
        `${data.toString('latin1')} ${mode.toString(8)}${uid === undefined ? '' : ` ${uid}`}`,
      ]),
    );
  };

  test('config maps: all keys, chosen keys, modes, optional', async () => {
    assert.deepEqual(await contents({ configMap: { name: 'm' } }), {
      k: 'v 644',
      l: 'w 644',
      bin: '\u0000\u00ff 644',
    });
    assert.deepEqual(
      await contents({
        configMap: {
          name: 'm',
          defaultMode: 0o600,
          items: [
            { key: 'k', path: 'x/y' },
            { key: 'l', path: 'z', mode: 0o400 },
          ],
        },
      }),
      { 'x/y': 'v 600', z: 'w 400' },
    );
    assert.deepEqual(await contents({ configMap: { name: 'none', optional: true } }), {});
    await assert.rejects(
      contents({ configMap: { name: 'none' } }),
      /^VolumeError: configmap "none" not found$/,
    );
    await assert.rejects(
      contents({ configMap: { name: 'm', items: [{ key: 'no', path: 'x' }] } }),
      /references non-existent config key: no/,
    );
    await assert.rejects(
      contents({ secret: { secretName: 's', items: [{ key: 'no', path: 'x' }] } }),
      /references non-existent secret key: no/,
    );
  });

  test('projected: everything together, tokens and their access', async () => {
    const sources = [
      { configMap: { name: 'm', items: [{ key: 'k', path: 'k' }] } },
      { secret: { name: 's' } },
      { serviceAccountToken: { path: 'token' } },
      { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
    ];
    assert.deepEqual(await contents({ projected: { sources } }), {
      k: 'v 644',
      p: 'hush 644',
      token: 't.o.k 644',
      labels: 'a="1"\nb="2" 644',
    });
    assert.equal(
      (await buildPayload({ name: 'v', projected: { sources } }, { objects, tokens, downward }))?.renewAtMs,
      77,
    );
    const asUser = {
      ...downward,
      pod: {
        ...pod,
        spec: { ...pod.spec, securityContext: { runAsUser: 1000 }, containers: [{ name: 'c' }] },
      },
    };
    assert.equal((await contents({ projected: { sources } }, asUser))['token'], 't.o.k 600 1000');
    const inGroup = {
      ...asUser,
      pod: {
        ...asUser.pod,
        spec: { ...asUser.pod.spec, securityContext: { runAsUser: 1000, fsGroup: 2000 } },
      },
    };
    assert.equal((await contents({ projected: { sources } }, inGroup))['token'], 't.o.k 600 1000');
    await assert.rejects(
      contents({ projected: { sources: [{ clusterTrustBundle: { path: 'x' } }] } }),
      /clusterTrustBundle projections are not supported by this node/,
    );
  });

  test("downward API: resources in their divisor, the node's where there is no limit", async () => {
    const items = [
      ['limits.cpu', '0'],
      ['limits.cpu', '1m'],
      ['limits.memory', '1Mi'],
      ['requests.cpu', '1m'],
    ].map(([resource = '', divisor = ''], index) => ({
      path: String(index),
      resourceFieldRef: { containerName: 'c', resource, divisor },
    }));
    assert.deepEqual(Object.values(await contents({ downwardAPI: { items } })), [
      '2 644',
      '1500 644',
      '1024 644',
      '1500 644',
    ]);
  });
});

describe('host paths', () => {
  test('are checked by their type', async () => {
    const file = join(dir, 'file');
    await writeFile(file, '');
    assert.equal(await prepareHostPath({ path: file, type: 'File' }), file);
    await assert.rejects(
      prepareHostPath({ path: file, type: 'Directory' }),
      new RegExp(`hostPath type check failed: ${file} is not a directory`),
    );
    await assert.rejects(prepareHostPath({ path: join(dir, 'none'), type: 'File' }), /is not a file/);
    await assert.rejects(prepareHostPath({ path: file, type: 'Socket' }), /is not a socket file/);
    await assert.rejects(prepareHostPath({ path: `${dir}/../x` }), /must not contain '\.\.'/);
    assert.ok(
      (
        await stat(await prepareHostPath({ path: join(dir, 'new'), type: 'DirectoryOrCreate' }))
      ).isDirectory(),
    );
    assert.ok(
      (await stat(await prepareHostPath({ path: join(dir, 'new-file'), type: 'FileOrCreate' }))).isFile(),
    );
  });
});

describe('sub paths', { skip }, () => {
  test('are bound, made where they are missing, and never lead out', async () => {
    const volumePath = join(dir, 'volume');
    await mkdir(join(volumePath, 'inside'), { recursive: true });
    await writeFile(join(volumePath, 'inside/file'), 'x');
    await symlink('/etc', join(volumePath, 'out'));
    await symlink('inside', join(volumePath, 'within'));
    await symlink('../..', join(volumePath, 'inside/up'));
    const target = join(dir, 'targets/0');
    const bind = (subPath: string, create = true): Promise<void> =>
      bindSubPath({ volumePath, subPath, target, create });
    await bind('inside/file');
    assert.equal(await readFile(target, 'utf8'), 'x');
    await bind('within');
    assert.deepEqual((await readdir(target)).sort(), ['file', 'up']);
    await chmod(volumePath, 0o2777);
    await bind('made/deep');
    for (const made of ['made', 'made/deep'])
      assert.equal((await stat(join(volumePath, made))).mode & 0o7777, 0o2777, made);
    assert.ok((await stat(join(volumePath, 'made/deep'))).isDirectory());
    for (const path of ['out', 'out/passwd', 'inside/up', '../x'])
      await assert.rejects(bind(path), /VolumeError/);
    await assert.rejects(bind('missing', false), /does not exist in the volume/);
    await unmount(target);
  });
});

describe('volumes of a pod', { skip }, () => {
  test('are made, kept, and leave nothing behind', async () => {
    const objects = {
      configMap: () => Promise.resolve(undefined),
      secret: (): Promise<Secret> => Promise.resolve({ data: { p: 'aHVzaA==' } }),
    };
    const volumes = new PodVolumes({
      dir: join(dir, 'pods'),
      clock: realClock,
      objects,
      tokens: {} as ServiceAccountTokens,
    });
    const pod: Pod = {
      metadata: { name: 'p', namespace: 'd', uid: 'uid-1' },
      spec: {
        containers: [],
        securityContext: { fsGroup: 3000 },
        volumes: [
          { name: 'disk', emptyDir: {} },
          { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '2Mi' } },
          { name: 'word', secret: { secretName: 's', defaultMode: 0o400 } },
        ],
      },
    };
    const downward = { pod, podIPs: [], hostIPs: [], nodeName: 'n', allocatable: {} };
    const { paths } = await volumes.prepare(pod, downward);
    assert.equal((await stat(paths.get('disk') ?? '')).mode & 0o7777, 0o2777);
    assert.equal((await stat(paths.get('ram') ?? '')).mode & 0o7777, 0o3777);
    assert.equal((await stat(paths.get('disk') ?? '')).gid, 3000);
    await writeFile(join(paths.get('ram') ?? '', 'x'), 'kept');
    assert.equal((await stat(join(paths.get('word') ?? '', 'p'))).mode & 0o777, 0o440);
    assert.notEqual(
      (await lstat(paths.get('word') ?? '')).dev,
      (await lstat(dir)).dev,
      'secrets are not on disk',
    );
    await volumes.prepare(pod, downward);
    assert.equal(await readFile(join(paths.get('ram') ?? '', 'x'), 'utf8'), 'kept');
    assert.deepEqual(await volumes.leftovers(), ['uid-1']);
    await volumes.remove('uid-1');
    await volumes.remove('uid-1');
    assert.deepEqual(await volumes.leftovers(), []);
    assert.ok(!(await readFile('/proc/self/mountinfo', 'utf8')).includes('uid-1'));
  });

  test('kinds that are not supported are refused by name', async () => {
    const volumes = new PodVolumes({
      dir: join(dir, 'pods'),
      clock: realClock,
      objects: { configMap: () => Promise.resolve(undefined), secret: () => Promise.resolve(undefined) },
      tokens: {} as ServiceAccountTokens,
    });
    const pod: Pod = {
      metadata: { uid: 'uid-2' },
      spec: { containers: [], volumes: [{ name: 'x', csi: { driver: 'd' } }] },
    };
    await assert.rejects(
      volumes.prepare(pod, { pod, podIPs: [], hostIPs: [], nodeName: 'n', allocatable: {} }),
      /^VolumeSetupError: MountVolume\.SetUp failed for volume "x" : csi volumes are not supported by this node$/,
    );
    await volumes.remove('uid-2');
  });
});
