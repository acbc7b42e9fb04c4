import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import type { NodeFlags } from './flags.ts';
import { nodeSettingsFrom, requireNoSwap } from './from-flags.ts';

const DEFAULTS = nodeSettingsFrom({});

function changes(flags: NodeFlags): object {
  const { agent, ...rest } = nodeSettingsFrom(flags);
  return { ...rest, agent: { ...agent } };
}

function refuses(flags: NodeFlags, message: RegExp): void {
  assert.throws(() => nodeSettingsFrom(flags), { name: 'UserError', message });
}

const PROBLEMS = {
  enabled: true,
  logMonitors: [],
  pluginMonitors: [],
  metricsPort: 20_257,
  rebootCommand: undefined,
};

it("has the kubelet's defaults", () => {
  assert.deepEqual(DEFAULTS, {
    agent: {
      clusterDomain: 'cluster.local',
      port: 10_250,
      maximumPods: 110,
      podsPerCore: 0,
      externalCloudProvider: false,
      statusMaximumImages: 50,
      statusUpdateMs: 10_000,
      statusReportMs: 300_000,
      leaseSeconds: 40,
      maximumBackoffMs: 300_000,
      seccompDefault: false,
      resolvConf: '/etc/resolv.conf',
      labels: {},
      taints: [],
      credentialProviders: undefined,
    },
    logRotation: { maximumBytes: 10 * 1024 * 1024, maximumFiles: 5, periodMs: 10_000 },
    eviction: { maximumPodGraceSeconds: 0, transitionMs: 300_000 },
    imageGarbage: { highThresholdPercent: 85, lowThresholdPercent: 80, minAgeMs: 120_000, maxAgeMs: 0 },
    tls: {},
    reserved: {},
    problems: PROBLEMS,
  });
});

it('takes streams, TLS, limits and reservations', () => {
  assert.deepEqual(
    changes({
      streamingConnectionIdleTimeout: '5m',
      tlsMinVersion: 'VersionTLS13',
      podMaxPids: 100,
      maxPods: 20,
      systemReserved: 'cpu=500m,memory=1Gi',
      kubeReserved: 'cpu=250m, pid=1000',
      containerLogMaxSize: '1Mi',
      containerLogMaxFiles: 2,
      imageGcHighThreshold: 50,
      imageGcLowThreshold: 40,
      minimumImageTtlDuration: '1h',
      nodeLabels: 'disk=ssd,node.kubernetes.io/rack=7',
      registerWithTaints: 'a=b:NoSchedule,c:NoExecute',
    }),
    {
      agent: {
        ...DEFAULTS.agent,
        streamIdleMs: 300_000,
        podPidsLimit: 100,
        maximumPods: 20,
        labels: { disk: 'ssd', 'node.kubernetes.io/rack': '7' },
        taints: [
          { key: 'a', value: 'b', effect: 'NoSchedule' },
          { key: 'c', effect: 'NoExecute' },
        ],
      },
      logRotation: { maximumBytes: 1024 * 1024, maximumFiles: 2, periodMs: 10_000 },
      eviction: DEFAULTS.eviction,
      imageGarbage: { highThresholdPercent: 50, lowThresholdPercent: 40, minAgeMs: 3_600_000, maxAgeMs: 0 },
      tls: { minVersion: 'TLSv1.3' },
      reserved: { cpu: '750m', memory: '1Gi', pid: '1k' },
      problems: PROBLEMS,
    },
  );
  assert.deepEqual(changes({ podMaxPids: -1 }), DEFAULTS);
});

it('takes directories, periods, pulls, sysctls and the cloud provider', () => {
  const { agent, logRotation, imageGarbage } = nodeSettingsFrom({
    rootDir: '/var/lib/kubelet',
    podLogsDir: '/var/log/pods',
    cloudProvider: 'external',
    providerId: 'cloud://1',
    podsPerCore: 10,
    containerLogMonitorInterval: '5s',
    imageMaximumGcAge: '24h',
    serializeImagePulls: 'true',
    nodeStatusMaxImages: -1,
    nodeStatusUpdateFrequency: '5s',
    nodeLeaseDurationSeconds: 20,
    maxContainerRestartPeriod: '1m',
    seccompDefault: 'true',
    allowedUnsafeSysctls: ['net.core.somaxconn', 'kernel/msg*'],
  });
  assert.deepEqual(agent, {
    ...DEFAULTS.agent,
    rootDir: '/var/lib/kubelet',
    podLogsDir: '/var/log/pods',
    externalCloudProvider: true,
    providerID: 'cloud://1',
    podsPerCore: 10,
    maximumParallelPulls: 1,
    statusMaximumImages: -1,
    statusUpdateMs: 5_000,
    leaseSeconds: 20,
    maximumBackoffMs: 60_000,
    seccompDefault: true,
    allowedUnsafeSysctls: ['net.core.somaxconn', 'kernel.msg*'],
  });
  assert.equal(logRotation?.periodMs, 5_000);
  assert.equal(imageGarbage?.maxAgeMs, 86_400_000);
});

