import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { UserError } from '../data-dir.ts';
import { listNetworkingProblems } from './networking.ts';
import {
  clusterEndpoint,
  defaultCluster,
  defaultInit,
  defaultJoin,
  defaultKubelet,
  defaultToken,
  timeoutMs,
  type DefaultedCluster,
  type DefaultedInit,
  type DefaultedJoin,
  type MachineFacts,
} from './defaults.ts';
import { parseHostPort } from './endpoint.ts';
import { parseClusterConfiguration, parseConfigDocuments, readConfigAddons, readConfigFile } from './read.ts';
import { generateToken, isBootstrapToken, tokenParts } from './token.ts';
import { listProblems, requireValid, requireValidFlags } from './validate.ts';

const KUBEADM = 'apiVersion: kubeadm.k8s.io/v1beta4\n';
const document = (kind: string, body = ''): string => `${KUBEADM}kind: ${kind}\n${body}`;
const FACTS: MachineFacts = { hostName: 'Machine1', address: '10.0.0.1' };

test('several documents of one file', () => {
  const { init, cluster, kubelet, warnings } = parseConfigDocuments(
    [
      document(
        'InitConfiguration',
        'localAPIEndpoint: {advertiseAddress: 10.0.0.7}\nnodeRegistration: {taints: []}\n',
      ),
      document(
        'ClusterConfiguration',
        'controlPlaneEndpoint: api.example.org\napiServer: {extraArgs: [{name: audit-log-path, value: /a}]}\n',
      ),
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\npodPidsLimit: 100\n',
    ].join('---\n'),
  );
  assert.equal(init?.localAPIEndpoint?.advertiseAddress, '10.0.0.7');
  assert.deepEqual(cluster?.apiServer?.extraArgs, [{ name: 'audit-log-path', value: '/a' }]);
  assert.equal(Number(kubelet?.podPidsLimit), 100);
  assert.deepEqual(warnings, []);
});

