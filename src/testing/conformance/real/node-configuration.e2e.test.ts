/** What a container is started with, as it sees it: command, environment, hosts, rights, kernel settings, expanded paths, files of images. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { buildImage, type LayerSource } from '#node/images/build.ts';
import { pushArchive, startRegistry } from '../../registry.ts';
import type { Json } from '../bare-client.ts';
import { BUSYBOX, ENTRYPOINT } from './images.ts';
import { idle, server, service, task, type PodOptions } from './manifests.ts';
import {
  CONCURRENCY,
  inNamespace,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './real-world.ts';

describe('conformance in real containers: configuration', { skip: missing, concurrency: CONCURRENCY }, () => {
  let world: RealWorld;
  before(async () => {
    world = await startRealWorld();
  });
  after(async () => world?.stop());
  const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
    inNamespace(() => world, test);

  const says = (container: Json, wanted: string): (() => Promise<void>) =>
    inPlace(async (place) =>
      assert.equal(
        await place.output(
          task('said', '', { container: { command: undefined, image: ENTRYPOINT, ...container } }),
        ),
        wanted,
      ),
    );

  it('Containers, without command and arguments', says({}, 'image entrypoint image arguments\n'));
  it(
    'Containers, with arguments',
    says({ args: ['other', 'arguments'] }, 'image entrypoint other arguments\n'),
  );
  it('Containers, with command', says({ command: ['/bin/echo', 'other command'] }, 'other command\n'));
  it(
    'Containers, with command and arguments',
    says(
      { command: ['/bin/echo', 'other command'], args: ['other', 'arguments'] },
      'other command other arguments\n',
    ),
  );

  /** The environment that a container has with this in its spec. */
  const environment = async (place: Place, container: Json): Promise<Readonly<Record<string, string>>> => {
    const text = await place.output(
      task('environment', '', { container: { command: ['env'], ...container } }),
    );
    return Object.fromEntries(
      text
        .trim()
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  };
  const has = (
    container: Json,
    wanted: (place: Place) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>,
    before: (place: Place) => Promise<unknown> = () => Promise.resolve(),
  ): (() => Promise<void>) =>
    inPlace(async (place) => {
      await before(place);
      assert.partialDeepStrictEqual(await environment(place, container), await wanted(place));
    });
  const object =
    (kind: 'configmap' | 'secret') =>
    ({ core }: Place): Promise<Json> =>
      world.post(`${core}/${kind}s`, {
        apiVersion: 'v1',
        kind: kind === 'secret' ? 'Secret' : 'ConfigMap',
        metadata: { name: 'object' },
        [kind === 'secret' ? 'stringData' : 'data']: { 'data-1': 'value-1', data_2: 'value-2' },
      });
  /** All printable characters but '=' may begin a variable's name. */
  const PREFIXES = ['1-', 'p_', '$_', '#%&!', '@ ', '~|'];
  const prefixed = (reference: Json): Json => ({
    envFrom: PREFIXES.map((prefix) => ({ prefix, ...reference })),
  });
  const prefixedValues = (): Record<string, string> =>
    Object.fromEntries(
      PREFIXES.flatMap((prefix) => [
        [`${prefix}data-1`, 'value-1'],
        [`${prefix}data_2`, 'value-2'],
      ]),
    );

  it(
    'ConfigMap, from environment field',
    has(
      { env: [{ name: 'VALUE', valueFrom: { configMapKeyRef: { name: 'object', key: 'data-1' } } }] },
      () => ({ VALUE: 'value-1' }),
      object('configmap'),
    ),
  );
  it(
    'ConfigMap, from environment variables',
    has(
      { envFrom: [{ configMapRef: { name: 'object' } }, { prefix: 'p-', configMapRef: { name: 'object' } }] },
      () => ({ 'data-1': 'value-1', data_2: 'value-2', 'p-data-1': 'value-1', 'p-data_2': 'value-2' }),
      object('configmap'),
    ),
  );
  it(
    'ConfigMap, from environment field with various prefixes',
    has(prefixed({ configMapRef: { name: 'object' } }), prefixedValues, object('configmap')),
  );
  it(
    'Secrets, pod environment field',
    has(
      { env: [{ name: 'VALUE', valueFrom: { secretKeyRef: { name: 'object', key: 'data-1' } } }] },
      () => ({ VALUE: 'value-1' }),
      object('secret'),
    ),
  );
  it(
    'Secrets, pod environment from source',
    has(
      { envFrom: [{ secretRef: { name: 'object' } }, { prefix: 'p-', secretRef: { name: 'object' } }] },
      () => ({ 'data-1': 'value-1', data_2: 'value-2', 'p-data-1': 'value-1', 'p-data_2': 'value-2' }),
      object('secret'),
    ),
  );
  it(
    'Secrets, pod environment from source',
    has(prefixed({ secretRef: { name: 'object' } }), prefixedValues, object('secret')),
  );

  const field = (name: string, fieldPath: string): Json => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const amount = (name: string, resource: string): Json => ({
    name,
    valueFrom: { resourceFieldRef: { resource } },
  });
  const AMOUNTS = [
    amount('CPU_LIMIT', 'limits.cpu'),
    amount('MEMORY_LIMIT', 'limits.memory'),
    amount('CPU_REQUEST', 'requests.cpu'),
    amount('MEMORY_REQUEST', 'requests.memory'),
  ];
  const live = ({ core }: Place): Promise<Json> => world.get(`${core}/pods/environment`);

  it(
    'DownwardAPI, environment for name, namespace and ip',
    has(
      {
        env: [
          field('NAME', 'metadata.name'),
          field('NAMESPACE', 'metadata.namespace'),
          field('IP', 'status.podIP'),
        ],
      },
      async (place) => ({
        NAME: 'environment',
        NAMESPACE: place.namespace,
        IP: (await live(place)).status.podIP,
      }),
    ),
  );
  it(
    'DownwardAPI, environment for host ip',
    has({ env: [field('HOST_IP', 'status.hostIP')] }, async (place) => ({
      HOST_IP: (await live(place)).status.hostIP,
    })),
  );
  it(
    'DownwardAPI, environment for hostIPs',
    has({ env: [field('HOST_IPS', 'status.hostIPs')] }, async (place) => ({
      HOST_IPS: (await live(place)).status.hostIPs.map(({ ip }: Json) => ip).join(','),
    })),
  );
  it(
    'DownwardAPI, environment for Pod UID',
    has({ env: [field('POD_UID', 'metadata.uid')] }, async (place) => ({
      POD_UID: (await live(place)).metadata.uid,
    })),
  );
  it(
    'DownwardAPI, environment for CPU and memory limits and requests',
    has(
      {
        env: AMOUNTS,
        resources: { limits: { cpu: '1250m', memory: '64Mi' }, requests: { cpu: '250m', memory: '32Mi' } },
      },
      () => ({ CPU_LIMIT: '2', MEMORY_LIMIT: '67108864', CPU_REQUEST: '1', MEMORY_REQUEST: '33554432' }),
    ),
  );
  it(
    'DownwardAPI, environment for default CPU and memory limits and requests',
    has({ env: AMOUNTS.slice(0, 2) }, () => ({
      CPU_LIMIT: world.node.status.allocatable.cpu,
      MEMORY_LIMIT: String(Number(world.node.status.allocatable.memory.replace('Ki', '')) * 1024),
    })),
  );

  it(
    'Environment variables, expansion',
    has(
      {
        env: [
          { name: 'FOO', value: 'foo-value' },
          { name: 'BAR', value: 'bar-value' },
          { name: 'BOTH', value: '$(FOO);;$(BAR)' },
        ],
      },
      () => ({ FOO: 'foo-value', BAR: 'bar-value', BOTH: 'foo-value;;bar-value' }),
    ),
  );
  it(
    'Environment variables, command expansion',
    inPlace(async (place) => {
      assert.equal(
        await place.output(
          task('expanded', 'TEST_VAR=wrong echo "$(TEST_VAR)"', {
            container: { env: [{ name: 'TEST_VAR', value: 'test-value' }] },
          }),
        ),
        'test-value\n',
      );
    }),
  );
  it(
    'Environment variables, command argument expansion',
    inPlace(async (place) => {
      const container = {
        command: ['sh', '-c'],
        args: ['TEST_VAR=wrong echo "$(TEST_VAR)"'],
        env: [{ name: 'TEST_VAR', value: 'test-value' }],
      };
      assert.equal(await place.output(task('expanded', '', { container })), 'test-value\n');
    }),
  );

  it(
    'Pods, service environment variables',
    inPlace(async (place) => {
      await place.run(server('serving', { labels: { app: 'serving' } }));
      const {
        spec: { clusterIP },
      } = await world.post(
        `${place.core}/services`,
        service('fooservice', { selector: { app: 'serving' }, ports: [{ port: 8765, targetPort: 8080 }] }),
      );
      assert.partialDeepStrictEqual(await environment(place, {}), {
        FOOSERVICE_SERVICE_HOST: clusterIP,
        FOOSERVICE_SERVICE_PORT: '8765',
        FOOSERVICE_PORT: `tcp://${clusterIP}:8765`,
        FOOSERVICE_PORT_8765_TCP_PORT: '8765',
        FOOSERVICE_PORT_8765_TCP_PROTO: 'tcp',
        FOOSERVICE_PORT_8765_TCP: `tcp://${clusterIP}:8765`,
        FOOSERVICE_PORT_8765_TCP_ADDR: clusterIP,
      });
    }),
  );

  it(
    'Kubelet, hostAliases',
    inPlace(async (place) => {
      const hosts = await place.output(
        task('aliased', 'cat /etc/hosts', {
          spec: { hostAliases: [{ ip: '123.45.67.89', hostnames: ['foo', 'bar'] }] },
        }),
      );
      assert.match(hosts, /^123\.45\.67\.89\tfoo\tbar$/m);
    }),
  );

  it(
    'Kubelet, managed etc hosts',
    inPlace(async (place) => {
      const volumes = [{ name: 'hosts', hostPath: { path: '/etc/hosts', type: 'File' } }];
      const container = (name: string, mountPath: string): Json => ({
        name,
        image: BUSYBOX,
        command: ['sleep', '100000'],
        volumeMounts: [{ name: 'hosts', mountPath }],
      });
      await place.run(
        idle('own', {
          spec: {
            volumes,
            containers: [
              container('one', '/etc/hosts-original'),
              container('two', '/etc/hosts-original'),
              container('three', '/etc/hosts'),
            ],
          },
        }),
      );
      await place.run(
        idle('host', {
          spec: {
            volumes,
            hostNetwork: true,
            containers: [container('one', '/etc/hosts-original'), container('two', '/etc/hosts-original')],
          },
        }),
      );
      for (const [pod, name, managed] of [
        ['own', 'one', true],
        ['own', 'two', true],
        ['own', 'three', false],
        ['host', 'one', false],
        ['host', 'two', false],
      ] as const) {
        const hosts = await place.sh(pod, 'cat /etc/hosts', name);
        assert.equal(hosts.includes('# Kubernetes-managed hosts file.'), managed, `${pod}/${name}: ${hosts}`);
      }
      assert.equal(
        await place.sh('own', 'cat /etc/hosts', 'three'),
        await place.sh('own', 'cat /etc/hosts-original', 'one'),
      );
    }),
  );

  const prints = (script: string, wanted: string | RegExp, options: PodOptions): (() => Promise<void>) =>
    inPlace(async (place) => {
      const text = await place.output(task('checked', script, options));
      if (typeof wanted === 'string') assert.equal(text, wanted);
      else assert.match(text, wanted);
    });
  const rights = (securityContext: Json, more: Json = {}): PodOptions => ({
    container: { securityContext, ...more },
  });

  it(
    'Kubelet, pod with read only root file system',
    prints(
      'echo test > /file; cat /file; true',
      /can't create \/file: Read-only file system[^]*can't open '\/file'/,
      rights({ readOnlyRootFilesystem: true }),
    ),
  );
  it(
    'Security Context, readOnlyRootFilesystem=false.',
    prints('touch /file && cat /file', '', rights({ readOnlyRootFilesystem: false })),
  );
  it('Security Context, runAsUser=65534', prints('id -u', '65534\n', rights({ runAsUser: 65534 })));
  it(
    'Security Context, test RunAsGroup at container level',
    prints('id -u && id -g', '1001\n2002\n', rights({ runAsUser: 1001, runAsGroup: 2002 })),
  );
  it(
    'Security Context, test RunAsGroup at pod level',
    prints('id -u && id -g', '1001\n2002\n', {
      spec: { securityContext: { runAsUser: 1001, runAsGroup: 2002 } },
    }),
  );
  it(
    'Security Context, privileged=false.',
    prints('ip link add dummy0 type dummy || true', /Operation not permitted/, rights({ privileged: false })),
  );
  it(
    'Security Context, allowPrivilegeEscalation=false.',
    inPlace(async (place) => {
      const pod = (name: string, allowPrivilegeEscalation: boolean): Json =>
        task(
          name,
          '/bin/setuid-id',
          rights({ runAsUser: 1000, allowPrivilegeEscalation }, { image: ENTRYPOINT }),
        );
      assert.match(await place.output(pod('forbidden', false)), /^uid=1000 gid=0(\(root\))?/);
      // The program would have root's rights where it may.
      assert.match(await place.output(pod('allowed', true)), /^uid=1000 .*euid=0/);
      assert.doesNotMatch(await place.logs('forbidden'), /euid=/);
    }),
  );
  it(
    'Sysctl, test sysctls',
    prints('sysctl kernel.shm_rmid_forced', 'kernel.shm_rmid_forced = 1\n', {
      spec: { securityContext: { sysctls: [{ name: 'kernel.shm_rmid_forced', value: '1' }] } },
    }),
  );

  const expanded = (
    subPathExpr: string,
    name: string,
    value: Json = { value: name },
    more: PodOptions = {},
  ): PodOptions => ({
    ...more,
    container: {
      env: [
        { name: 'POD_NAME', value: name },
        { name: 'PART', ...value },
      ],
      volumeMounts: [
        { name: 'work', mountPath: '/part', subPathExpr },
        { name: 'work', mountPath: '/whole' },
      ],
    },
    spec: { volumes: [{ name: 'work', emptyDir: {} }] },
  });
  const refused = (value: string): (() => Promise<void>) =>
    inPlace(async (place) => {
      await world.post(`${place.core}/pods`, task('refused', 'true', expanded('$(POD_NAME)', value)));
      const waiting = ({ status }: Json): Json => status.containerStatuses?.[0]?.state.waiting;
      const pod = await place.pod(
        'refused',
        (seen) => waiting(seen)?.reason === 'CreateContainerConfigError',
      );
      assert.match(waiting(pod).message, /subPath/);
    });
  const ofAnnotation = { valueFrom: { fieldRef: { fieldPath: "metadata.annotations['mysubpath']" } } };

  it(
    'VolumeSubpathEnvExpansion, subpath expansion',
    prints('ls /whole', 'name-of-pod\n', expanded('$(POD_NAME)', 'name-of-pod')),
  );
  it('VolumeSubpathEnvExpansion, subpath with backticks', refused('..'));
  it('VolumeSubpathEnvExpansion, subpath with absolute path', refused('/tmp'));
  it(
    'VolumeSubpathEnvExpansion, subpath test writes',
    inPlace(async (place) => {
      await place.run(
        idle(
          'writing',
          expanded('$(PART)/$(POD_NAME)', 'foo', ofAnnotation, { annotations: { mysubpath: 'mypath' } }),
        ),
      );
      await place.sh('writing', 'touch /whole/mypath/foo/test.log && test -f /part/test.log');
      await world.patch(`${place.core}/pods/writing`, {
        metadata: { annotations: { mysubpath: 'mynewpath' } },
      });
      assert.equal((await world.get(`${place.core}/pods/writing`)).status.phase, 'Running');
      await world.del(`${place.core}/pods/writing`);
      await place.podGone('writing');
    }),
  );
  it(
    'VolumeSubpathEnvExpansion, subpath ready from failed state',
    inPlace(async (place) => {
      await world.post(
        `${place.core}/pods`,
        idle(
          'later',
          expanded('$(PART)/$(POD_NAME)', 'foo', ofAnnotation, { annotations: { notmysubpath: 'mypath' } }),
        ),
      );
      await place.pod(
        'later',
        ({ status }) => status.containerStatuses?.[0]?.state.waiting?.reason === 'CreateContainerConfigError',
      );
      assert.ok(place.history('later').every(({ status }) => status.phase === 'Pending'));
      await world.patch(`${place.core}/pods/later`, { metadata: { annotations: { mysubpath: 'mypath' } } });
      await place.pod('later', ({ status }) => status.phase === 'Running');
      assert.equal(await place.sh('later', 'ls /whole/mypath'), 'foo');
      await world.del(`${place.core}/pods/later`);
      await place.podGone('later');
    }),
  );

  it(
    'Image Volume',
    { skip: existsSync('/usr/bin/docker-registry') ? false : 'needs the Debian package docker-registry' },
    inPlace(async (place) => {
      const registry = await startRegistry();
      try {
        const layer = (content: string): LayerSource => ({
          entries: [
            { path: 'dir', type: 'directory' },
            { path: `dir/${content}`, content },
          ],
        });
        const { tar } = await buildImage({
          name: `${registry.host}/files:1`,
          layers: [layer('one'), layer('two')],
        });
        const reference = await pushArchive(registry, { tar, as: 'files:1' });
        const volumes = [{ name: 'files', image: { reference, pullPolicy: 'Always' } }];
        await place.run(
          idle('reading', {
            spec: { volumes },
            container: {
              volumeMounts: [
                { name: 'files', mountPath: '/files' },
                { name: 'files', mountPath: '/dir', subPath: 'dir' },
              ],
            },
          }),
        );
        assert.equal(await place.sh('reading', 'cat /files/dir/one /files/dir/two /dir/one'), 'onetwoone');
        assert.match(
          (await place.exec('reading', 'echo three > /files/dir/three')).stderr,
          /Read-only file system/,
        );
        await world.del(`${place.core}/pods/reading`);
        await place.podGone('reading');
      } finally {
        await registry.stop();
      }
    }),
  );
});