it('refuses a machine with swap by --fail-swap-on only', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'capstan-swaps-')), 'swaps');
  const header = 'Filename\tType\tSize\tUsed\tPriority\n';
  writeFileSync(path, header);
  requireNoSwap({ failSwapOn: 'true' }, path);
  writeFileSync(path, `${header}/dev/vda5 partition 1024 0 -2\n`);
  requireNoSwap({}, path);
  assert.throws(
    () => requireNoSwap({ failSwapOn: 'true' }, path),
    /swap is on \(\/dev\/vda5\)\. Turn it off/,
  );
  rmSync(dirname(path), { recursive: true });
});

it('refuses what cannot be', () => {
  refuses({ allowedUnsafeSysctls: ['vm.swappiness'] }, /--allowed-unsafe-sysctls has "vm.swappiness"/);
  refuses({ maxContainerRestartPeriod: '10m' }, /should be a duration from 1s to 5m/);
  refuses({ containerLogMonitorInterval: '1s' }, /should be a duration from 3s to 24 days/);
  for (const wrong of ['0', '0s', '-1h', 'soon', '9999h'])
    refuses({ streamingConnectionIdleTimeout: wrong }, /--streaming-connection-idle-timeout .*should/);
  for (const wrong of ['cpu', 'cpu=many', 'cpu=-1', 'disk=1Gi'])
    refuses(
      { kubeReserved: wrong },
      new RegExp(
        `--kube-reserved has "${wrong}"; it should be cpu, memory, ephemeral-storage, pid, '=' and an amount, such as memory=1Gi.`,
      ),
    );
  refuses(
    { containerLogMaxSize: 'much' },
    /--container-log-max-size is "much"; it should be an amount of bytes/,
  );
  refuses(
    { imageGcLowThreshold: 90 },
    /--image-gc-low-threshold is 90; it should be less than .*, which is 85/,
  );
  refuses({ nodeLabels: 'disk' }, /--node-labels has "disk"; it should be KEY=VALUE/);
  refuses(
    { nodeLabels: 'node-role.kubernetes.io/x=y' },
    /a node may not set labels of kubernetes\.io itself/,
  );
  refuses({ registerWithTaints: 'a=b:Never' }, /--register-with-taints has "a=b:Never"/);
  refuses({ anonymousAuth: 'true' }, /--anonymous-auth is "true"; it can only be false/);
  refuses({ authorizationMode: 'AlwaysAllow' }, /can only be Webhook/);
  refuses({ readOnlyPort: '10255' }, /can only be 0/);
  refuses({ cgroupDriver: 'systemd' }, /--cgroup-driver is refused: each node runs a containerd of its own/);
});

it('takes eviction thresholds, in words of flags, and names a wrong one', () => {
  assert.deepEqual(
    nodeSettingsFrom({
      evictionHard: 'memory.available<500Mi,nodefs.available<10%',
      evictionSoft: 'memory.available<1Gi',
      evictionSoftGracePeriod: 'memory.available=1m30s',
      evictionMinimumReclaim: 'nodefs.available=1Gi',
      evictionMaxPodGracePeriod: 30,
      evictionPressureTransitionPeriod: '1m',
    }).eviction,
    {
      hard: { 'memory.available': '500Mi', 'nodefs.available': '10%' },
      soft: { 'memory.available': '1Gi' },
      softGracePeriod: { 'memory.available': '1m30s' },
      minimumReclaim: { 'nodefs.available': '1Gi' },
      maximumPodGraceSeconds: 30,
      transitionMs: 60_000,
    },
  );
  assert.deepEqual(nodeSettingsFrom({ evictionHard: '' }).eviction?.hard, {});
  const merged = nodeSettingsFrom({
    evictionHard: 'memory.available<1Gi',
    mergeDefaultEvictionSettings: true,
  });
  assert.equal(merged.eviction?.hard?.['nodefs.available'], '10%');
  assert.equal(merged.eviction?.hard?.['memory.available'], '1Gi');
  refuses({ evictionHard: 'memory.available=1Gi' }, /--eviction-hard has "memory.available=1Gi"/);
  refuses({ evictionHard: 'memory<1Gi' }, /--eviction-hard has "memory"; it should be a signal/);
  refuses({ evictionSoft: 'memory.available<1Gi' }, /eviction-soft-grace-period should have it too\./);
});

it('reads credential providers, and wants both of their flags', () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-provider-flags-'));
  try {
    const config = join(dir, 'config.yaml');
    writeFileSync(
      config,
      'apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: []\n',
    );
    assert.throws(
      () => nodeSettingsFrom({ imageCredentialProviderConfig: config }),
      /^UserError: --image-credential-provider-config and --image-credential-provider-bin-dir should be given together\.$/,
    );
    assert.throws(
      () => nodeSettingsFrom({ imageCredentialProviderConfig: config, imageCredentialProviderBinDir: dir }),
      /--image-credential-provider-config .*config\.yaml: failed to validate .* at least 1 item in plugins is required\.$/,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
