/** Each row on a real API server: what a cluster of one machine lacks, and what a complete one shows. Facts from outside are given. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as refs from '#client/refs.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { formatMicroTime, formatTime } from '#machinery/time.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import type { MachineFacts } from '../check.ts';
import { ROWS } from './list.ts';
import { renderHtml } from './render/html.ts';
import { renderJUnit } from './render/junit.ts';
import { renderExplanation, renderText } from './render/text.ts';
import { assessRows, type RowResult, type Scorecard } from './scorecard.ts';
import { fromPods, parseFlagz } from './server-flags.ts';
import { createView, type OutsideProbe } from './view.ts';

const DAY_MS = 86_400_000;
const OUTSIDE: OutsideProbe = {
  server: '10.0.0.1:6443',
  certificateOf: () => Promise.resolve({ notAfterMs: Date.now() + 200 * DAY_MS }),
  anonymousStatus: () => Promise.resolve(401),
  failOver: () => Promise.resolve({ requests: 60, failed: 0, longestMs: 12 }),
};
const MEMBERS = ['a', 'b', 'c'].map((name) => ({ name, isLearner: false }));
const MACHINE: MachineFacts = {
  role: 'control-plane',
  certificates: () => [],
  etcd: () => Promise.resolve({ members: MEMBERS, alarms: [] }),
  disks: () => [],
  sysctl: () => undefined,
};

let server: TestApi;
let api: Client;
before(async () => {
  server = await startTestApi();
  api = server.api;
});
after(() => server.stop());

interface Given {
  readonly outside?: Partial<OutsideProbe>;
  readonly machine?: MachineFacts;
}

function score(names: readonly string[] = [], { outside, machine }: Given = {}): Promise<Scorecard> {
  const rows = names.length === 0 ? ROWS : ROWS.filter(({ name }) => names.includes(name));
  const view = createView({ api, nowMs: Date.now(), machine }, { ...OUTSIDE, ...outside });
  return assessRows(rows, view);
}

async function row(name: string, given?: Given): Promise<RowResult> {
  const { rows } = await score([name], given);
  assert.equal(rows.length, 1, name);
  return rows[0]!;
}

/** 'met: evidence; evidence' */
async function seen(name: string, given?: Given): Promise<string> {
  const { verdict, evidence } = await row(name, given);
  return `${verdict}: ${evidence.join('; ')}`;
}

async function create(ref: ResourceRef, object: object): Promise<void> {
  await api.create(ref, object as never);
}

async function createNode(
  name: string,
  { zone, plane = false, conditions = [] }: { zone?: string; plane?: boolean; conditions?: string[] } = {},
): Promise<void> {
  const role = 'node-role.kubernetes.io/control-plane';
  await create(refs.nodes, {
    metadata: {
      name,
      labels: { ...(zone ? { 'topology.kubernetes.io/zone': zone } : {}), ...(plane ? { [role]: '' } : {}) },
    },
    spec: plane ? { taints: [{ key: role, effect: 'NoSchedule' }] } : {},
  });
  const status = {
    allocatable: { cpu: '4', memory: '8Gi', pods: '110' },
    conditions: ['Ready', ...conditions].map((type) => ({
      type,
      status: type === 'Ready' ? 'True' : 'False',
    })),
  };
  await api.patch(refs.nodes, { name }, { type: 'merge', subresource: 'status', patch: { status } });
}

async function createPod(namespace: string, name: string, more: object = {}): Promise<void> {
  const containers = [{ name: 'c', image: 'i', resources: { requests: { cpu: '1' } } }];
  await create(refs.serviceAccounts, { metadata: { name: 'default', namespace } }).catch(() => undefined);
  await create(refs.pods, { metadata: { name, namespace }, spec: { containers, ...more } });
}

describe('a cluster that lacks everything', () => {
  test('each row without evidence of its own is not met or unknown, and says what to do', async () => {
    const { rows, counts } = await score();
    assert.equal(rows.length, ROWS.length);
    const expected = {
      'api-balancing': /^not met: EndpointSlice default\/kubernetes has no address/,
      'etcd-replicas': /^not met: the store is in one program/,
      backups: /^not met: no backup of this cluster/,
      zones: /^not met: workers in 0 zones/,
      'node-validation': /^not met: there is no Node/,
      'spare-capacity': /^not met: 0 Ready workers/,
      'node-autoscaling': /^not met/,
      'node-problem-detection': /^not met/,
      dns: /^not met: 0 ready endpoints on 0 machines/,
    };
    for (const [name, pattern] of Object.entries(expected)) assert.match(await seen(name), pattern);
    for (const { name, verdict, remedy } of rows)
      assert.equal(remedy !== undefined, verdict === 'partly' || verdict === 'not met', name);
    assert.equal(counts.met + counts.partly + counts['not met'] + counts.unknown, rows.length);
  });
});

