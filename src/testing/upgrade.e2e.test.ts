/**
 * `capstan upgrade` on one machine of a real etcd, the short form of suites/upgrade: to a second version that is built for the test, by its own program, and
 * back to the first with the backup that it made.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { buildSecondVersion, type SecondVersion } from './second-version.ts';
import { until, type CommandResult } from './cluster.ts';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { UpgradeCluster, upgradeObstacle } from './upgrade/cluster.ts';

const KUBEADM = { apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'ClusterConfiguration' };
const RANGE = { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR' };
const GOAWAY = { name: 'goaway-chance', value: '0.001' };

const POLICY = {
  metadata: { name: 'a' },
  spec: {
    reinvocationPolicy: 'Never',
    failurePolicy: 'Fail',
    matchConstraints: {
      resourceRules: [
        { apiGroups: ['a.io'], apiVersions: ['v1'], resources: ['things'], operations: ['CREATE'] },
      ],
    },
    mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
  },
};

describe('upgrade of one machine', { skip: upgradeObstacle }, () => {
  let cluster: UpgradeCluster;
  let next: SecondVersion;
  before(async () => {
    next = buildSecondVersion();
    cluster = new UpgradeCluster({ planes: 1, workers: 0, subnet: '10.222.1' });
    await cluster.start();
  });
  after(async () => {
    await cluster?.close();
    next?.remove();
  });

  const versions = async (): Promise<string[]> => {
    const { gitVersion, emulationMinor } = await cluster.json<Record<string, string>>('/version');
    const node = await cluster.json<{ status: { nodeInfo: { kubeletVersion: string } } }>('/api/v1/nodes/m1');
    return [gitVersion!, emulationMinor!, node.status.nodeInfo.kubeletVersion];
  };

  test('config: flags, a further range for Services and a larger one for pods; killed and run again', async () => {
    const [machine] = cluster.planes;
    const config = cluster.file(
      'changed.yaml',
      [
        { ...KUBEADM, networking: { podSubnet: '10.244.0.0/15' }, apiServer: { extraArgs: [GOAWAY] } },
        { ...RANGE, metadata: { name: 'more' }, spec: { cidrs: ['10.112.0.0/24'] } },
      ]
        .map((document) => JSON.stringify(document))
        .join('\n---\n'),
    );
    const plan = (): Promise<CommandResult> =>
      cluster.capstan(machine!, ['config', 'plan', `--config=${config}`]);
    const planned = await plan();
    assert.equal(planned.code, 2, planned.stderr);
    assert.equal(
      planned.stdout,
      [
        'apiServer.extraArgs.goaway-chance: (none) -> 0.001',
        'networking.podSubnet: 10.244.0.0/16 -> 10.244.0.0/15',
        'ServiceCIDR more: (none) -> 10.112.0.0/24',
        'Machines, one after the other: m1',
        '',
      ].join('\n'),
    );
    assert.notEqual((await cluster.apply(undefined, { command: 'config', config, killAt: 'store' })).code, 0);
    assert.equal((await plan()).code, 2);
    const { code, stdout, stderr } = await cluster.apply(undefined, { command: 'config', config });
    assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
    assert.equal((await plan()).code, 0);
    assert.deepEqual(
      cluster.pids(machine!, 'apiserver', '--goaway-chance=0.001').length +
        cluster.pids(machine!, '--cluster-cidr=10.244.0.0/15').length,
      2,
    );
    const service = {
      metadata: { name: 'in-more' },
      spec: { clusterIP: '10.112.0.9', ports: [{ port: 80 }] },
    };
    assert.match(
      await cluster.request('POST', '/api/v1/namespaces/default/services', JSON.stringify(service)),
      /^201/,
    );
    const refused = cluster.file(
      'refused.yaml',
      JSON.stringify({ ...KUBEADM, networking: { podSubnet: '10.244.0.0/17' } }),
    );
    const { code: no, stderr: why } = await cluster.apply(undefined, { command: 'config', config: refused });
    assert.equal(no, 1);
    assert.match(why, /Nothing was changed/);
  });

  test('plan by the new program says what it would do', async () => {
    const { stdout } = await cluster.capstan(cluster.planes[0]!, ['upgrade', 'plan'], next.main);
    assert.match(stdout, /^Upgrade from v1\.36\.0\S+ to v1\.37\.0\S+\n/);
    assert.match(
      stdout,
      /control planes one by one, the leader of etcd last: m1; the new program behaves as 1\.36/,
    );
  });

  test('apply: the new program, raised, and objects in the new storage version; etcd runs on', async () => {
    const [machine] = cluster.planes;
    const etcd = cluster.pids(machine!, '--listen-peer-urls');
    const path = '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies';
    assert.match(await cluster.request('POST', path, JSON.stringify(POLICY)), /^201/);
    const { code, stdout, stderr } = await cluster.apply(next.dir);
    assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
    assert.match(stdout, /\[backup\].*drill passed/);
    assert.match(stdout, /\[migrate\] mutatingadmissionpolicies\.admissionregistration\.k8s\.io: 1 objects/);
    assert.deepEqual(await versions(), [next.version, next.minor.split('.')[1], next.version]);
    assert.deepEqual(cluster.pids(machine!, '--listen-peer-urls'), etcd);
    const status = await cluster.capstan(machine!, ['upgrade', 'status'], next.main);
    assert.equal(status.code, 0);
    assert.match(status.stdout, /^Upgrade from v1\.36\.0\S+ to v1\.37\.0\S+: done/);
  });

  test('rollback after the raise: what was written since is listed, then the backup restored', async () => {
    const body = JSON.stringify({ metadata: { name: 'late' }, data: { a: 'b' } });
    assert.match(await cluster.request('POST', '/api/v1/namespaces/default/configmaps', body), /^201/);
    const asked = await cluster.apply(next.dir, { command: 'rollback', yes: false });
    assert.equal(asked.code, 1);
    assert.match(asked.stdout, /^created +configmaps default\/late$/m);
    assert.match(asked.stderr, /with --yes it is restored, and they are lost/);
    const done = await cluster.apply(next.dir, { command: 'rollback' });
    assert.equal(done.code, 0, `${done.stdout}${done.stderr}${cluster.logs()}`);
    await until(
      'the version before',
      async () => (await versions()).join() === `${KUBERNETES_VERSION},36,${KUBERNETES_VERSION}`,
    );
    assert.match(await cluster.request('GET', '/api/v1/namespaces/default/configmaps/late'), /^404/);
    assert.match(
      await cluster.request('GET', '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/a'),
      /^200/,
    );
  });
});
