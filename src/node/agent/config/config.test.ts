import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Container, FileKeySelector, Pod, PodSpec, Service } from '#api/types.ts';
import { rejection } from '../admission.ts';
import { containerConfig } from './container.ts';
import { hostsFile, parseResolvConf, podDns, podHostname } from './dns.ts';
import { resourceFieldValue } from './downward.ts';
import { containerEnvironment } from './environment.ts';
import { expand } from './expand.ts';
import {
  linuxResources,
  milliCpuToQuota,
  milliCpuToShares,
  oomScoreAdj,
  podCgroup,
  podResources,
  sharesToWeight,
} from './resources.ts';
import { sandboxConfig } from './sandbox.ts';
import { containerSecurity, sandboxSecurity, verifyNonRoot } from './security.ts';
import { serviceEnvironment } from './service-environment.ts';

const GIB = 2 ** 30;
const DNS = {
  clusterDNS: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
  host: { servers: ['1.1.1.1'], searches: ['example.com'], options: ['edns0'] },
};

function podOf(
  spec: Partial<PodSpec> = {},
  metadata: Pod['metadata'] = {},
): Pod & { readonly spec: PodSpec } {
  return {
    metadata: { name: 'web-0', namespace: 'shop', uid: 'u1', ...metadata },
    spec: { containers: [{ name: 'c' }], ...spec },
  };
}

function container(limits?: Record<string, string>, requests?: Record<string, string>): Container {
  return { name: 'c', resources: { ...(limits ? { limits } : {}), ...(requests ? { requests } : {}) } };
}

test('expansion: references, escapes, and what is left as it is', () => {
  const values: Record<string, string> = { A: '1', B: '$(A)' };
  for (const [text, expected] of [
    ['$(A)', '1'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$1'],
    ['$(B)', '$(A)'],
    ['$(NONE)', '$(NONE)'],
    ['$(A', '$(A'],
    ['$A $', '$A $'],
    ['a$(A)b$(A)', 'a1b1'],
  ] as const) {
    assert.equal(
      expand(text, (name) => values[name]),
      expected,
      text,
    );
  }
});

test('service variables: own namespace and kubernetes, in the link style', () => {
  const service = (name: string, namespace: string, ports: object[], clusterIP = '10.96.0.9'): Service => ({
    metadata: { name, namespace },
    spec: { clusterIP, ports: ports as never },
  });
  const all = [
    service('my-db', 'shop', [{ name: 'sql-port', port: 5432, protocol: 'TCP' }]),
    service('kubernetes', 'default', [{ port: 443 }], '10.96.0.1'),
    service('other', 'else', [{ port: 1 }]),
    service('headless', 'shop', [{ port: 1 }], 'None'),
  ];
  const named = Object.fromEntries(
    serviceEnvironment(all, { namespace: 'shop', enableServiceLinks: true }).map(({ name, value }) => [
      name,
      value,
    ]),
  );
  assert.deepEqual(named, {
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
    KUBERNETES_SERVICE_PORT: '443',
    KUBERNETES_PORT: 'tcp://10.96.0.1:443',
    KUBERNETES_PORT_443_TCP: 'tcp://10.96.0.1:443',
    KUBERNETES_PORT_443_TCP_PROTO: 'tcp',
    KUBERNETES_PORT_443_TCP_PORT: '443',
    KUBERNETES_PORT_443_TCP_ADDR: '10.96.0.1',
    MY_DB_SERVICE_HOST: '10.96.0.9',
    MY_DB_SERVICE_PORT: '5432',
    MY_DB_SERVICE_PORT_SQL_PORT: '5432',
    MY_DB_PORT: 'tcp://10.96.0.9:5432',
    MY_DB_PORT_5432_TCP: 'tcp://10.96.0.9:5432',
    MY_DB_PORT_5432_TCP_PROTO: 'tcp',
    MY_DB_PORT_5432_TCP_PORT: '5432',
    MY_DB_PORT_5432_TCP_ADDR: '10.96.0.9',
  });
  assert.ok(
    serviceEnvironment(all, { namespace: 'shop', enableServiceLinks: false }).every(({ name }) =>
      name.startsWith('KUBERNETES_'),
    ),
  );
});

test('environment: order, references, what is missing', async () => {
  const objects = {
    configMap: (_: string, name: string) =>
      Promise.resolve(name === 'm' ? { data: { a: '1', 'b=c': 'x' } } : undefined),
    secret: (_: string, name: string) =>
      Promise.resolve(name === 's' ? { data: { a: Buffer.from('2').toString('base64') } } : undefined),
  };
  const environment = async (of: Partial<Container>): Promise<Record<string, string>> => {
    const { variables } = await containerEnvironment({
      container: { name: 'c', ...of },
      context: { pod: podOf(), podIPs: ['10.0.0.2'], hostIPs: ['192.0.2.1'], nodeName: 'n', allocatable: {} },
      objects,
      services: [],
      volumeFile: async () => undefined,
    });
    return Object.fromEntries(variables.map(({ name, value }) => [name, value]));
  };
  assert.deepEqual(
    await environment({
      envFrom: [{ configMapRef: { name: 'm' } }, { prefix: 'S_', secretRef: { name: 's' } }],
      env: [{ name: 'a', value: 'own $(S_a)' }],
    }),
    { a: 'own 2', S_a: '2' },
  );
  assert.deepEqual(
    await environment({
      env: [
        { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
        { name: 'X', valueFrom: { configMapKeyRef: { name: 'none', key: 'k', optional: true } } },
      ],
    }),
    { IP: '10.0.0.2' },
  );
  await assert.rejects(
    environment({ envFrom: [{ secretRef: { name: 'none' } }] }),
    /^ConfigError: secret "none" not found$/,
  );
  await assert.rejects(
    environment({ env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'm', key: 'z' } } }] }),
    /^ConfigError: couldn't find key z in ConfigMap shop\/m$/,
  );
});

