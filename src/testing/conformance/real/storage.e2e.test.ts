/** Volumes as containers see them: contents, modes, owners, updates. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { until } from '../../cluster.ts';
import type { Json } from '../bare-client.ts';
import { BUSYBOX } from './images.ts';
import { idle, task, type PodOptions } from './manifests.ts';
import {
  CONCURRENCY,
  inNamespace,
  isReady,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './real-world.ts';

const DATA = { 'data-1': 'value-1', 'data-2': 'value-2', 'data-3': 'value-3' };

type ObjectKind = 'configmap' | 'secret';

function object(kind: ObjectKind, name: string, data: Readonly<Record<string, string>> = DATA): Json {
  return {
    apiVersion: 'v1',
    kind: kind === 'secret' ? 'Secret' : 'ConfigMap',
    metadata: { name },
    ...(kind === 'secret' ? { stringData: data } : { data }),
  };
}

/** The volume of an object, by itself or projected. */
function volumeOf(
  kind: ObjectKind,
  {
    name = 'object',
    projected = false,
    defaultMode,
    items,
    optional,
  }: {
    readonly name?: string;
    readonly projected?: boolean;
    readonly defaultMode?: number | undefined;
    readonly items?: Json[] | undefined;
    readonly optional?: boolean;
  } = {},
): Json {
  const more = { items, optional };
  if (projected)
    return {
      projected: {
        defaultMode,
        sources: [{ [kind === 'secret' ? 'secret' : 'configMap']: { name, ...more } }],
      },
    };
  return kind === 'secret'
    ? { secret: { secretName: name, defaultMode, ...more } }
    : { configMap: { name, defaultMode, ...more } };
}

const MAPPED = [{ key: 'data-2', path: 'path/to/data-2' }];

