/** Each check on a real API server: silent on a healthy cluster, and with evidence and remedy where something is wrong. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as refs from '#client/refs.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { formatTime } from '#machinery/time.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { servingFrom } from '#cmd/apiserver/flags/serving.ts';
import type { EtcdFacts, Finding, MachineFacts } from './check.ts';
import { BEFORE_UPGRADE, CHECKS } from './list.ts';
import { runChecks, worstOf } from './run-checks.ts';

const NOW = Date.now();
const DAY_MS = 86_400_000;

const GOOD_ETCD: EtcdFacts = {
  members: ['a', 'b', 'c'].map((name) => ({ name, isLearner: false, dbSizeBytes: 1_000 })),
  alarms: [],
};
const GOOD: MachineFacts = {
  role: 'control-plane',
  certificates: () => [{ name: 'apiserver', notAfterMs: NOW + 200 * DAY_MS, renewed: true }],
  etcd: () => Promise.resolve(GOOD_ETCD),
  disks: () => [{ path: '/', freeBytes: 50 * 2 ** 30, totalBytes: 100 * 2 ** 30 }],
  sysctl: () => '1000000',
};

let server: TestApi;
let api: Client;
before(async () => {
  server = await startTestApi({ serving: servingFrom({ runtimeConfig: 'api/beta=true' }) });
  api = server.api;
  await api.create(refs.namespaces, { metadata: { name: 'web' } });
});
after(() => server.stop());

async function find(name: string, machine: Partial<MachineFacts> = {}): Promise<readonly Finding[]> {
  const checks = CHECKS.filter((check) => check.name === name);
  assert.equal(checks.length, 1, name);
  const [result] = await runChecks(checks, { api, nowMs: Date.now(), machine: { ...GOOD, ...machine } });
  return result!.findings;
}

async function create(ref: ResourceRef, object: object): Promise<void> {
  await api.create(ref, object as never);
}

async function setStatus(
  ref: ResourceRef,
  name: { name: string; namespace?: string },
  status: object,
): Promise<void> {
  await api.patch(ref, name, { type: 'merge', subresource: 'status', patch: { status } });
}

function evidenceOf(findings: readonly Finding[]): string {
  return findings
    .map(({ severity, object, evidence }) => `${severity} ${object ?? ''}: ${evidence}`)
    .join('\n');
}

describe('checks of the machine', () => {
  test('nothing is found on a healthy one', async () => {
    for (const { name, onMachine } of CHECKS) if (onMachine) assert.deepEqual(await find(name), [], name);
  });

  test('certificates', async () => {
    const at = (days: number) => ({
      certificates: () => [{ name: 'apiserver', notAfterMs: Date.now() + days * DAY_MS, renewed: true }],
    });
    assert.match(
      evidenceOf(await find('certificates', at(5.5))),
      /^warning certificate apiserver: it ends in 5 days/,
    );
    assert.match(
      evidenceOf(await find('certificates', at(-2))),
      /^error certificate apiserver: it ended 2 days ago/,
    );
  });

  test('disk', async () => {
    const left = (freeBytes: number) => ({ disks: () => [{ path: '/v', freeBytes, totalBytes: 2 ** 40 }] });
    assert.match(evidenceOf(await find('disk', left(2 ** 20))), /^error \/v: 0\.0 GiB of 1024\.0 are free/);
    assert.match(evidenceOf(await find('disk', left(5 * 2 ** 30))), /^warning \/v/);
  });

  test('sysctls', async () => {
    const findings = await find('sysctls', {
      sysctl: (name) => (name === 'net.ipv4.ip_forward' ? '0' : undefined),
    });
    assert.match(evidenceOf(findings), /^error net\.ipv4\.ip_forward: it is 0/);
    assert.match(findings[0]!.remedy, /sysctl -w net\.ipv4\.ip_forward=1/);
  });

  test('etcd: quorum, learners, alarms, fragmented files', async () => {
    const [a, b, c] = GOOD_ETCD.members as [EtcdFacts['members'][number], ...EtcdFacts['members']];
    const seen = async (facts: Partial<EtcdFacts>): Promise<string> =>
      evidenceOf(await find('etcd', { etcd: () => Promise.resolve({ ...GOOD_ETCD, ...facts }) }));
    assert.match(await seen({ members: [a, b!, { ...c!, problem: 'refused' }] }), /^warning etcd: 2 of 3/);
    assert.match(
      await seen({ members: [a, { ...b!, problem: 'x' }, { ...c!, problem: 'y' }] }),
      /^error etcd: 1 of 3 voting members are healthy, and 2 are needed/,
    );
    assert.match(
      await seen({ members: [...GOOD_ETCD.members, { ...a, name: 'd', isLearner: true }] }),
      /learner/,
    );
    assert.match(await seen({ members: [a, b!] }), /two voting members/);
    assert.match(await seen({ alarms: ['NOSPACE at a'] }), /^error etcd: alarm NOSPACE at a/);
    const fragmented = { ...a, dbSizeBytes: 2 ** 30, dbSizeInUseBytes: 2 ** 20 };
    assert.match(await seen({ members: [fragmented, b!, c!] }), /1024 MiB, 1 in use/);
  });
});

describe('checks of the cluster', () => {
  test('api-servers: one that is ready', async () => assert.deepEqual(await find('api-servers'), []));

  test('leases', async () => {
    assert.match(evidenceOf(await find('leases')), /kube-scheduler: there is none/);
    for (const name of ['kube-controller-manager', 'kube-scheduler'])
      await create(refs.leases, {
        metadata: { name, namespace: 'kube-system' },
        spec: { holderIdentity: 'm1', leaseDurationSeconds: 15, renewTime: microTime(Date.now()) },
      });
    assert.deepEqual(await find('leases'), []);
    await api.patch(
      refs.leases,
      { name: 'kube-scheduler', namespace: 'kube-system' },
      {
        type: 'merge',
        patch: { spec: { renewTime: microTime(Date.now() - 60_000) } },
      },
    );
    assert.match(
      evidenceOf(await find('leases')),
      /^error Lease kube-system\/kube-scheduler: m1 renewed it 60 s ago$/,
    );
  });

  test('clock-skew: a Lease renewed in the future', async () => {
    assert.deepEqual(await find('clock-skew'), []);
    await create(refs.leases, {
      metadata: { name: 'ahead', namespace: 'web' },
      spec: { holderIdentity: 'm9', renewTime: microTime(Date.now() + 60_000) },
    });
    assert.match(evidenceOf(await find('clock-skew')), /^warning Lease web\/ahead: m9 renewed it/);
    await api.delete(refs.leases, { name: 'ahead', namespace: 'web' });
  });

  test('nodes and versions', async () => {
    await create(refs.nodes, { metadata: { name: 'n1' } });
    const status = (kubeletVersion: string, ready: string) => ({
      conditions: [
        { type: 'Ready', status: ready, reason: 'KubeletNotReady', message: 'network is not ready' },
      ],
      nodeInfo: {
        kubeletVersion,
        kubeProxyVersion: '',
        architecture: 'amd64',
        bootID: '',
        containerRuntimeVersion: '',
        kernelVersion: '',
        machineID: '',
        operatingSystem: 'linux',
        osImage: '',
        systemUUID: '',
      },
    });
    await setStatus(refs.nodes, { name: 'n1' }, status('v1.36.0', 'True'));
    assert.deepEqual([await find('nodes'), await find('versions')], [[], []]);
    await setStatus(refs.nodes, { name: 'n1' }, status('v1.32.0', 'False'));
    assert.match(
      evidenceOf(await find('nodes')),
      /^error Node n1: it is not Ready: KubeletNotReady: network/,
    );
    assert.match(
      evidenceOf(await find('versions')),
      /^error Node n1: its agent is v1\.32\.0, more than 3 minor/,
    );
    await setStatus(refs.nodes, { name: 'n1' }, status('v1.99.0', 'True'));
    assert.match(evidenceOf(await find('versions')), /newer than the API server/);
    await api.patch(refs.nodes, { name: 'n1' }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    assert.match(evidenceOf(await find('nodes')), /^info Node n1: it is cordoned/);
    await api.delete(refs.nodes, { name: 'n1' });
  });

  test('backups: none, an old one, one whose drill failed', async () => {
    assert.match(evidenceOf(await find('backups')), /^warning : no backup/);
    const status = {
      lastSuccess: { name: 'b1', time: formatTime(NOW - 3 * DAY_MS) },
      conditions: [{ type: 'BackupProven', status: 'False', message: 'b1: digests differ' }],
    };
    await create(refs.configMaps, {
      metadata: { name: 'capstan-backup-status', namespace: 'kube-system' },
      data: { status: JSON.stringify(status) },
    });
    const seen = evidenceOf(await find('backups'));
    assert.match(seen, /the newest backup, b1, is 72 hours old/);
    assert.match(seen, /error ConfigMap .*BackupProven is False: b1: digests differ/);
  });

  test('api-services', async () => {
    assert.deepEqual(await find('api-services'), []);
    const name = 'v1.gone.example.com';
    await create(refs.apiServices, {
      metadata: { name },
      spec: {
        group: 'gone.example.com',
        version: 'v1',
        groupPriorityMinimum: 100,
        versionPriority: 100,
        service: { namespace: 'web', name: 'gone' },
      },
    });
    assert.match(
      evidenceOf(await find('api-services')),
      /^error APIService v1\.gone\.example\.com: it is not available/,
    );
    await api.delete(refs.apiServices, { name });
  });

  test('webhooks', async () => {
    await create(refs.validatingWebhookConfigurations, {
      metadata: { name: 'guard' },
      webhooks: [
        {
          name: 'guard.example.com',
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          clientConfig: { service: { namespace: 'web', name: 'guard' } },
          rules: [
            { apiGroups: ['a.io'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['things'] },
          ],
        },
      ],
    });
    const [finding] = await find('webhooks');
    assert.match(finding!.evidence, /webhook guard\.example\.com must answer.*writes of things fail/);
    await create(refs.endpointSlices, {
      metadata: { name: 'guard', namespace: 'web', labels: { 'kubernetes.io/service-name': 'guard' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true } }],
      ports: [],
    });
    assert.deepEqual(await find('webhooks'), []);
    await api.delete(refs.validatingWebhookConfigurations, { name: 'guard' });
  });

  test('disruption-budgets', async () => {
    await create(refs.podDisruptionBudgets, {
      metadata: { name: 'one', namespace: 'web' },
      spec: { minAvailable: 1, selector: { matchLabels: { a: 'b' } } },
    });
    const status = (disruptionsAllowed: number) => ({
      disruptionsAllowed,
      expectedPods: 1,
      currentHealthy: 1,
      desiredHealthy: 1,
    });
    await setStatus(refs.podDisruptionBudgets, { name: 'one', namespace: 'web' }, status(1));
    assert.deepEqual(await find('disruption-budgets'), []);
    await setStatus(refs.podDisruptionBudgets, { name: 'one', namespace: 'web' }, status(0));
    const [finding] = await find('disruption-budgets');
    assert.match(finding!.evidence, /1 of 1 are healthy and 1 must be/);
    assert.match(finding!.remedy, /lower minAvailable/);
  });

  test('crash-loops', async () => {
    await create(refs.serviceAccounts, { metadata: { name: 'default', namespace: 'web' } }).catch(() => {});
    await create(refs.pods, {
      metadata: { name: 'p', namespace: 'web' },
      spec: { containers: [{ name: 'c', image: 'i' }], automountServiceAccountToken: false },
    });
    assert.deepEqual(await find('crash-loops'), []);
    await setStatus(
      refs.pods,
      { name: 'p', namespace: 'web' },
      {
        containerStatuses: [
          {
            name: 'c',
            image: 'i',
            imageID: '',
            ready: false,
            restartCount: 4,
            state: { waiting: { reason: 'CrashLoopBackOff' } },
            lastState: { terminated: { exitCode: 3, reason: 'Error' } },
          },
        ],
      },
    );
    assert.match(
      evidenceOf(await find('crash-loops')),
      /^warning Pod web\/p: container c is in CrashLoopBackOff after 4 restarts, last ended with Error \(exit code 3\)$/,
    );
  });

  test('default-classes', async () => {
    assert.deepEqual(await find('default-classes'), []);
    await create(refs.persistentVolumeClaims, {
      metadata: { name: 'data', namespace: 'web' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    });
    await setStatus(refs.persistentVolumeClaims, { name: 'data', namespace: 'web' }, { phase: 'Pending' });
    assert.match(
      evidenceOf(await find('default-classes')),
      /^error PersistentVolumeClaim web\/data: 1 claims/,
    );
    const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
    for (const name of ['x', 'y'])
      await create(refs.storageClasses, { metadata: { name, annotations }, provisioner: 'a.io/b' });
    assert.match(
      evidenceOf(await find('default-classes')),
      /^warning StorageClass: x, y are all the default/,
    );
  });

  test('deprecated-apis: who wrote objects, and what was requested', async () => {
    // Deprecated, and never gone.
    await create(refs.endpoints, { metadata: { name: 'by-hand', namespace: 'default' } });
    assert.deepEqual(await find('deprecated-apis'), []);
    await create(
      {
        group: 'storage.k8s.io',
        version: 'v1beta1',
        plural: 'volumeattributesclasses',
        kind: 'VolumeAttributesClass',
        namespaced: false,
      },
      { metadata: { name: 'gold' }, driverName: 'a.io', parameters: { a: 'b' } },
    );
    const findings = await find('deprecated-apis');
    assert.match(
      evidenceOf(findings),
      /warning VolumeAttributesClass gold: 1 objects were written by test as storage\.k8s\.io\/v1beta1/,
    );
    const check = CHECKS.filter(({ name }) => name === 'deprecated-apis');
    const [result] = await runChecks(check, { api, nowMs: NOW, target: { major: 1, minor: 37 } });
    assert.equal(result!.findings[0]!.severity, 'error', 'gone in the version that is upgraded to');
    assert.match(
      evidenceOf(result!.findings),
      /^error storage\.k8s\.io\/v1beta1 volumeattributesclasses: it was requested since this API server started, and is gone in 1\.37$/m,
    );
  });

  test('deprecated-apis: the audit log of the machine, and what of it was not read', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-checks-'));
    try {
      const path = join(dir, 'audit.log');
      const event = {
        stage: 'ResponseComplete',
        user: { username: 'ann' },
        objectRef: { apiGroup: 'a.io', apiVersion: 'v1beta1', resource: 'things' },
        requestReceivedTimestamp: new Date(NOW).toISOString(),
        annotations: { 'k8s.io/deprecated': 'true', 'k8s.io/removed-release': '1.37' },
      };
      writeFileSync(path, `${JSON.stringify(event)}\n`);
      const text = evidenceOf(await find('deprecated-apis', { auditLogs: () => [path, join(dir, 'gone')] }));
      assert.match(
        text,
        /^warning a\.io\/v1beta1 things: the audit log of this machine has 1 requests by ann/m,
      );
      assert.match(text, /^info audit log: not all of the audit log was read: .*gone: ENOENT/m);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('namespaces that cannot be deleted', async () => {
    await create(refs.namespaces, { metadata: { name: 'stuck', finalizers: ['a.io/hold'] } });
    await api.delete(refs.namespaces, { name: 'stuck' });
    assert.deepEqual(await find('namespaces'), [], 'not yet late');
    const [check] = CHECKS.filter(({ name }) => name === 'namespaces');
    const findings = await check!.run({ api, nowMs: Date.now() + 120_000 });
    assert.match(
      evidenceOf(findings),
      /^warning Namespace stuck: it is being deleted for 2 min \(finalizers kubernetes, a\.io\/hold\)/,
    );
  });
});

test('a check that cannot be made is a finding, and those of the machine are skipped elsewhere', async () => {
  const broken = { name: 'x', short: 'y', run: () => Promise.reject(new Error('refused')) };
  const needsMachine = { name: 'z', short: 'y', onMachine: true, run: () => Promise.resolve([]) };
  const results = await runChecks([broken, needsMachine], { api, nowMs: NOW });
  assert.equal(results[0]!.findings[0]!.evidence, 'the check cannot be made: refused');
  assert.equal(results[1]!.skipped, 'run it on a machine of the cluster');
  assert.equal(worstOf(results), 'error');
  assert.equal(worstOf([]), undefined);
  for (const check of BEFORE_UPGRADE) assert.ok(CHECKS.includes(check));
});

function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