test('environment: keys of files in volumes', async () => {
  const environment = async (
    reference: Partial<FileKeySelector>,
    text?: string,
  ): Promise<readonly { readonly name: string; readonly value: string }[]> => {
    const fileKeyRef = { volumeName: 'v', path: 'dir/file.env', key: 'KEY', ...reference };
    const { variables } = await containerEnvironment({
      container: { name: 'c', env: [{ name: 'X', valueFrom: { fileKeyRef } }] },
      context: {
        pod: podOf({ enableServiceLinks: false }),
        podIPs: [],
        hostIPs: [],
        nodeName: 'n',
        allocatable: {},
      },
      objects: { configMap: async () => undefined, secret: async () => undefined },
      services: [],
      volumeFile: async () => text,
    });
    return variables;
  };
  assert.deepEqual(await environment({}, "A='1'\nKEY='two words'"), [{ name: 'X', value: 'two words' }]);
  assert.deepEqual(await environment({ optional: true }, "A='1'"), []);
  assert.deepEqual(await environment({ optional: true }), []);
  for (const [reference, text, why] of [
    [{}, "A='1'", 'environment variable key "KEY" not found in file "dir/file.env"'],
    [{}, undefined, 'failed to open environment variable file "dir/file.env" of volume "v": no such file'],
    [
      { optional: true },
      'KEY=1',
      'invalid environment variable format at line 1: value must be enclosed in single quotes',
    ],
    [
      {},
      `KEY='${'x'.repeat(32_769)}'`,
      'environment variable value for key "KEY" exceeds maximum size of 32KB',
    ],
    [
      { key: 'K'.repeat(129) },
      '',
      `environment variable key "${'K'.repeat(129)}" exceeds maximum length of 128 characters`,
    ],
  ] as const)
    await assert.rejects(environment(reference, text), { name: 'ConfigError', message: why });
});

test('containers do not swap where the kernel can be told so', () => {
  const unified = (cgroupVersion: 1 | 2, controlsSwap: boolean): unknown =>
    linuxResources({
      spec: podOf().spec,
      container: container(),
      machineMemoryBytes: GIB,
      cgroupVersion,
      controlsSwap,
    }).unified;
  assert.deepEqual(unified(2, true), { 'memory.oom.group': '1', 'memory.swap.max': '0' });
  assert.deepEqual(unified(2, false), { 'memory.oom.group': '1' });
  assert.equal(unified(1, false), undefined);
});

test('downward API: limits of a container without its own are those of its pod, and never more than the node has', () => {
  const limit = (resource: string, spec: Partial<PodSpec>): string =>
    resourceFieldValue(
      { resource },
      {
        pod: podOf(spec),
        podIPs: [],
        hostIPs: [],
        nodeName: 'n',
        allocatable: { cpu: '4', memory: '1Gi' },
      },
      'c',
    );
  const ofPod = { resources: { limits: { cpu: '1500m', memory: '2Gi' } } };
  assert.deepEqual(
    [
      limit('limits.cpu', {}),
      limit('limits.cpu', ofPod),
      limit('limits.memory', ofPod),
      limit('limits.cpu', { ...ofPod, containers: [container({ cpu: '1' })] }),
      limit('limits.cpu', { ...ofPod, containers: [container({ cpu: '0' })] }),
      limit('requests.cpu', ofPod),
    ],
    ['4', '2', String(GIB), '1', '2', '0'],
  );
});