describe('conformance in real containers: storage', { skip: missing, concurrency: 2 }, () => {
  let world: RealWorld;
  before(async () => {
    world = await startRealWorld();
  });
  after(async () => world?.stop());
  const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
    inNamespace(() => world, test);
  const make = (
    { core }: Place,
    kind: ObjectKind,
    name = 'object',
    data?: Readonly<Record<string, string>>,
  ): Promise<Json> => world.post(`${core}/${kind}s`, object(kind, name, data));
  const mounted = (source: Json, { spec = {}, container = {}, ...more }: PodOptions = {}): PodOptions => ({
    ...more,
    container: { volumeMounts: [{ name: 'volume', mountPath: '/volume', readOnly: true }], ...container },
    spec: { volumes: [{ name: 'volume', ...source }], ...spec },
  });

  /** Mode and content of these files, as a pod with this volume at /volume sees them. */
  const shows = async (
    place: Place,
    source: Json,
    files: Readonly<Record<string, readonly [mode: string, text: string]>>,
    options: PodOptions = {},
  ): Promise<void> => {
    const script = Object.keys(files)
      .map((path) => `stat -Lc %A /volume/${path} && cat /volume/${path} && echo`)
      .join(' && ');
    const text = await place.output(task('reader', script, mounted(source, options)));
    assert.equal(
      text,
      Object.values(files)
        .map(([mode, content]) => `${mode}\n${content}\n`)
        .join(''),
    );
  };
  const user = (securityContext: Json): PodOptions => ({ spec: { securityContext } });
  const NON_ROOT = user({ runAsUser: 1000, runAsNonRoot: true });

  /** One object as a volume, read once. */
  const objectShows = (
    kind: ObjectKind,
    {
      mode,
      options = {},
      ...source
    }: { readonly mode: string; readonly options?: PodOptions } & Parameters<typeof volumeOf>[1],
  ): (() => Promise<void>) =>
    inPlace(async (place) => {
      await make(place, kind);
      const wanted = source.items
        ? { 'path/to/data-2': [mode, 'value-2'] as const }
        : { 'data-1': [mode, 'value-1'] as const };
      await shows(place, volumeOf(kind, source), wanted, options);
    });

  /** One object in two volumes of a pod. */
  const objectShowsTwice = (kind: ObjectKind, projected: boolean): (() => Promise<void>) =>
    inPlace(async (place) => {
      await make(place, kind);
      const source = volumeOf(kind, { projected });
      const text = await place.output(
        task('reader', 'stat -Lc %A /one/data-1 && cat /one/data-1 /two/data-1', {
          container: {
            volumeMounts: [
              { name: 'one', mountPath: '/one', readOnly: true },
              { name: 'two', mountPath: '/two', readOnly: true },
            ],
          },
          spec: {
            volumes: [
              { name: 'one', ...source },
              { name: 'two', ...source },
            ],
          },
        }),
      );
      assert.equal(text, '-rw-r--r--\nvalue-1value-1');
    });

  const objectUpdates = (kind: ObjectKind, projected: boolean): (() => Promise<void>) =>
    inPlace(async (place) => {
      await make(place, kind);
      await place.run(idle('reader', mounted(volumeOf(kind, { projected }))));
      assert.equal(await place.sh('reader', 'cat /volume/data-1'), 'value-1');
      await world.patch(`${place.core}/${kind}s/object`, object(kind, 'object', { 'data-1': 'value-2' }));
      await place.says('reader', 'cat /volume/data-1', (text) => text === 'value-2');
    });

  /** Three optional objects in the pod's three containers: one that comes, one that changes, one that goes. */
  const objectsComeAndGo = (kind: ObjectKind, projected: boolean): (() => Promise<void>) =>
    inPlace(async (place) => {
      for (const name of ['update', 'delete']) await make(place, kind, name, { 'data-1': 'value-1' });
      const names = ['create', 'update', 'delete'];
      const { spec } = idle('reader');
      const containers = names.map((name) => ({
        ...spec.containers[0],
        name,
        volumeMounts: [{ name, mountPath: `/${name}`, readOnly: true }],
      }));
      await place.run(
        idle('reader', {
          spec: {
            containers,
            volumes: names.map((name) => ({ name, ...volumeOf(kind, { name, projected, optional: true }) })),
          },
        }),
      );
      assert.equal(await place.sh('reader', 'cat /update/data-1', 'update'), 'value-1');
      assert.equal(await place.sh('reader', 'cat /delete/data-1', 'delete'), 'value-1');
      assert.equal((await place.exec('reader', 'cat /create/data-1', 'create')).code, 1);

      await world.del(`${place.core}/${kind}s/delete`);
      await world.put(`${place.core}/${kind}s/update`, object(kind, 'update', { 'data-3': 'value-3' }));
      await make(place, kind, 'create', { 'data-1': 'value-1' });
      const shown = (container: string, path: string, wanted: string): Promise<unknown> =>
        until(
          `${path}: ${wanted}`,
          async () =>
            (await place.exec('reader', `cat ${path} 2>/dev/null || echo gone`, container)).stdout.trim() ===
            wanted,
        );
      await shown('create', '/create/data-1', 'value-1');
      await shown('update', '/update/data-3', 'value-3');
      await shown('update', '/update/data-1', 'gone');
      await shown('delete', '/delete/data-1', 'gone');
    });

  describe('config maps', { concurrency: CONCURRENCY }, () => {
    it('ConfigMap Volume, without mapping', objectShows('configmap', { mode: '-rw-r--r--' }));
    it(
      'ConfigMap Volume, without mapping, non-root user',
      objectShows('configmap', { mode: '-rw-r--r--', options: NON_ROOT }),
    );
    it(
      'ConfigMap Volume, without mapping, volume mode set',
      objectShows('configmap', { mode: '-r--------', defaultMode: 0o400 }),
    );
    it('ConfigMap Volume, with mapping', objectShows('configmap', { mode: '-rw-r--r--', items: MAPPED }));
    it(
      'ConfigMap Volume, with mapping, volume mode set',
      objectShows('configmap', {
        mode: '-r--------',
        items: MAPPED.map((item) => ({ ...item, mode: 0o400 })),
      }),
    );
    it(
      'ConfigMap Volume, with mapping, non-root user',
      objectShows('configmap', { mode: '-rw-r--r--', items: MAPPED, options: NON_ROOT }),
    );
    it('ConfigMap Volume, multiple volume maps', objectShowsTwice('configmap', false));
    it('ConfigMap Volume, update', objectUpdates('configmap', false));
    it('ConfigMap Volume, create, update and delete', objectsComeAndGo('configmap', false));
    it(
      'ConfigMap Volume, text data, binary data',
      inPlace(async (place) => {
        const bytes = Buffer.from([0xde, 0xca, 0xfe, 0xba, 0xd0, 0xfe, 0xff, 0x00]);
        await world.post(`${place.core}/configmaps`, {
          ...object('configmap', 'object', { text: 'value' }),
          binaryData: { 'dump.bin': bytes.toString('base64') },
        });
        assert.equal(
          await place.output(
            task(
              'reader',
              'cat /volume/text && echo && base64 /volume/dump.bin',
              mounted(volumeOf('configmap')),
            ),
          ),
          `value\n${bytes.toString('base64')}\n`,
        );
      }),
    );
  });

  describe('secrets', { concurrency: CONCURRENCY }, () => {
    it('Secrets Volume, default', objectShows('secret', { mode: '-rw-r--r--' }));
    it('Secrets Volume, volume mode 0400', objectShows('secret', { mode: '-r--------', defaultMode: 0o400 }));
    it(
      'Secrets Volume, volume mode 0440, fsGroup 1001 and uid 1000',
      objectShows('secret', {
        mode: '-r--r-----',
        defaultMode: 0o440,
        options: user({ runAsUser: 1000, fsGroup: 1001 }),
      }),
    );
    it('Secrets Volume, mapping', objectShows('secret', { mode: '-rw-r--r--', items: MAPPED }));
    it(
      'Secrets Volume, mapping, volume mode 0400',
      objectShows('secret', { mode: '-r--------', items: MAPPED.map((item) => ({ ...item, mode: 0o400 })) }),
    );
    it('Secrets Volume, mapping multiple volume paths', objectShowsTwice('secret', false));
    it('Secrets Volume, create, update and delete', objectsComeAndGo('secret', false));
    it(
      'Secrets Volume, volume mode default, secret with same name in different namespace',
      inPlace(async (place) => {
        const other = await world.namespace();
        await world.post(
          `/api/v1/namespaces/${other}/secrets`,
          object('secret', 'object', { 'data-1': 'another' }),
        );
        await make(place, 'secret');
        await shows(place, volumeOf('secret'), { 'data-1': ['-rw-r--r--', 'value-1'] });
        await world.del(`/api/v1/namespaces/${other}`);
      }),
    );
  });

  describe('projected objects', { concurrency: CONCURRENCY }, () => {
    it(
      'Projected Volume, ConfigMap, volume mode default',
      objectShows('configmap', { projected: true, mode: '-rw-r--r--' }),
    );
    it(
      'Projected Volume, ConfigMap, non-root user',
      objectShows('configmap', { projected: true, mode: '-rw-r--r--', options: NON_ROOT }),
    );
    it(
      'Projected Volume, ConfigMap, volume mode 0400',
      objectShows('configmap', { projected: true, mode: '-r--------', defaultMode: 0o400 }),
    );
    it(
      'Projected Volume, ConfigMap, mapped',
      objectShows('configmap', { projected: true, mode: '-rw-r--r--', items: MAPPED }),
    );
    it(
      'Projected Volume, ConfigMap, mapped, volume mode 0400',
      objectShows('configmap', {
        projected: true,
        mode: '-r--------',
        items: MAPPED.map((item) => ({ ...item, mode: 0o400 })),
      }),
    );
    it(
      'Projected Volume, ConfigMap, mapped, non-root user',
      objectShows('configmap', { projected: true, mode: '-rw-r--r--', items: MAPPED, options: NON_ROOT }),
    );
    it('Projected Volume, ConfigMap, multiple volume paths', objectShowsTwice('configmap', true));
    it('Projected Volume, ConfigMap, update', objectUpdates('configmap', true));
    it('Projected Volume, ConfigMap, create, update and delete', objectsComeAndGo('configmap', true));
    it(
      'Projected Volume, Secrets, volume mode default',
      objectShows('secret', { projected: true, mode: '-rw-r--r--' }),
    );
    it(
      'Projected Volume, Secrets, volume mode 0400',
      objectShows('secret', { projected: true, mode: '-r--------', defaultMode: 0o400 }),
    );
    it(
      'Project Volume, Secrets, non-root, custom fsGroup',
      objectShows('secret', {
        projected: true,
        mode: '-r--r-----',
        defaultMode: 0o440,
        options: user({ runAsUser: 1000, fsGroup: 1001 }),
      }),
    );
    it(
      'Projected Volume, Secrets, mapped',
      objectShows('secret', { projected: true, mode: '-rw-r--r--', items: MAPPED }),
    );
    it(
      'Projected Volume, Secrets, mapped, volume mode 0400',
      objectShows('secret', {
        projected: true,
        mode: '-r--------',
        items: MAPPED.map((item) => ({ ...item, mode: 0o400 })),
      }),
    );
    it('Projected Volume, Secrets, mapped, multiple paths', objectShowsTwice('secret', true));
    it('Projected Volume, Secrets, create, update delete', objectsComeAndGo('secret', true));
    it(
      'Projected Volume, multiple projections',
      inPlace(async (place) => {
        await make(place, 'configmap', 'map', { 'configmap-data': 'from the map' });
        await make(place, 'secret', 'secret', { 'secret-data': 'from the secret' });
        const items = [
          { path: 'podname', fieldRef: { fieldPath: 'metadata.name' } },
          ...(['limits', 'requests'] as const).flatMap((kind) =>
            (['cpu', 'memory'] as const).map((name) => ({
              path: `${kind}-${name}`,
              resourceFieldRef: { containerName: 'main', resource: `${kind}.${name}` },
            })),
          ),
        ];
        const source = {
          projected: {
            sources: [
              { downwardAPI: { items } },
              { secret: { name: 'secret' } },
              { configMap: { name: 'map' } },
            ],
          },
        };
        const of = (text: string): readonly [string, string] => ['-rw-r--r--', text];
        await shows(
          place,
          source,
          {
            podname: of('reader'),
            'secret-data': of('from the secret'),
            'configmap-data': of('from the map'),
            'limits-cpu': of('2'),
            'limits-memory': of('67108864'),
            'requests-cpu': of('1'),
            'requests-memory': of('33554432'),
          },
          { container: { resources: RESOURCES } },
        );
      }),
    );
  });

  const RESOURCES = { limits: { cpu: '1250m', memory: '64Mi' }, requests: { cpu: '250m', memory: '32Mi' } };
  const downward = (projected: boolean, items: Json[], defaultMode?: number): Json =>
    projected
      ? { projected: { defaultMode, sources: [{ downwardAPI: { items } }] } }
      : { downwardAPI: { items, defaultMode } };
  const resource = (projected: boolean, name: string, text: string): (() => Promise<void>) =>
    inPlace((place) =>
      shows(
        place,
        downward(projected, [
          { path: 'amount', resourceFieldRef: { containerName: 'main', resource: name } },
        ]),
        { amount: ['-rw-r--r--', text] },
        { container: { resources: RESOURCES } },
      ),
    );
  /** Without a limit of its own a container may use what the node has to give. */
  const nodesOwn = (projected: boolean, name: 'cpu' | 'memory'): (() => Promise<void>) =>
    inPlace((place) => {
      const text: string = world.node.status.allocatable[name];
      const amount = name === 'cpu' ? text : String(Number(text.replace('Ki', '')) * 1024);
      return shows(
        place,
        downward(projected, [
          { path: 'amount', resourceFieldRef: { containerName: 'main', resource: `limits.${name}` } },
        ]),
        { amount: ['-rw-r--r--', amount] },
      );
    });
  const podName = (
    projected: boolean,
    {
      mode,
      defaultMode,
      itemMode,
    }: { readonly mode: string; readonly defaultMode?: number; readonly itemMode?: number },
  ): (() => Promise<void>) =>
    inPlace((place) =>
      shows(
        place,
        downward(
          projected,
          [{ path: 'podname', fieldRef: { fieldPath: 'metadata.name' }, mode: itemMode }],
          defaultMode,
        ),
        { podname: [mode, 'reader'] },
      ),
    );
  const metadataUpdates = (projected: boolean, field: 'labels' | 'annotations'): (() => Promise<void>) =>
    inPlace(async (place) => {
      await place.run(
        idle(
          'reader',
          mounted(downward(projected, [{ path: 'shown', fieldRef: { fieldPath: `metadata.${field}` } }]), {
            [field]: { key1: 'value1', key2: 'value2' },
          }),
        ),
      );
      assert.equal(await place.sh('reader', 'cat /volume/shown'), 'key1="value1"\nkey2="value2"');
      await world.patch(`${place.core}/pods/reader`, { metadata: { [field]: { key3: 'value3' } } });
      await place.says(
        'reader',
        'cat /volume/shown',
        (text) => text === 'key1="value1"\nkey2="value2"\nkey3="value3"',
      );
    });

  describe('downward API', { concurrency: CONCURRENCY }, () => {
    it('DownwardAPI volume, CPU limits', resource(false, 'limits.cpu', '2'));
    it('DownwardAPI volume, CPU request', resource(false, 'requests.cpu', '1'));
    it('DownwardAPI volume, memory limits', resource(false, 'limits.memory', '67108864'));
    it('DownwardAPI volume, memory request', resource(false, 'requests.memory', '33554432'));
    it('DownwardAPI volume, CPU limit, default node allocatable', nodesOwn(false, 'cpu'));
    it('DownwardAPI volume, memory limit, default node allocatable', nodesOwn(false, 'memory'));
    it('DownwardAPI volume, pod name', podName(false, { mode: '-rw-r--r--' }));
    it('DownwardAPI volume, volume mode 0400', podName(false, { mode: '-r--------', defaultMode: 0o400 }));
    it('DownwardAPI volume, file mode 0400', podName(false, { mode: '-r--------', itemMode: 0o400 }));
    it('DownwardAPI volume, update annotations', metadataUpdates(false, 'annotations'));
    it('DownwardAPI volume, update label', metadataUpdates(false, 'labels'));
    it('Projected Volume, DownwardAPI, CPU limits', resource(true, 'limits.cpu', '2'));
    it('Projected Volume, DownwardAPI, CPU request', resource(true, 'requests.cpu', '1'));
    it('Projected Volume, DownwardAPI, memory limits', resource(true, 'limits.memory', '67108864'));
    it('Projected Volume, DownwardAPI, memory request', resource(true, 'requests.memory', '33554432'));
    it('Projected Volume, DownwardAPI, CPU limit, node allocatable', nodesOwn(true, 'cpu'));
    it('Projected Volume, DownwardAPI, memory limit, node allocatable', nodesOwn(true, 'memory'));
    it('Projected Volume, DownwardAPI, pod name', podName(true, { mode: '-rw-r--r--' }));
    it(
      'Projected Volume, DownwardAPI, volume mode 0400',
      podName(true, { mode: '-r--------', defaultMode: 0o400 }),
    );
    it(
      'Projected Volume, DownwardAPI, volume mode 0400',
      podName(true, { mode: '-r--------', itemMode: 0o400 }),
    );
    it('Projected Volume, DownwardAPI, update annotation', metadataUpdates(true, 'annotations'));
    it('Projected Volume, DownwardAPI, update labels', metadataUpdates(true, 'labels'));
  });

  /** A file with this mode is made in the volume and read; in memory it is of a tmpfs. */
  const newFile = (medium: '' | 'Memory', mode: string, options: PodOptions = {}): (() => Promise<void>) =>
    inPlace(async (place) => {
      const script = `umask 0 && echo content > /volume/file && chmod ${mode} /volume/file && stat -c %A /volume/file && cat /volume/file && grep ' /volume ' /proc/mounts`;
      const text = await place.output(
        task(
          'writer',
          script,
          mounted(
            { emptyDir: { medium } },
            { ...options, container: { volumeMounts: [{ name: 'volume', mountPath: '/volume' }] } },
          ),
        ),
      );
      const [shown, content, mount = ''] = text.split('\n');
      assert.equal(shown, { '0644': '-rw-r--r--', '0666': '-rw-rw-rw-', '0777': '-rwxrwxrwx' }[mode]);
      assert.equal(content, 'content');
      if (medium === 'Memory') assert.equal(mount.split(' ')[2], 'tmpfs');
    });
  const ownMode = (medium: '' | 'Memory'): (() => Promise<void>) =>
    inPlace(async (place) => {
      const text = await place.output(
        task(
          'reader',
          "stat -c %A /volume && grep ' /volume ' /proc/mounts",
          mounted({ emptyDir: { medium } }),
        ),
      );
      const [mode, mount = ''] = text.split('\n');
      // A tmpfs is sticky.
      assert.equal(mode, medium === 'Memory' ? 'drwxrwxrwt' : 'drwxrwxrwx');
      if (medium === 'Memory') assert.equal(mount.split(' ')[2], 'tmpfs');
    });
  const NOBODY = user({ runAsUser: 1001 });

  describe('empty directories', { concurrency: CONCURRENCY }, () => {
    it('EmptyDir, medium memory, volume mode default', ownMode('Memory'));
    it('EmptyDir, medium default, volume mode default', ownMode(''));
    it('EmptyDir, medium memory, volume mode 0644', newFile('Memory', '0644'));
    it('EmptyDir, medium memory, volume mode 0666', newFile('Memory', '0666'));
    it('EmptyDir, medium memory, volume mode 0777', newFile('Memory', '0777'));
    it('EmptyDir, medium memory, volume mode 0644, non-root user', newFile('Memory', '0644', NOBODY));
    it('EmptyDir, medium memory, volume mode 0666,, non-root user', newFile('Memory', '0666', NOBODY));
    it('EmptyDir, medium memory, volume mode 0777, non-root user', newFile('Memory', '0777', NOBODY));
    it('EmptyDir, medium default, volume mode 0644', newFile('', '0644'));
    it('EmptyDir, medium default, volume mode 0666', newFile('', '0666'));
    it('EmptyDir, medium default, volume mode 0777', newFile('', '0777'));
    it('EmptyDir, medium default, volume mode 0644', newFile('', '0644', NOBODY));
    it('EmptyDir, medium default, volume mode 0666', newFile('', '0666', NOBODY));
    it('EmptyDir, medium default, volume mode 0777', newFile('', '0777', NOBODY));

    it(
      'EmptyDir, Shared volumes between containers',
      inPlace(async (place) => {
        const container = (name: string, script: string): Json => ({
          name,
          image: BUSYBOX,
          command: ['sh', '-c', script],
          volumeMounts: [{ name: 'volume', mountPath: '/shared' }],
        });
        const containers = [
          container('main', 'while ! test -f /shared/file; do sleep 0.1; done; sleep 100000'),
          container(
            'sub',
            'echo from the other > /shared/draft && mv /shared/draft /shared/file; sleep 100000',
          ),
        ];
        await place.run(
          idle('sharing', { spec: { containers, volumes: [{ name: 'volume', emptyDir: {} }] } }),
        );
        await until(
          'the file',
          async () => (await place.exec('sharing', 'cat /shared/file', 'sub')).stdout === 'from the other\n',
        );
        assert.equal(await place.sh('sharing', 'cat /shared/file', 'main'), 'from the other');
      }),
    );

    it(
      'EmptyDir Wrapper Volume, Secret and ConfigMap volumes, no conflict',
      inPlace(async (place) => {
        await make(place, 'configmap', 'map');
        await make(place, 'secret', 'secret');
        const volumes = [
          { name: 'map', configMap: { name: 'map' } },
          { name: 'secret', secret: { secretName: 'secret' } },
        ];
        await place.run(
          idle('both', {
            container: { volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/${name}` })) },
            spec: { volumes },
          }),
        );
        assert.equal(await place.sh('both', 'cat /map/data-1 /secret/data-2'), 'value-1value-2');
      }),
    );

    it(
      'EmptyDir Wrapper Volume, ConfigMap volumes, no race',
      inPlace(async (place) => {
        const names = Array.from({ length: 50 }, (_, index) => `map-${index}`);
        await Promise.all(names.map((name) => make(place, 'configmap', name)));
        const { spec } = idle('racing', {
          container: { volumeMounts: names.map((name) => ({ name, mountPath: `/${name}` })) },
          spec: {
            restartPolicy: 'Always',
            volumes: names.map((name) => ({
              name,
              configMap: { name, items: [{ key: 'data-1', path: 'data-1' }] },
            })),
          },
        });
        await world.post(`${place.core}/replicationcontrollers`, {
          apiVersion: 'v1',
          kind: 'ReplicationController',
          metadata: { name: 'racing' },
          spec: {
            replicas: 5,
            selector: { app: 'racing' },
            template: { metadata: { labels: { app: 'racing' } }, spec },
          },
        });
        await until('5 pods to be ready', () => place.pods().filter(isReady).length === 5, 120_000);
        const events = await world.get(`${place.core}/events?fieldSelector=reason%3DFailedMount`);
        assert.deepEqual(
          events.items.map(({ message }: Json) => message),
          [],
        );
        for (const {
          metadata: { name },
        } of place.pods())
          assert.equal(await place.sh(name, 'cat /map-0/data-1 /map-49/data-1'), 'value-1value-1');
      }),
    );
  });

  /** A file of a volume as a mount of its own. */
  const subPath = (
    source: Json,
    {
      path,
      text,
      mountPath = '/file',
    }: { readonly path: string; readonly text: string; readonly mountPath?: string },
  ): (() => Promise<void>) =>
    inPlace(async (place) => {
      await make(place, 'configmap');
      await make(place, 'secret');
      const options = {
        container: { volumeMounts: [{ name: 'volume', mountPath, subPath: path }] },
        spec: { volumes: [{ name: 'volume', ...source }] },
      };
      assert.equal(await place.output(task('reader', `cat ${mountPath}`, options)), text);
    });

  describe('sub paths', { concurrency: CONCURRENCY }, () => {
    it(
      'SubPath: Reading content from a configmap volume.',
      subPath(volumeOf('configmap'), { path: 'data-1', text: 'value-1' }),
    );
    it(
      'SubPath: Reading content from a configmap volume.',
      subPath(volumeOf('configmap'), { path: 'data-1', text: 'value-1', mountPath: '/etc/passwd' }),
    );
    it(
      'SubPath: Reading content from a secret volume.',
      subPath(volumeOf('secret'), { path: 'data-2', text: 'value-2' }),
    );
    it(
      'SubPath: Reading content from a downwardAPI volume.',
      subPath(downward(false, [{ path: 'downward/podname', fieldRef: { fieldPath: 'metadata.name' } }]), {
        path: 'downward/podname',
        text: 'reader',
      }),
    );
    it(
      'SubPath: Reading content from a projected volume.',
      subPath(volumeOf('configmap', { projected: true, items: [{ key: 'data-1', path: 'projected/key' }] }), {
        path: 'projected/key',
        text: 'value-1',
      }),
    );
  });
});
