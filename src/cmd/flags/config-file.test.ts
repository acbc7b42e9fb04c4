import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { KUBELET, KUBELET_FIELDS } from '#deploy/config/kubelet.ts';
import type { ConfigFields } from '#machinery/config/fields.ts';
import { NODE_FLAGS } from '../node/flags.ts';
import { nodeSettingsFrom } from '../node/from-flags.ts';
import { PROXY_FIELDS, PROXY_KIND } from '../proxy/config.ts';
import { PROXY_FLAGS } from '../proxy/flags.ts';
import { SCHEDULER_FIELDS, SCHEDULER_KIND } from '../scheduler/config.ts';
import { SCHEDULER_FLAGS } from '../scheduler/flags.ts';
import { schedulerSettingsFrom } from '../scheduler/run.ts';
import { effectiveConfig, withConfigFile } from './config-file.ts';
import type { FlagTable } from './define.ts';

const DIR = mkdtempSync(join(tmpdir(), 'capstan-config-'));
after(() => rmSync(DIR, { recursive: true, force: true }));

function file(content: string): string {
  const path = join(DIR, 'config.yaml');
  writeFileSync(path, content);
  return path;
}

const kubelet = (content: string, given: object = {}) =>
  withConfigFile(
    NODE_FLAGS,
    {
      config: file(`apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${content}`),
      ...given,
    },
    { kind: KUBELET, fields: KUBELET_FIELDS },
  );
const proxy = (content: string) =>
  withConfigFile(
    PROXY_FLAGS,
    {
      config: file(`apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${content}`),
    },
    { kind: PROXY_KIND, fields: PROXY_FIELDS },
  );
const scheduler = (content: string) =>
  withConfigFile(
    SCHEDULER_FLAGS,
    {
      config: file(
        `apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n${content}`,
      ),
    },
    { kind: SCHEDULER_KIND, fields: SCHEDULER_FIELDS },
  );

/** What kubeadm 1.36 writes to /var/lib/kubelet/config.yaml. */
const KUBEADM = `
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: pki/ca.crt}
authorization:
  mode: Webhook
  webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: ""
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging:
  flushFrequency: 0
  options:
    json: {infoBufferSize: "0"}
    text: {infoBufferSize: "0"}
  verbosity: 0
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`;

test("kubeadm's KubeletConfiguration", () => {
  const { flags, warnings } = kubelet(KUBEADM);
  const { config: _config, ...set } = flags;
  assert.deepEqual(set, {
    clientCaFile: join(DIR, 'pki/ca.crt'),
    clusterDns: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    rotateCertificates: true,
  });
  assert.deepEqual(
    warnings.map((text) => text.replace(/^--config [^ ]*: /, '')),
    ['cgroupDriver is ignored: each node runs a containerd of its own'],
  );
});

test('flags take precedence over the file, and values reach the settings', () => {
  const { flags } = kubelet(
    'maxPods: 20\nport: 10350\nsystemReserved: {cpu: 500m, memory: 1Gi}\nimageGCLowThresholdPercent: 0\n' +
      'registerWithTaints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]\n',
    { maxPods: 30 },
  );
  const { agent, imageGarbage, reserved } = nodeSettingsFrom(flags);
  assert.equal(agent?.maximumPods, 30);
  assert.equal(agent.port, 10_350);
  assert.equal(imageGarbage?.lowThresholdPercent, 0);
  assert.deepEqual(reserved, { cpu: '500m', memory: '1Gi' });
  assert.deepEqual(agent.taints, [
    { key: 'a', value: 'b', effect: 'NoSchedule' },
    { key: 'c', effect: 'NoExecute' },
  ]);
});

test('drop-ins are merged over the file in the order of their paths: maps joined, lists and other values replaced', () => {
  const dir = join(DIR, 'drop-ins');
  mkdirSync(join(dir, 'more'), { recursive: true });
  const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
  writeFileSync(join(dir, '10.conf'), `${head}maxPods: 30\nsystemReserved: {memory: 2Gi}\n`);
  writeFileSync(join(dir, '20.conf'), `${head}maxPods: 40\nclusterDNS: [10.1.0.10]\n`);
  writeFileSync(join(dir, 'more/30.conf'), `${head}resolvConf: resolv.conf\n`);
  writeFileSync(join(dir, '40.yaml'), 'this is ignored: [');
  const content =
    'maxPods: 20\nclusterDNS: [10.0.0.10, 10.0.0.11]\nsystemReserved: {cpu: 500m, memory: 1Gi}\n';
  const { flags } = kubelet(content, { configDir: dir });
  const { config: _config, configDir: _dir, ...set } = flags;
  assert.deepEqual(set, {
    maxPods: 40,
    clusterDns: ['10.1.0.10'],
    systemReserved: 'cpu=500m,memory=2Gi',
    resolvConf: join(dir, 'more/resolv.conf'),
  });
  assert.equal(kubelet(content, { configDir: dir, maxPods: 50 }).flags.maxPods, 50);
  writeFileSync(join(dir, '50.conf'), `${head}maxPodz: 1\n`);
  assert.throws(() => kubelet(content, { configDir: dir }), {
    name: 'UserError',
    message: /--config-dir: .*50\.conf: strict decoding error: unknown field "maxPodz"/,
  });
});