test('DNS by policy', () => {
  const dns = (spec: Partial<PodSpec>): unknown => podDns(podOf(spec), DNS);
  const cluster = {
    servers: ['10.96.0.10'],
    searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'example.com'],
    options: ['ndots:5'],
  };
  assert.deepEqual(dns({}), cluster);
  assert.deepEqual(dns({ dnsPolicy: 'ClusterFirst', hostNetwork: true }), DNS.host);
  assert.deepEqual(dns({ dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true }), cluster);
  assert.deepEqual(dns({ dnsPolicy: 'Default' }), DNS.host);
  assert.deepEqual(
    dns({
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['9.9.9.9'], searches: ['a'], options: [{ name: 'ndots', value: '2' }] },
    }),
    { servers: ['9.9.9.9'], searches: ['a'], options: ['ndots:2'] },
  );
  assert.deepEqual(dns({ dnsConfig: { options: [{ name: 'ndots', value: '1' }, { name: 'debug' }] } }), {
    ...cluster,
    options: ['ndots:1', 'debug'],
  });
  assert.deepEqual(parseResolvConf('# x\nnameserver 1.2.3.4\nsearch a. b\noptions x y:1\n'), {
    servers: ['1.2.3.4'],
    searches: ['a', 'b'],
    options: ['x', 'y:1'],
  });
});

test('host names and the hosts file', () => {
  assert.deepEqual(podHostname(podOf({ hostname: 'h', subdomain: 's' }), 'cluster.local'), {
    hostname: 'h',
    domain: 's.shop.svc.cluster.local',
  });
  assert.equal(podHostname(podOf({}, { name: `${'a'.repeat(62)}-bcd` }), 'x').hostname, 'a'.repeat(62));
  const text = hostsFile(podOf({ hostAliases: [{ ip: '1.2.3.4', hostnames: ['a', 'b'] }] }), {
    podIPs: ['10.0.0.2'],
    name: { hostname: 'h', domain: 'd' },
  });
  assert.match(
    text,
    /^# Kubernetes-managed hosts file\.\n127\.0\.0\.1\tlocalhost\n[\s\S]*\n10\.0\.0\.2\th\.d\th\n\n# Entries added by HostAliases\.\n1\.2\.3\.4\ta\tb\n$/,
  );
});

const WHOLE = { cpu: '1', memory: '1Gi' };