describe('control plane', () => {
  test('control-plane-apart and zones', async () => {
    await createNode('m1', { plane: true, zone: 'a' });
    await createNode('w1', { zone: 'a' });
    assert.match(await seen('control-plane-apart'), /^met: 1 control plane with a taint/);
    assert.match(await seen('zones'), /^not met: workers in 1 zone: a; control planes in 1 zone/);
    await createNode('w2', { zone: 'b' });
    assert.match(await seen('zones'), /^partly: workers in 2 zones: a, b; control planes in 1 zone/);
    await createNode('m2', { plane: true, zone: 'b' });
    await createNode('m3', { plane: true, zone: 'c' });
    assert.match(await seen('zones'), /^met/);
    await create(refs.namespaces, { metadata: { name: 'shop' } });
    await createPod('shop', 'beside', { nodeName: 'm1' });
    assert.match(await seen('control-plane-apart'), /^partly: .*shop\/beside/);
    await api.delete(refs.pods, { name: 'beside', namespace: 'shop' }, { gracePeriodSeconds: 0 });
  });

  test('control-plane-replicas counts the identity Leases that are renewed', async () => {
    const lease = (name: string, renewedMs: number) =>
      create(refs.leases, {
        metadata: {
          name,
          namespace: 'kube-system',
          labels: { 'apiserver.kubernetes.io/identity': 'kube-apiserver', 'kubernetes.io/hostname': name },
        },
        spec: { leaseDurationSeconds: 3_600, renewTime: formatMicroTime(renewedMs) },
      });
    const { verdict } = await row('control-plane-replicas');
    assert.equal(verdict, 'not met');
    for (const name of ['s1', 's2']) await lease(name, Date.now());
    await lease('s3', Date.now() - DAY_MS);
    const [before] = [await row('control-plane-replicas')];
    assert.ok(!before.evidence[0]!.includes('s3'), before.evidence[0]);
    await lease('s4', Date.now());
    assert.match(await seen('control-plane-replicas'), /^met: .*s1, s2, s4/);
  });

  test('api-balancing: servers that fail over, that do not, and that are not reached', async () => {
    await create(refs.endpointSlices, {
      metadata: {
        name: 'kubernetes-more',
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'kubernetes' },
      },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.2'] }],
      ports: [{ name: 'https', port: 6443, protocol: 'TCP' }],
    });
    assert.match(await seen('api-balancing'), /^met: 60 requests .* 0 failed, the longest took 12 ms/);
    const failing = () => Promise.resolve({ requests: 60, failed: 3, longestMs: 9 });
    assert.match(await seen('api-balancing', { outside: { failOver: failing } }), /^not met: .* 3 failed/);
    const slow = () => Promise.resolve({ requests: 60, failed: 0, longestMs: 4_000 });
    assert.match(await seen('api-balancing', { outside: { failOver: slow } }), /^partly/);
    const away = () => Promise.resolve(undefined);
    assert.match(await seen('api-balancing', { outside: { failOver: away } }), /^unknown/);
  });

  test('etcd-replicas: from a control plane, and from pods of etcd', async () => {
    assert.match(await seen('etcd-replicas'), /^unknown/);
    assert.match(await seen('etcd-replicas', { machine: MACHINE }), /^met: 3 healthy members/);
    const members = [...MEMBERS.slice(0, 2), { name: 'c', isLearner: false, problem: 'refused' }];
    const machine = { ...MACHINE, etcd: () => Promise.resolve({ members, alarms: [] }) };
    assert.match(await seen('etcd-replicas', { machine }), /^not met: 2 of 3 members are healthy/);
    const labels = { component: 'etcd' };
    await create(refs.serviceAccounts, { metadata: { name: 'default', namespace: 'kube-system' } });
    await create(refs.pods, {
      metadata: { name: 'etcd-m1', namespace: 'kube-system', labels },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    assert.match(await seen('etcd-replicas'), /^not met: 1 pod of etcd/);
  });

  test('certificates: soon, ended, unreachable', async () => {
    const at = (days: number): Given => ({
      outside: { certificateOf: () => Promise.resolve({ notAfterMs: Date.now() + (days + 0.5) * DAY_MS }) },
    });
    assert.match(await seen('certificates'), /^met: .*in 199 days|^met: .*in 200 days/);
    assert.match(await seen('certificates', at(3)), /^partly: that of API server .* ends in 3 days/);
    assert.match(await seen('certificates', at(-5)), /^not met: .* ended 5 days ago/);
    const away: Given = { outside: { certificateOf: () => Promise.reject(new Error('refused')) } };
    assert.match(await seen('certificates', away), /^unknown/);
  });

  test('backups: a proven one', async () => {
    const status = (drill: string) => ({
      lastSuccess: { name: 'b1', time: formatTime(Date.now()) },
      conditions: [{ type: 'BackupProven', status: drill, message: 'b1: digests differ' }],
    });
    const put = (drill: string) => ({ data: { status: JSON.stringify(status(drill)) } });
    const name = { name: 'capstan-backup-status', namespace: 'kube-system' };
    await create(refs.configMaps, { metadata: name, ...put('True') });
    assert.match(await seen('backups'), /^met: b1 of .*; its drill passed/);
    await api.patch(refs.configMaps, name, { type: 'merge', patch: put('False') });
    assert.match(await seen('backups'), /^not met: BackupProven is False/);
    await api.patch(refs.configMaps, name, { type: 'merge', patch: put('Unknown') });
    assert.match(await seen('backups'), /^partly: .*not been opened/);
  });
});

describe('worker nodes', () => {
  test('spare-capacity compares requests with what is left', async () => {
    assert.match(await seen('spare-capacity'), /^met: 2 workers; without the largest, \d+ % of cpu/);
    for (const name of ['p1', 'p2', 'p3', 'p4', 'p5']) await createPod('shop', name);
    assert.match(await seen('spare-capacity'), /^partly: without the largest of 2 workers, 125 % of cpu/);
  });

  test('node-problem-detection', async () => {
    await createNode('w3', { zone: 'b', conditions: ['KernelDeadlock'] });
    assert.match(await seen('node-problem-detection'), /^partly: 1 of 6 Nodes/);
  });

  test('node-autoscaling sees the status ConfigMap', async () => {
    const metadata = { name: 'cluster-autoscaler-status', namespace: 'kube-system' };
    await create(refs.configMaps, { metadata });
    assert.match(await seen('node-autoscaling'), /^met: ConfigMap kube-system\/cluster-autoscaler-status/);
  });

  test('adding-nodes: a token without an end', async () => {
    assert.match(await seen('adding-nodes'), /^met: no bootstrap token/);
    const encode = (text: string): string => Buffer.from(text).toString('base64');
    await create(refs.secrets, {
      metadata: { name: 'bootstrap-token-abcdef', namespace: 'kube-system' },
      type: 'bootstrap.kubernetes.io/token',
      data: { 'token-id': encode('abcdef'), 'token-secret': encode('0123456789abcdef') },
    });
    assert.match(await seen('adding-nodes'), /^partly: .*bootstrap-token-abcdef/);
  });
});

describe('users and limits', () => {
  test('authentication: flags decide, an open API does not pass', async () => {
    assert.match(await seen('authentication'), /answered with 401/);
    const outside = { anonymousStatus: () => Promise.resolve(200) };
    assert.match(await seen('authentication', { outside }), /^not met: .* answered with 200/);
  });

  test('authorization: a binding that makes everybody an administrator', async () => {
    assert.match(await seen('authorization'), /^met/);
    const subjects = [{ kind: 'Group', name: 'system:authenticated', apiGroup: 'rbac.authorization.k8s.io' }];
    const roleRef = { kind: 'ClusterRole', name: 'cluster-admin', apiGroup: 'rbac.authorization.k8s.io' };
    await create(refs.clusterRoleBindings, { metadata: { name: 'all' }, roleRef, subjects });
    assert.match(await seen('authorization'), /^not met: a user without any role .*ClusterRoleBinding all/);
    await api.delete(refs.clusterRoleBindings, { name: 'all' });
  });

  test('admission, quotas and limit-ranges count the namespaces in use; a fix only warns', async () => {
    await create(refs.namespaces, {
      metadata: { name: 'bank', labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
    });
    await createPod('bank', 'p');
    assert.match(await seen('admission'), /^partly: 1 of 2 namespaces .*; without: shop/);
    const { fixes = [] } = await row('admission');
    assert.deepEqual(
      fixes.map(({ does }) => does),
      ['label Namespace shop with pod-security.kubernetes.io/warn=baseline'],
    );
    await fixes[0]!.apply(api);
    const { metadata } = await api.get(refs.namespaces, { name: 'shop' });
    assert.equal(metadata.labels?.['pod-security.kubernetes.io/warn'], 'baseline');
    assert.deepEqual((await row('admission')).fixes, []);
    assert.match(await seen('quotas'), /^not met: 0 of 2/);
    await create(refs.resourceQuotas, {
      metadata: { name: 'q', namespace: 'bank' },
      spec: { hard: { pods: '9' } },
    });
    assert.match(await seen('quotas'), /^partly: 1 of 2 namespaces .*; without: shop/);
    assert.match(await seen('limit-ranges'), /^not met/);
  });

  test('dns: two endpoints on two machines; autoscaled', async () => {
    await create(refs.endpointSlices, {
      metadata: {
        name: 'dns',
        namespace: 'kube-system',
        labels: { 'kubernetes.io/service-name': 'kube-dns' },
      },
      addressType: 'IPv4',
      endpoints: ['w1', 'w2'].map((nodeName, index) => ({ addresses: [`10.1.0.${index + 1}`], nodeName })),
      ports: [],
    });
    assert.match(await seen('dns'), /2 ready endpoints on 2 machines/);
    await create(refs.configMaps, { metadata: { name: 'dns-autoscaler', namespace: 'kube-system' } });
    assert.match(await seen('dns'), /^met: .*ConfigMap kube-system\/dns-autoscaler/);
  });

  test('service-accounts: a role for the account "default"', async () => {
    assert.match(await seen('service-accounts'), /^met/);
    await create(refs.roleBindings, {
      metadata: { name: 'loose', namespace: 'shop' },
      roleRef: { kind: 'ClusterRole', name: 'view', apiGroup: 'rbac.authorization.k8s.io' },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'shop' }],
    });
    assert.match(await seen('service-accounts'), /^partly: .*RoleBinding shop\/loose/);
  });
});