describe('refused, with the field', () => {
  const cases: readonly (readonly [read: (content: string) => unknown, content: string, says: RegExp])[] = [
    [kubelet, 'maxPodz: 20', /--config .*config\.yaml: strict decoding error: unknown field "maxPodz"/],
    [
      kubelet,
      'authentication: {anonymous: {enabled: true}}',
      /authentication\.anonymous\.enabled is true; it can only be false: the kubelet API has no anonymous access/,
    ],
    [
      kubelet,
      'cpuManagerPolicy: static',
      /cpuManagerPolicy is "static"; it can only be "none": CPUs and memory are not assigned by NUMA node/,
    ],
    [
      kubelet,
      'memorySwap: {swapBehavior: LimitedSwap}',
      /memorySwap\.swapBehavior is "LimitedSwap"; it can only be "NoSwap": containers do not swap/,
    ],
    [kubelet, 'maxPods: -1', /maxPods is "-1"; it should be a whole number/],
    [proxy, 'mode: ipvs', /mode is "ipvs"; it can only be "nftables": service rules are nftables rules/],
    [proxy, 'clientConnection: {kubecfg: x}', /unknown field "clientConnection.kubecfg"/],
    [scheduler, 'extenders: [{url: "http://x"}]', /unknown field "extenders\[0\]\.url"/],
    [
      scheduler,
      'leaderElection: {resourceLock: endpoints}',
      /leaderElection\.resourceLock is "endpoints"; it can only be leases/,
    ],
    [kubelet, 'maxPods: 1\nmaxPods: 2', /already set in map/],
  ];
  for (const [read, content, says] of cases)
    test(content, () => assert.throws(() => read(content), { name: 'UserError', message: says }));
  test('a file that is not there', () =>
    assert.throws(
      () =>
        withConfigFile(
          PROXY_FLAGS,
          { config: join(DIR, 'none') },
          { kind: PROXY_KIND, fields: PROXY_FIELDS },
        ),
      /--config .*none cannot be read: ENOENT/,
    ));
});

test('KubeProxyConfiguration', () => {
  const { flags, warnings } = proxy(
    'mode: nftables\nclusterCIDR: 10.1.0.0/16\nhostnameOverride: n1\nclientConnection: {kubeconfig: k.conf}\nnftables: {masqueradeBit: 14, syncPeriod: 1m}\n',
  );
  const { config: _config, ...set } = flags;
  assert.deepEqual(set, {
    clusterCidr: '10.1.0.0/16',
    hostnameOverride: 'n1',
    kubeconfig: join(DIR, 'k.conf'),
  });
  assert.match(warnings.join(), /nftables\.syncPeriod is ignored: rules follow every change$/);
});

test('KubeSchedulerConfiguration: election, backoff, profiles', () => {
  const { flags } = scheduler(
    'leaderElection: {leaderElect: true, leaseDuration: 30s, renewDeadline: 20s, retryPeriod: 4s}\n' +
      'podInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 20\npercentageOfNodesToScore: 40\n' +
      'profiles:\n- {}\n- schedulerName: dense\n  percentageOfNodesToScore: 100\n  plugins:\n' +
      '    multiPoint: {disabled: [{name: ImageLocality}]}\n' +
      '    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 5}]}\n',
  );
  const { leaderElect, profiles = [], backoff } = schedulerSettingsFrom(flags);
  assert.deepEqual(leaderElect, {
    lease: { namespace: 'kube-system', name: 'kube-scheduler' },
    leaseDurationMs: 30_000,
    renewDeadlineMs: 20_000,
    retryPeriodMs: 4_000,
  });
  assert.deepEqual(backoff, { initialMs: 2_000, maximumMs: 20_000 });
  const [usual, dense] = profiles;
  assert.equal(usual?.percentageOfNodesToScore, 40);
  assert.ok(usual.plugins.some(({ name }) => name === 'ImageLocality'));
  assert.equal(dense?.percentageOfNodesToScore, 100);
  assert.ok(!dense.plugins.some(({ name }) => name === 'ImageLocality'));
  const weights = dense.plugins.filter(({ weight }) => weight).map(({ name, weight }) => [name, weight]);
  assert.deepEqual(weights, [['NodeResourcesFit', 5]]);
});