describe('resources', () => {
  test('kernel settings', () => {
    assert.deepEqual([0, 1, 100, 1000, 1_000_000].map(milliCpuToShares), [2, 2, 102, 1024, 262_144]);
    assert.deepEqual([0, 1, 500, 2000].map(milliCpuToQuota), [0, 1000, 50_000, 200_000]);
    assert.deepEqual([2, 1024, 262_144].map(sharesToWeight), [1, 39, 10_000]);
    const one = container({ cpu: '500m', memory: '64Mi' }, { cpu: '250m', memory: '1Gi' });
    const spec = { containers: [one] };
    assert.deepEqual(
      linuxResources({ spec, container: one, machineMemoryBytes: 4 * GIB, cgroupVersion: 1 }),
      {
        cpuShares: 256,
        cpuPeriod: 100_000,
        cpuQuota: 50_000,
        memoryLimitInBytes: 64 * 2 ** 20,
        oomScoreAdj: 750,
      },
    );
    assert.equal(oomScoreAdj({ containers: [container()] }, container(), GIB), 1000);
    assert.equal(oomScoreAdj({ containers: [container(WHOLE, WHOLE)] }, container(), GIB), -997);
    assert.equal(
      oomScoreAdj({ containers: [container({}, { memory: '1' })] }, container({}, { memory: '1' }), GIB),
      999,
    );
  });

  test('pod cgroups', () => {
    const ofPod = {
      containers: [container({ cpu: '250m' }), container()],
      resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } },
    };
    const kernelOf = (index: number): unknown[] => {
      const { cpuQuota, memoryLimitInBytes } = linuxResources({
        spec: ofPod,
        container: ofPod.containers[index]!,
        machineMemoryBytes: 4 * GIB,
        cgroupVersion: 1,
      });
      return [cpuQuota, memoryLimitInBytes];
    };
    assert.deepEqual(
      [kernelOf(0), kernelOf(1)],
      [
        [25_000, GIB],
        [100_000, GIB],
      ],
      'the limits of the pod, where a container has none',
    );
    assert.deepEqual(podResources(ofPod), {
      allocatedResources: { cpu: '1', memory: '1Gi' },
      resources: ofPod.resources,
    });
    assert.deepEqual(
      podResources({
        containers: [
          container({ cpu: '1' }, { cpu: '1' }),
          container({}, { memory: '1Gi', 'ephemeral-storage': '1Mi' }),
        ],
      }),
      {
        allocatedResources: { cpu: '1', memory: '1Gi', 'ephemeral-storage': '1Mi' },
        resources: { requests: { cpu: '1', memory: '1Gi' } },
      },
    );
    assert.deepEqual(podResources({ containers: [container()] }), { resources: {} });
    assert.deepEqual(podCgroup({ containers: [container(WHOLE, WHOLE)] }, { root: '/r', uid: 'u' }), {
      path: '/r/kubepods/podu',
      cpuShares: 1024,
      cpuQuota: 100_000,
      memoryLimitBytes: GIB,
    });
    const overhead = { cpu: '500m', memory: '1Gi' };
    assert.deepEqual(
      podCgroup({ containers: [container(WHOLE, WHOLE)], overhead }, { root: '/r', uid: 'u' }),
      { path: '/r/kubepods/podu', cpuShares: 1536, cpuQuota: 150_000, memoryLimitBytes: 2 * GIB },
      'overhead raises limits too',
    );
    const pages = { limits: { 'hugepages-2Mi': '4Mi' }, requests: { 'hugepages-2Mi': '4Mi' } };
    assert.equal(
      podCgroup({ containers: [container(WHOLE, WHOLE)], resources: pages }, { root: '/r', uid: 'u' }).path,
      '/r/kubepods/besteffort/podu',
      'pod-level huge pages alone',
    );
    assert.deepEqual(
      podCgroup(
        { containers: [container({ memory: '1Gi' }, { cpu: '1' }), container()] },
        { root: '/r', uid: 'u' },
      ),
      { path: '/r/kubepods/burstable/podu', cpuShares: 1024, cpuQuota: 0, memoryLimitBytes: 0 },
    );
    assert.equal(
      podCgroup({ containers: [container()] }, { root: '/r', uid: 'u' }).path,
      '/r/kubepods/besteffort/podu',
    );
  });
});

test('security: the container over its pod', () => {
  const pod = podOf({
    securityContext: { runAsUser: 1, fsGroup: 5, supplementalGroups: [4] },
    shareProcessNamespace: true,
  });
  const security = containerSecurity({
    pod,
    container: {
      name: 'c',
      securityContext: {
        runAsUser: 2,
        capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] },
        allowPrivilegeEscalation: false,
        seccompProfile: { type: 'RuntimeDefault' },
      },
    },
    seccompDir: '/s',
  });
  assert.deepEqual(security.runAsUser, { value: 2 });
  assert.deepEqual(security.capabilities, { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] });
  assert.deepEqual(
    [security.noNewPrivs, security.supplementalGroups, security.namespaceOptions?.pid, security.seccomp],
    [true, [4, 5], 'POD', { profileType: 'RuntimeDefault' }],
  );
  assert.ok((security.maskedPaths ?? []).includes('/proc/kcore'));
  assert.deepEqual(
    containerSecurity({
      pod,
      container: { name: 'c', securityContext: { privileged: true } },
      seccompDir: '/s',
    }).maskedPaths,
    [],
  );
  assert.deepEqual(
    containerSecurity({
      pod,
      container: {
        name: 'c',
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' } },
      },
      seccompDir: '/s',
    }).seccomp,
    { profileType: 'Localhost', localhostRef: '/s/p.json' },
  );
  const nonRoot = podOf({ securityContext: { runAsNonRoot: true } });
  assert.throws(
    () =>
      verifyNonRoot({
        pod: nonRoot,
        container: { name: 'c' },
        imageUser: { uid: undefined, username: 'app' },
      }),
    /non-numeric user \(app\)/,
  );
  verifyNonRoot({ pod: nonRoot, container: { name: 'c' }, imageUser: { uid: 7, username: '' } });
});