describe('the flags of a server', () => {
  test('from flagz, and from the command line of a static pod', () => {
    const text =
      '\napiserver flagz\nWarning: x\n\nauthorization-mode: Node,RBAC\nv=2\nanonymous-auth=false\n';
    assert.deepEqual(Array.from(parseFlagz(text)!), [
      ['authorization-mode', 'Node,RBAC'],
      ['anonymous-auth', 'false'],
    ]);
    assert.equal(parseFlagz('not found'), undefined);
    const pod = {
      metadata: {
        name: 'k',
        uid: 'u',
        resourceVersion: '1',
        namespace: 'kube-system',
        labels: { component: 'kube-apiserver' },
      },
      spec: {
        containers: [{ name: 'k', command: ['kube-apiserver', '--token-auth-file=/t', '--profiling'] }],
      },
    };
    assert.deepEqual(Array.from(fromPods([pod] as never)!), [
      ['token-auth-file', '/t'],
      ['profiling', 'true'],
    ]);
    assert.equal(fromPods([]), undefined);
  });
});

describe('how it is written', () => {
  const card: Scorecard = {
    cluster: 'a<b>:6443',
    time: '2026-01-01T00:00:00Z',
    counts: { met: 1, partly: 0, 'not met': 1, unknown: 1 },
    percent: 50,
    rows: [
      { name: 'x', topic: 'Users', title: 'X & Y', verdict: 'met', evidence: ['fine'] },
      {
        name: 'y',
        topic: 'Users',
        title: 'Y',
        verdict: 'not met',
        evidence: ['"bad" \u0007'],
        remedy: 'do <this>',
      },
      {
        name: 'z',
        topic: 'Worker nodes',
        title: 'Z',
        verdict: 'unknown',
        evidence: ['1', '2', '3', '4', '5', '6', '7'],
      },
    ],
  };

  test('text has each row with evidence, bounded, and the remedy', () => {
    const text = renderText(card).join('\n');
    assert.match(text, /^Readiness of a<b>:6443: 50 % \(1 of 3 met, 0 partly, 1 not met, 1 unknown\)$/m);
    assert.match(text, /^ {2}not met {2}y: Y\n {11}"bad" .*\n {11}→ do <this>$/m);
    assert.match(text, /and 2 more$/);
  });

  test('JUnit counts failures and skips, and is well-formed', () => {
    const xml = renderJUnit(card).join('\n');
    assert.match(xml, /<testsuites name="capstan readiness" tests="3" failures="1" errors="0" skipped="1">/);
    assert.match(xml, /<failure type="not met" message="&quot;bad&quot; \uFFFD">do &lt;this&gt;<\/failure>/);
    assert.match(xml, /name="x: X &amp; Y"/);
  });

  test('HTML escapes what the cluster says and has no outside parts', () => {
    const html = renderHtml(card).join('\n');
    assert.match(html, /Readiness of a&lt;b&gt;:6443/);
    assert.match(html, /do &lt;this&gt;/);
    assert.doesNotMatch(html, /<script|https?:\/\//);
  });

  test('every row explains itself', () => {
    for (const each of ROWS) assert.match(renderExplanation(each).join(' '), /Met: /, each.name);
    assert.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length);
  });
});