test('profiles that cannot be', () => {
  for (const [profile, says] of [
    [
      'plugins: {preFilter: {disabled: [{name: NodePorts}]}}',
      /profiles\[0\]\.plugins\.filter has NodePorts, which also needs its preFilter/,
    ],
    [
      'plugins: {multiPoint: {enabled: [{name: Coscheduling}]}}',
      /has "Coscheduling", which is no plugin here/,
    ],
    [
      'plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}',
      /has DefaultBinder, which is always there/,
    ],
    ['schedulerName: a\n- schedulerName: a', /has schedulerName "a" twice/],
  ] as const)
    assert.throws(() => schedulerSettingsFrom(scheduler(`profiles:\n- ${profile}\n`).flags), says);
});

test('every field stands for a flag that the component has', () => {
  const flagsOf = (fields: ConfigFields): string[] =>
    Object.values(fields).flatMap((field) =>
      'fields' in field ? flagsOf(field.fields) : field.flag === undefined ? [] : [field.flag],
    );
  for (const [table, fields] of [
    [NODE_FLAGS, KUBELET_FIELDS],
    [PROXY_FLAGS, PROXY_FIELDS],
    [SCHEDULER_FLAGS, SCHEDULER_FIELDS],
  ] satisfies [FlagTable, ConfigFields][])
    for (const name of flagsOf(fields)) assert.ok(Object.hasOwn(table, name), name);
});

test('drop-ins are merged over the file: maps by key, lists whole, in the order of their paths', () => {
  const configDir = mkdtempSync(join(DIR, 'drop-ins-'));
  const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
  writeFileSync(join(configDir, '20-late.conf'), `${head}maxPods: 30\nsystemReserved: {memory: 2Gi}\n`);
  writeFileSync(join(configDir, '10-early.conf'), `${head}maxPods: 20\nclusterDNS: [10.0.0.9]\n`);
  writeFileSync(join(configDir, 'notes.txt'), 'not read');
  const content = 'maxPods: 10\nclusterDNS: [10.0.0.1, 10.0.0.2]\nsystemReserved: {cpu: 500m, memory: 1Gi}\n';
  const { flags } = kubelet(content, { configDir });
  const { agent, reserved } = nodeSettingsFrom(flags);
  assert.equal(agent?.maximumPods, 30);
  assert.deepEqual(flags.clusterDns, ['10.0.0.9']);
  assert.deepEqual(reserved, { cpu: '500m', memory: '2Gi' });
  assert.equal(nodeSettingsFrom(kubelet(content, { configDir, maxPods: 5 }).flags).agent?.maximumPods, 5);
  writeFileSync(join(configDir, '30-wrong.conf'), `${head}maxPodz: 1\n`);
  assert.throws(() => kubelet(content, { configDir }), /30-wrong\.conf|maxPodz/);
});

test('configz shows the values in effect in the notation of the kind', () => {
  const shown = effectiveConfig(NODE_FLAGS, {}, KUBELET_FIELDS);
  assert.deepEqual(shown['evictionHard'], {
    'memory.available': '100Mi',
    'nodefs.available': '10%',
    'nodefs.inodesFree': '5%',
    'imagefs.available': '15%',
    'imagefs.inodesFree': '5%',
  });
  assert.deepEqual(shown['systemReserved'], { pid: '1000' });
  for (const left of [
    'address',
    'kubeReserved',
    'evictionSoft',
    'registerWithTaints',
    'maxParallelImagePulls',
  ])
    assert.equal(left in shown, false, left);
  const content = `
evictionHard: {memory.available: 5%}
evictionSoft: {nodefs.available: 1Gi}
evictionSoftGracePeriod: {nodefs.available: 1m30s}
kubeReserved: {cpu: 500m, memory: 1Gi}
systemReserved: {cpu: 100m}
imageMinimumGCAge: 90s
nodeStatusReportFrequency: 5m
registerWithTaints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]
maxPods: 20
`;
  const { flags } = kubelet(content);
  const { evictionHard, evictionSoft, evictionSoftGracePeriod, kubeReserved, systemReserved, ...rest } =
    effectiveConfig(NODE_FLAGS, flags, KUBELET_FIELDS);
  assert.deepEqual(
    [evictionHard, evictionSoft, evictionSoftGracePeriod, kubeReserved, systemReserved],
    [
      { 'memory.available': '5%' },
      { 'nodefs.available': '1Gi' },
      { 'nodefs.available': '1m30s' },
      { cpu: '500m', memory: '1Gi' },
      { cpu: '100m' },
    ],
  );
  const { imageMinimumGCAge, nodeStatusReportFrequency, registerWithTaints, maxPods, cpuManagerPolicy } =
    rest;
  assert.deepEqual(
    [imageMinimumGCAge, nodeStatusReportFrequency, registerWithTaints, maxPods, cpuManagerPolicy],
    [
      '1m30s',
      '5m0s',
      [
        { key: 'a', value: 'b', effect: 'NoSchedule' },
        { key: 'c', effect: 'NoExecute' },
      ],
      20,
      'none',
    ],
  );
});