test("security: a group alone goes with the image's user, as the runtime wants both", () => {
  const as = (
    imageUser: { readonly uid: number | undefined; readonly username: string },
    own = {},
  ): unknown[] => {
    const { runAsUser, runAsUsername, runAsGroup } = containerSecurity({
      pod: podOf({ securityContext: { runAsGroup: 5 } }),
      container: { name: 'c', securityContext: own },
      seccompDir: '/s',
      imageUser,
    });
    return [runAsUser?.value, runAsUsername, runAsGroup?.value];
  };
  assert.deepEqual(as({ uid: undefined, username: '' }), [0, undefined, 5]);
  assert.deepEqual(as({ uid: 7, username: '' }), [7, undefined, 5]);
  assert.deepEqual(as({ uid: undefined, username: 'app' }), [undefined, 'app', 5]);
  assert.deepEqual(as({ uid: 7, username: '' }, { runAsUser: 8 }), [8, undefined, 5]);
});

test("security: a privileged container of any kind makes the sandbox's configuration privileged", () => {
  const of = (spec: Partial<PodSpec>): boolean | undefined => sandboxSecurity(podOf(spec)).privileged;
  const privileged = { name: 'x', securityContext: { privileged: true } };
  assert.deepEqual(
    [
      of({}),
      of({ containers: [privileged] }),
      of({ initContainers: [privileged] }),
      of({ ephemeralContainers: [privileged] }),
    ],
    [false, true, true, true],
  );
});

test('sandbox and container as the runtime gets them', () => {
  const pod = podOf(
    {
      containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort: 8080 }, { containerPort: 81 }] }],
      securityContext: { sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '0' }] },
    },
    { labels: { app: 'x' } },
  );
  const sandbox = sandboxConfig({ pod, attempt: 2, logDirectory: '/l', cgroupParent: '/c', dns: DNS });
  assert.deepEqual(sandbox.metadata, { name: 'web-0', namespace: 'shop', uid: 'u1', attempt: 2 });
  assert.deepEqual(sandbox.portMappings, [
    { containerPort: 80, hostPort: 8080, protocol: 'TCP', hostIp: '' },
  ]);
  assert.equal(sandbox.annotations?.['kubernetes.io/config.source'], 'api');
  const fromFile = podOf({}, { annotations: { 'kubernetes.io/config.source': 'file' } });
  const ofFile = sandboxConfig({ pod: fromFile, attempt: 0, logDirectory: '', cgroupParent: '', dns: DNS });
  assert.equal(ofFile.annotations?.['kubernetes.io/config.source'], 'file');
  assert.deepEqual(sandbox.linux?.sysctls, { 'net.ipv4.tcp_syncookies': '0' });
  assert.equal(
    'hostname' in
      sandboxConfig({
        pod: podOf({ hostNetwork: true }),
        attempt: 0,
        logDirectory: '',
        cgroupParent: '',
        dns: DNS,
      }),
    false,
  );
  const config = containerConfig({
    pod,
    container: { name: 'c', command: ['$(A)'], args: ['$$(A)'] },
    restartCount: 3,
    imageRef: 'i',
    environment: [{ name: 'A', value: 'v' }],
    mounts: [],
    resources: {},
    seccompDir: '/s',
  });
  assert.deepEqual(
    [config.command, config.args, config.logPath, config.metadata],
    [['v'], ['$(A)'], 'c/3.log', { name: 'c', attempt: 3 }],
  );
});

test('admission: resources, platform, and what is not supported', () => {
  const allocatable = { cpu: '2', memory: '1Gi', pods: '2' };
  const of = (cpu: string): Pod => podOf({ containers: [container({}, { cpu })] });
  assert.equal(rejection({ pod: of('1'), others: [of('1')], node: undefined, allocatable }), undefined);
  assert.deepEqual(rejection({ pod: of('1500m'), others: [of('1')], node: undefined, allocatable }), {
    reason: 'OutOfcpu',
    message: "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
  });
  assert.equal(
    rejection({ pod: of('0'), others: [of('0'), of('0')], node: undefined, allocatable })?.reason,
    'OutOfpods',
  );
  assert.equal(
    rejection({
      pod: podOf({ nodeSelector: { disk: 'ssd' } }),
      others: [],
      node: { metadata: { labels: {} }, spec: {} },
      allocatable,
    })?.reason,
    'NodeAffinity',
  );
  assert.equal(
    rejection({ pod: podOf({ hostUsers: false }), others: [], node: undefined, allocatable })?.reason,
    'UnsupportedFeature',
  );
});