test('addons of the file, with paths relative to it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-config-'));
  const file = join(dir, 'init.yaml');
  const ADDONS = 'apiVersion: fleet.capstan.dev/v1alpha1\nkind: Addons\n';
  const object = (name: string): string => `{apiVersion: v1, kind: ConfigMap, metadata: {name: ${name}}}`;
  const read = (text: string) => {
    writeFileSync(file, text);
    return readConfigAddons(file, readConfigFile(file))?.map(
      ({ name, objects }) => `${name}: ${objects.map(({ metadata }) => (metadata as { name: string }).name)}`,
    );
  };
  try {
    writeFileSync(join(dir, 'a.yaml'), object('of-a-file'));
    assert.deepEqual(
      read(
        `${document('InitConfiguration')}---\n${ADDONS}addons:\n- {name: one, path: a.yaml}\n- {name: two, manifests: [${object('here')}]}\n`,
      ),
      ['one: of-a-file', 'two: here'],
    );
    assert.equal(read(document('InitConfiguration')), undefined, 'no such section');
    assert.deepEqual(read(ADDONS), [], 'none');
    assert.throws(() => read(`${ADDONS}addons: [{name: one, path: b.yaml}]`), UserError);
    assert.throws(() => read(`${ADDONS}addon: []`), /unknown field "addon"/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

describe('refused', () => {
  const cases: readonly (readonly [what: string, content: string, says: RegExp])[] = [
    [
      'an unknown field',
      document('ClusterConfiguration', 'etcd: {local: {dir: /x}}'),
      /unknown field "etcd.local.dir"/,
    ],
    [
      'an earlier version',
      document('ClusterConfiguration').replace('v1beta4', 'v1beta3'),
      /no kind "ClusterConfiguration" is registered for version "kubeadm.k8s.io\/v1beta3"/,
    ],
    [
      "extraArgs as v1beta3's map",
      document('ClusterConfiguration', 'apiServer: {extraArgs: {a: b}}'),
      /extraArgs/,
    ],
    [
      'a kind twice',
      `${document('InitConfiguration')}---\n${document('InitConfiguration')}`,
      /InitConfiguration twice/,
    ],
    ['nothing', '\n', /the file is empty/],
    ['another type', document('InitConfiguration', 'dryRun: maybe'), /dryRun/],
  ];
  for (const [what, content, says] of cases)
    test(what, () => assert.throws(() => parseConfigDocuments(content), says));
  test('a file that is not there', () =>
    assert.throws(
      () => readConfigFile('/dev/null/config'),
      /--config \/dev\/null\/config cannot be read: ENOTDIR/,
    ));
});

test('fields without effect are reported by name', () => {
  const { warnings } = parseConfigDocuments(
    [
      document('ClusterConfiguration', 'imageRepository: example.org\netcd: {local: {imageTag: "3"}}\n'),
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50\nregistryPullQPS: 7\n',
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n',
    ].join('---\n'),
  );
  assert.deepEqual(warnings, [
    'ClusterConfiguration: etcd.local.imageTag is ignored: etcd is a program of this machine, not an image',
    'ClusterConfiguration: imageRepository is ignored: no image is needed to start a cluster',
    'KubeletConfiguration: registryPullQPS is ignored: image pulls are not rate-limited',
    'KubeProxyConfiguration is ignored: no component here takes it',
  ]);
});

test('extra volumes of components are what a pod may have', () => {
  const problem = (volume: string, more = ''): string =>
    listProblems(
      parseConfigDocuments(document('ClusterConfiguration', `scheduler: {extraVolumes: [${volume}${more}]}`)),
    ).join('\n');
  const good = '{name: a, hostPath: /a, mountPath: /b, readOnly: true, pathType: File}';
  assert.equal(problem(good), '');
  for (const [volume, says] of [
    ['{name: A, hostPath: /a, mountPath: /b}', /extraVolumes\[0\]\.name is "A"; it should be a DNS label/],
    ['{name: a, hostPath: a, mountPath: /b}', /hostPath is "a"; it should be an absolute path/],
    ['{name: a, hostPath: /a/../b, mountPath: /b}', /hostPath .* should not contain '\.\.'/],
    ['{name: a, hostPath: /a, mountPath: /}', /mountPath is "\/"; it should not be \//],
    ['{name: a, hostPath: /a, mountPath: "/b:c"}', /mountPath .* nor contain ':'/],
    ['{name: a, hostPath: /a, mountPath: /b, pathType: Dir}', /pathType is "Dir"; it should be one of Dir/],
  ] as const)
    assert.match(problem(volume), says);
  assert.match(problem(good, `, ${good}`), /extraVolumes\[1\]\.name is "a" a second time/);
});

describe('values', () => {
  const cases: readonly (readonly [content: string, says: RegExp])[] = [
    [
      document('InitConfiguration', 'bootstrapTokens: [{token: nonsense}]'),
      /bootstrapTokens\[0\].token should be like/,
    ],
    [
      document('InitConfiguration', 'bootstrapTokens: [{ttl: 1h, expires: "2030-01-02T03:04:05Z"}]'),
      /expires excludes ttl/,
    ],
    [
      document('InitConfiguration', 'localAPIEndpoint: {advertiseAddress: 127.0.0.1}'),
      /advertiseAddress is "127.0.0.1"/,
    ],
    [document('InitConfiguration', 'certificateKey: abc'), /certificateKey should be 64 hexadecimal digits/],
    [document('InitConfiguration', 'patches: {directory: /p}'), /patches.directory is refused/],
    [document('InitConfiguration', 'nodeRegistration: {name: a_b}'), /nodeRegistration.name is "a_b"/],
    [document('ClusterConfiguration', 'controlPlaneEndpoint: "a:b:c"'), /controlPlaneEndpoint is "a:b:c"/],
    [
      document('ClusterConfiguration', 'networking: {podSubnet: 10.0.0.0}'),
      /networking.podSubnet has "10.0.0.0"/,
    ],
    [
      document('ClusterConfiguration', 'networking: {podSubnet: "10.0.0.0/16,10.1.0.0/16"}'),
      /networking.podSubnet .* two CIDRs from each family/,
    ],
    [
      document('ClusterConfiguration', 'networking: {podSubnet: "10.0.0.0/16,fd00::/40"}'),
      /pod subnet mask \(40\) and node-mask \(64\) difference is greater than 16/,
    ],
    [
      document('ClusterConfiguration', 'networking: {podSubnet: "fd00::/80"}'),
      /pod subnet with mask 80 is smaller than the size of node subnet with mask 64/,
    ],
    [
      document('ClusterConfiguration', 'networking: {serviceSubnet: "10.96.0.0/12,fd00::/48"}'),
      /networking.serviceSubnet has "fd00::\/48"; its prefix should have/,
    ],
    [document('ClusterConfiguration', 'kubernetesVersion: v1.30.0'), /this program is version 1.36/],
    [document('ClusterConfiguration', 'encryptionAlgorithm: DSA'), /should be one of ECDSA-P256/],
    [
      document('ClusterConfiguration', 'featureGates: {RootlessControlPlane: true}'),
      /featureGates.RootlessControlPlane is refused/,
    ],
    [
      document(
        'ClusterConfiguration',
        'etcd: {local: {dataDir: /e}, external: {endpoints: ["https://a:1"]}}',
      ),
      /external excludes local/,
    ],
    [document('ClusterConfiguration', 'etcd: {external: {endpoints: ["a:1"]}}'), /endpoints has "a:1"/],
    [
      document('ClusterConfiguration', 'scheduler: {extraArgs: [{name: --v}]}'),
      /scheduler.extraArgs\[0\].name should have no leading dashes/,
    ],
    [
      document('JoinConfiguration', 'discovery: {bootstrapToken: {caCertHashes: [x]}}'),
      /caCertHashes has "x"/,
    ],
    [
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: 10255\n',
      /readOnlyPort is 10255; it can only be 0/,
    ],
  ];
  for (const [content, says] of cases)
    test(String(says), () => assert.match(listProblems(parseConfigDocuments(content)).join('\n'), says));
  test('all of them at once', () =>
    assert.throws(
      () =>
        requireValid(
          parseConfigDocuments(
            document('InitConfiguration', 'certificateKey: a\nnodeRegistration: {name: a_b}'),
          ),
        ),
      /invalid: \n  InitConfiguration: nodeRegistration.name .*\n  InitConfiguration: certificateKey /,
    ));
});

test("kubeadm's defaults", () => {
  const cluster: DefaultedCluster = defaultCluster({}, { kubernetesVersion: 'v1.36.0' });
  assert.deepEqual(cluster.networking, {
    serviceSubnet: '10.96.0.0/12',
    podSubnet: '10.244.0.0/16',
    dnsDomain: 'cluster.local',
  });
  assert.deepEqual(cluster.etcd, { local: { dataDir: '/var/lib/etcd' } });
  const init: DefaultedInit = defaultInit({}, { ...FACTS, newToken: () => 'abcdef.0123456789abcdef' });
  assert.equal(init.nodeRegistration.name, 'machine1');
  assert.deepEqual(init.localAPIEndpoint, { advertiseAddress: '10.0.0.1', bindPort: 6443 });
  assert.deepEqual(init.bootstrapTokens, [
    {
      token: 'abcdef.0123456789abcdef',
      ttl: '24h0m0s',
      usages: ['signing', 'authentication'],
      groups: ['system:bootstrappers:kubeadm:default-node-token'],
    },
  ]);
  assert.equal(init.nodeRegistration.taints[0]?.key, 'node-role.kubernetes.io/control-plane');
  const join: DefaultedJoin = defaultJoin(
    { discovery: { bootstrapToken: { token: 't' } }, controlPlane: {} },
    FACTS,
  );
  assert.equal(join.discovery?.tlsBootstrapToken, 't');
  assert.equal(join.controlPlane?.localAPIEndpoint?.bindPort, 6443);
  const kubelet = defaultKubelet(
    { podPidsLimit: 5 },
    { cluster, dnsAddress: '10.96.0.10', clientCAFile: '/ca', staticPodPath: '/m' },
  );
  assert.deepEqual([kubelet.clusterDNS, kubelet.podPidsLimit], [['10.96.0.10'], 5]);
  assert.equal(timeoutMs({ discovery: '1s' }, 'discovery'), 1_000);
  assert.equal(timeoutMs(undefined, 'etcdAPICall'), 120_000);
});

test('a token that is given keeps what it has', () => {
  const given = { token: 'abcdef.0123456789abcdef', expires: '2030-01-02T03:04:05Z', usages: ['signing'] };
  const token = defaultToken(given, () => 'no');
  assert.deepEqual([token.token, token.ttl, token.usages], [given.token, undefined, ['signing']]);
});

test('endpoints', () => {
  const local = { advertiseAddress: 'fd00::1', bindPort: 6443 };
  assert.equal(clusterEndpoint({}, local), '[fd00::1]:6443');
  assert.equal(clusterEndpoint({ controlPlaneEndpoint: 'api.example.org' }, local), 'api.example.org:6443');
  assert.equal(
    clusterEndpoint({ controlPlaneEndpoint: 'api.example.org:443' }, local),
    'api.example.org:443',
  );
  assert.equal(clusterEndpoint({ controlPlaneEndpoint: 'fd00::9' }, local), '[fd00::9]:6443');
  assert.equal(clusterEndpoint({ controlPlaneEndpoint: '[fd00::9]:443' }, local), '[fd00::9]:443');
  assert.deepEqual(parseHostPort('[fd00::9]:443'), { host: 'fd00::9', port: 443 });
  assert.equal(parseHostPort('a:99999'), undefined);
});

test('tokens', () => {
  const token = generateToken();
  assert.ok(isBootstrapToken(token));
  assert.equal(`${tokenParts(token)?.id}.${tokenParts(token)?.secret}`, token);
  assert.equal(tokenParts('ABCDEF.0123456789abcdef'), undefined);
});

test("a ConfigMap's ClusterConfiguration", () => {
  assert.equal(
    parseClusterConfiguration(document('ClusterConfiguration', 'clusterName: a')).clusterName,
    'a',
  );
  assert.throws(() => parseClusterConfiguration(document('InitConfiguration')), /no ClusterConfiguration/);
});

test('ranges of both families, and shares of them by arguments of the controller manager', () => {
  const cluster = {
    networking: { podSubnet: 'fd00:1::/40,10.244.0.0/16', serviceSubnet: 'fd00:2::/112,10.96.0.0/12' },
    controllerManager: { extraArgs: [{ name: 'node-cidr-mask-size-ipv6', value: '56' }] },
  };
  assert.deepEqual(listNetworkingProblems(cluster), []);
});

test('ranges that do not fit together', () => {
  const problems = (networking: object): readonly string[] =>
    listNetworkingProblems({ networking }).map(({ field, problem }) => `${field} ${problem}`);
  assert.deepEqual(problems({ podSubnet: '10.0.0.0/9' }), [
    'serviceSubnet has "10.96.0.0/12", which overlaps with the range of pods 10.0.0.0/9: they should have no address in common',
  ]);
  assert.deepEqual(problems({ serviceSubnet: '10.96.0.0/12,fd00::/112' }), [
    'serviceSubnet has "fd00::/112", but no pod has an IPv6 address: the ranges of pods (10.244.0.0/16) should have that family too',
  ]);
  assert.deepEqual(problems({ podSubnet: '10.244.0.0/16,fd00:1::/56' }), []);
  assert.deepEqual(problems({ podSubnet: 'fd00::/56', serviceSubnet: 'fd00:0:0:1::/112' }).length, 1);
});

test('a configuration of flags alone is judged in their words', () => {
  const init = { bootstrapTokens: [{ ttl: '5' }] };
  assert.throws(() => requireValidFlags({ init, warnings: [] }), {
    message: '--token-ttl is "5"; it should be a duration like 24h, 90m or 1h30m',
  });
  const cluster = { networking: { serviceSubnet: '10.244.1.0/24' } };
  assert.throws(
    () => requireValidFlags({ cluster, warnings: [] }),
    /^UserError: --service-cidr has "10\.244/,
  );
  const join = { timeouts: { discovery: '-1s' } };
  assert.throws(
    () => requireValidFlags({ join, warnings: [] }),
    /timeouts\.discovery should not be negative/,
  );
});
