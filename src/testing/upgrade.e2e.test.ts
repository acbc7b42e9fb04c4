/**
 * `capstan upgrade` on one machine of a real etcd, the short form of suites/upgrade: to a second version that is built for the test, by its own program, and
 * back to the first with the backup that it made.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeAuthority } from './certificates.ts';
import { buildSecondVersion, type SecondVersion } from './second-version.ts';
import { until, type CommandResult } from './cluster.ts';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { UpgradeCluster, upgradeObstacle } from './upgrade/cluster.ts';

const KUBEADM = { apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'ClusterConfiguration' };
const RANGE = { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR' };
const ENCRYPTION = { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration' };
const SPEC = { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'pause' }] };
const FRONT = { matchLabels: { app: 'front' } };
const DEPLOYMENT = {
  metadata: { name: 'front' },
  spec: { selector: FRONT, template: { metadata: { labels: FRONT.matchLabels }, spec: SPEC } },
};
const BUDGET = { metadata: { name: 'front' }, spec: { minAvailable: 1, selector: FRONT } };
const DAY_MS = 86_400_000;
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

interface SeenNode {
  readonly spec: { readonly unschedulable?: boolean };
  readonly status: { readonly nodeInfo: { readonly kubeletVersion: string } };
}

describe('upgrade of a control plane and a worker', { skip: upgradeObstacle }, () => {
  let cluster: UpgradeCluster;
  let next: SecondVersion;
  before(async () => {
    next = buildSecondVersion();
    cluster = new UpgradeCluster({ planes: 1, workers: 1, subnet: '10.222.1' });
    await cluster.start();
  });
  after(async () => {
    await cluster?.close();
    next?.remove();
  });

  /** Of every policy in etcd. */
  const storedVersions = (): string[] => [
    ...new Set(
      Array.from(
        cluster.stored('/registry/mutatingadmissionpolicies/').values(),
        (value) => /admissionregistration\.k8s\.io\/(v[0-9a-z]+)/.exec(value)?.[1] ?? value,
      ),
    ),
  ];
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
        'Machines, one after the other: w1, m1',
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

  test('config: keys of encryption, killed on the way and run again; what etcd has says which key', async () => {
    const secret = { metadata: { name: 'kept' }, stringData: { word: 'nobody-may-read-this' } };
    assert.match(
      await cluster.request('POST', '/api/v1/namespaces/default/secrets', JSON.stringify(secret)),
      /^201/,
    );
    const change = async (names: readonly string[], killAt?: string): Promise<CommandResult> => {
      const keys = names.map((name) => ({ name, secret: Buffer.alloc(32, name).toString('base64') }));
      const providers = [...(names.length > 0 ? [{ aesgcm: { keys } }] : []), { identity: {} }];
      const document = { ...ENCRYPTION, resources: [{ resources: ['secrets'], providers }] };
      const config = cluster.file('keys.yaml', JSON.stringify(document));
      return cluster.apply(undefined, { command: 'config', config, killAt });
    };
    /** How every Secret begins in etcd. */
    const forms = (): string[] => [
      ...new Set(
        Array.from(cluster.stored('/registry/secrets/').values(), (value) =>
          value.split(':').slice(0, 5).join(':'),
        ),
      ),
    ];
    const ok = ({ code, stdout, stderr }: CommandResult): string => {
      assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
      return stdout;
    };
    assert.ok(
      [...cluster.stored('/registry/secrets/default/').values()].some((value) =>
        value.includes('nobody-may'),
      ),
    );
    assert.match(
      ok(await change(['one'])),
      /encryption of secrets: identity \(writes\) -> aesgcm one \(writes\), identity/,
    );
    assert.deepEqual(forms(), ['k8s:enc:aesgcm:v1:one']);
    for (const killAt of ['write m1', 'rewrite secrets', 'target m1'])
      assert.notEqual((await change(['two'], killAt)).code, 0, killAt);
    ok(await change(['two']));
    assert.deepEqual(forms(), ['k8s:enc:aesgcm:v1:two']);
    const kept = await cluster.json<{ data: { word: string } }>('/api/v1/namespaces/default/secrets/kept');
    assert.equal(Buffer.from(kept.data.word, 'base64').toString(), secret.stringData.word);
    const without = cluster.file(
      'without.yaml',
      JSON.stringify({ ...KUBEADM, apiServer: { extraArgs: [GOAWAY] } }),
    );
    const refused = await cluster.apply(undefined, { command: 'config', config: without });
    assert.match(refused.stdout, /encryption-provider-config cannot be changed from .* to \(none\)/);
  });

  test('doctor names what is broken, and how to mend it', async () => {
    const [machine] = cluster.planes;
    const { rootfs } = machine!;
    const doctor = async (...checks: string[]): Promise<string> => {
      const { stdout, stderr } = await cluster.capstan(machine!, ['doctor', `--check=${checks.join()}`]);
      return stdout + stderr;
    };
    const ok = await doctor('certificates', 'leases', 'clock-skew', 'disk', 'etcd');
    for (const check of ['certificates', 'leases', 'clock-skew', 'etcd'])
      assert.match(ok, new RegExp(`^ok +${check}:`, 'm'));

    const ended = join(rootfs, 'etc/kubernetes/pki/ended.crt');
    const { cert } = makeAuthority({ nowMs: Date.now() - 2 * DAY_MS }).issue({ commonName: 'ended' });
    writeFileSync(ended, cert);
    assert.match(
      await doctor('certificates'),
      /^error +certificates: certificate ended: it ended .*\n +→ capstan certs renew ended/m,
    );
    rmSync(ended);

    const backups = join(rootfs, 'var/backups/capstan');
    mkdirSync(backups, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'full', backups]);
    try {
      assert.match(
        await doctor('disk'),
        /^error +disk: .*backups\/capstan: 0\.0 GiB of 0\.0 are free\n +→ remove what is not needed/m,
      );
    } finally {
      execFileSync('umount', [backups]);
    }

    const late = await cluster.capstan(machine!, ['doctor', '--check=clock-skew,leases'], {
      options: ['--import', 'data:text/javascript,const n=Date.now;Date.now=()=>n()+3600e3'],
    });
    assert.match(
      late.stdout,
      /^warning +clock-skew: this machine: its clock differs by 3\d{3} s .*\n +→ run an NTP client/m,
    );
    assert.match(late.stdout, /^ok +leases:/m, 'a wrong clock here is not taken for a dead leader');

    const controllers = cluster.pids(machine!, 'together', 'scheduler');
    assert.ok(controllers.length > 0, cluster.logs());
    for (const pid of controllers) process.kill(pid, 'SIGSTOP');
    try {
      const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler';
      const { spec, ...lease } = await cluster.json<{ spec: object }>(path);
      const renewTime = `${new Date(Date.now() - 3_600_000).toISOString().slice(0, -1)}000Z`;
      assert.match(
        await cluster.request('PUT', path, JSON.stringify({ ...lease, spec: { ...spec, renewTime } })),
        /^200/,
      );
      assert.match(
        await doctor('leases'),
        /^error +leases: Lease kube-system\/kube-scheduler: .* renewed it 36\d\d s ago\n +→ capstan status .*new pods stay Pending/m,
      );
    } finally {
      for (const pid of controllers) process.kill(pid, 'SIGCONT');
    }
    await until('the scheduler to lead again', async () => /^ok +leases:/m.test(await doctor('leases')));
  });

  test('plan by the new program says what it would do', async () => {
    const { stdout } = await cluster.capstan(cluster.planes[0]!, ['upgrade', 'plan'], { main: next.main });
    assert.match(stdout, /^Upgrade from v1\.36\.0\S+ to v1\.37\.0\S+\n/);
    assert.match(
      stdout,
      /control planes one by one, the leaders of etcd and of the controllers last: m1; the new program behaves as 1\.36/,
    );
  });

  test('apply: the new program, raised, and objects in the new storage version; etcd runs on', async () => {
    const [machine] = cluster.planes;
    const etcd = cluster.pids(machine!, '--listen-peer-urls');
    const path = '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies';
    assert.match(await cluster.request('POST', path, JSON.stringify(POLICY)), /^201/);
    assert.deepEqual(storedVersions(), ['v1beta1']);
    assert.notEqual((await cluster.apply(next.dir, { killAt: 'migrate' })).code, 0);
    assert.deepEqual(storedVersions(), ['v1beta1'], 'raised, and not written anew yet');
    const { code, stdout, stderr } = await cluster.apply(next.dir);
    assert.equal(code, 0, `${stdout}${stderr}${cluster.logs()}`);
    assert.deepEqual(storedVersions(), ['v1']);
    assert.match(stdout, /\[migrate\] mutatingadmissionpolicies\.admissionregistration\.k8s\.io: 1 objects/);
    assert.deepEqual(await versions(), [next.version, next.minor.split('.')[1], next.version]);
    assert.deepEqual(cluster.pids(machine!, '--listen-peer-urls'), etcd);
    const status = await cluster.capstan(machine!, ['upgrade', 'status'], { main: next.main });
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

  test(
    'over ssh: a budget holds the drain and stops it, then the worker is drained, changed and takes pods again',
    { skip: !existsSync('/usr/sbin/sshd') && 'no sshd' },
    async () => {
      const ssh = cluster.overSsh(next.dir);
      const [, worker] = cluster.machines;
      const node = async (): Promise<{ kubelet: string; cordoned: boolean }> => {
        const { spec, status } = await cluster.json<SeenNode>(`/api/v1/nodes/${worker!.name}`);
        return { kubelet: status.nodeInfo.kubeletVersion, cordoned: spec.unschedulable === true };
      };
      await until('the Node to be Ready', async () => (await node()).kubelet === KUBERNETES_VERSION);
      await cluster.create('/apis/apps/v1/namespaces/default/deployments', DEPLOYMENT);
      await cluster.create('/apis/policy/v1/namespaces/default/poddisruptionbudgets', BUDGET);
      await until('the budget to count its pod', async () => {
        const path = '/apis/policy/v1/namespaces/default/poddisruptionbudgets/front';
        return (
          (await cluster.json<{ status: { currentHealthy?: number } }>(path)).status.currentHealthy === 1
        );
      });
      const apply = (): Promise<CommandResult> =>
        cluster.apply(next.dir, { ...ssh, drain: true, drainTimeout: '5s' });
      const held = await apply();
      assert.equal(held.code, 1, held.stdout);
      assert.match(
        held.stdout,
        /w1 cannot be drained: after 5 s .*The disruption budget front needs 1 healthy pods/,
      );
      assert.deepEqual(await node(), { kubelet: KUBERNETES_VERSION, cordoned: false });
      assert.match(
        await cluster.request('DELETE', '/apis/policy/v1/namespaces/default/poddisruptionbudgets/front'),
        /^200/,
      );
      const done = await apply();
      assert.equal(done.code, 0, `${done.stdout}${done.stderr}${cluster.logs()}`);
      assert.match(done.stdout, /w1: Evicting pod default\/front-/);
      assert.deepEqual(await node(), { kubelet: next.version, cordoned: false });
    },
  );
});
