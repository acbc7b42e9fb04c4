/**
 * The stock Helm, 4 and 3, with a chart of ours that holds what real charts hold (testdata/charts/shop): install, upgrade, failures that roll
 * back, history, tests, dry runs, adoption, uninstall. Helm 4 applies on the server's side, Helm 3 on its own.
 */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { until } from './cluster.ts';
import { tool, type Tool } from './commands.ts';
import { foreignTools } from './foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const CHART = resolve(import.meta.dirname, 'testdata/charts/shop');

describe('Helm', { concurrency: true }, () => {
  for (const { minor, major, rollBack } of [
    { minor: 35, major: 4, rollBack: '--rollback-on-failure' },
    { minor: 32, major: 3, rollBack: '--atomic' },
  ] as const) {
    const tools = foreignTools(minor);
    const skip = 'missing' in tools ? tools.missing : false;
    describe(`Helm ${major}`, { skip, concurrency: 1 }, () =>
      suite('missing' in tools ? { kubectl: '', helm: '' } : tools, { major, rollBack }),
    );
  }
});

function suite(
  tools: { readonly kubectl: string; readonly helm: string },
  { major, rollBack }: { readonly major: number; readonly rollBack: string },
): void {
  let cluster: SimulatedCluster;
  let kubectl: Tool;
  let helm: Tool;
  let password = '';

  const history = async (): Promise<{ revision: number; status: string; description: string }[]> =>
    JSON.parse(await helm.ok('history shop -o json')) as {
      revision: number;
      status: string;
      description: string;
    }[];
  const color = (): Promise<string> => kubectl.ok('get configmap shop-settings -o jsonpath={.data.color}');

  before(async () => {
    cluster = await startSimulatedCluster();
    const home = join(cluster.dir, 'home');
    await mkdir(home);
    const env = { KUBECONFIG: cluster.kubeconfig, HOME: home };
    kubectl = tool(tools.kubectl, { env });
    helm = tool(tools.helm, { env });
    await kubectl.ok('config set-context --current --namespace=trade');
  });
  after(async () => cluster?.stop());

  it('is the version meant', async () => {
    assert.match(await helm.ok('version --short'), new RegExp(`^v${major}\\.`));
  });

  it('install --create-namespace --wait, with CRDs, hooks and a claim to be bound', async () => {
    const [printed] = await Promise.all([
      helm.ok([
        'install',
        'shop',
        CHART,
        '-n',
        'trade',
        '--create-namespace',
        '--wait',
        '--wait-for-jobs',
        '--timeout=60s',
      ]),
      bindClaim(cluster, 'shop-pictures'),
    ]);
    assert.match(printed, /^STATUS: deployed$/m);
    assert.match(
      printed,
      /^The shop shop is open, in blue; revision 1\.\nServed by Kubernetes v1\.36\.0\S* with disruption budgets\.$/m,
    );
    assert.match(await kubectl.ok('get deployment shop-web'), /^shop-web +2\/2 +2 +2 /m);
    assert.match(await kubectl.ok('get statefulset shop-db'), /^shop-db +2\/2 /m);
    assert.match(await kubectl.ok('get daemonset shop-agent'), /^shop-agent +2 +2 +2 +2 +2 /m);
    assert.match(await kubectl.ok('get catalogs'), /^NAME +PAGES\nshop-spring +12\n$/);
    assert.equal(await kubectl.ok('get catalog shop-spring -o jsonpath={.spec.paper}'), 'plain');
    assert.match(await kubectl.ok('get job shop-migrate'), /^shop-migrate +Complete +1\/1 /m);
    assert.match(
      await kubectl.ok('get ingress,networkpolicy,hpa,pdb,cronjob,pvc,sa,role,rolebinding -o name'),
      /^ingress\.\S+\nnetworkpolicy\.\S+\nhorizontalpodautoscaler\.\S+\npoddisruptionbudget\.\S+\ncronjob\.\S+\npersistentvolumeclaim\/shop-pictures\n/,
    );
    assert.equal(
      await kubectl.ok('get secret sh.helm.release.v1.shop.v1 -o jsonpath={.type}'),
      'helm.sh/release.v1',
    );
    password = await kubectl.ok('get secret shop-password -o jsonpath={.data.password}');
    assert.match(password, /^\S{28}$/);
  });

  it('applies by its way: fields owned by an apply, or by an update', async () => {
    const managed = await kubectl.ok('get deployment shop-web -o yaml --show-managed-fields');
    assert.match(managed, new RegExp(`manager: helm\\n {4}operation: ${major === 4 ? 'Apply' : 'Update'}`));
  });

  it('list, status and get', async () => {
    assert.match(await helm.ok('list'), /^shop\s+trade\s+1\s.*deployed\s+shop-1\.0\.0\s+1\s*$/m);
    assert.match(await helm.ok('list -A -o json'), /"name":"shop"/);
    assert.match(await helm.ok('status shop'), /^NAMESPACE: trade$/m);
    const manifest = await helm.ok('get manifest shop');
    for (const kind of ['Deployment', 'StatefulSet', 'Catalog', 'HorizontalPodAutoscaler'])
      assert.match(manifest, new RegExp(`^kind: ${kind}$`, 'm'));
    assert.match(await helm.ok('get hooks shop'), /"?helm\.sh\/hook"?: pre-install,pre-upgrade/);
    assert.match(await helm.ok('get notes shop'), /in blue/);
    assert.equal(
      (await kubectl.run(['diff', '-f', '-'], { input: manifest })).code,
      0,
      'what is in the cluster is what was asked for',
    );
  });

  it('test', async () => {
    assert.match(await helm.ok('test shop'), /^TEST SUITE: +shop-is-open$[^]*^Phase: +Succeeded$/m);
    assert.equal(await kubectl.ok('get pod shop-is-open -o jsonpath={.status.phase}'), 'Succeeded');
  });

  it('refuses a second release of the name, and objects that are not its own', async () => {
    assert.match(
      await helm.refused(['install', 'shop', CHART]),
      /cannot re-?use a name that is still in use/,
    );
    await kubectl.ok('create configmap other-settings');
    assert.match(
      await helm.refused(['install', 'other', CHART, '--no-hooks']),
      /ConfigMap "other-settings" in namespace "trade" exists and cannot be imported into the current release: invalid ownership metadata/,
    );
    await kubectl.ok('delete configmap other-settings');
  });

  it('upgrade --dry-run=server asks the cluster and changes nothing', async () => {
    const printed = await helm.ok(['upgrade', 'shop', CHART, '--dry-run=server', '--set=color=green']);
    assert.match(printed, /color: "green"/);
    assert.ok(printed.includes(password), 'lookup reads the cluster');
    assert.equal(await color(), 'blue');
    assert.equal((await history()).length, 1);
  });

  it('upgrade: changed, added, dropped; what it looks up stays', async () => {
    await kubectl.ok('wait --for=jsonpath={.status.phase}=Bound --timeout=30s pvc/shop-pictures');
    const printed = await helm.ok([
      'upgrade',
      'shop',
      CHART,
      '--wait',
      '--timeout=60s',
      '--set=color=red,replicas=3,image=web:2,extra=false',
    ]);
    assert.match(printed, /has been upgraded/);
    assert.match(printed, /in red; revision 2/);
    assert.equal(await color(), 'red');
    assert.match(await kubectl.ok('get deployment shop-web -o wide'), /^shop-web +3\/3 +3 +3 .* web:2 /m);
    assert.match(await kubectl.refused('get configmap shop-extra'), /NotFound/);
    assert.equal(await kubectl.ok('get secret shop-password -o jsonpath={.data.password}'), password);
    assert.equal(
      await kubectl.ok('get job shop-migrate -o jsonpath={.spec.template.spec.containers[0].image}'),
      'migrate:2',
    );
  });

  it(`upgrade ${rollBack}: what the API server refuses is rolled back`, async () => {
    const complaint = await helm.refused([
      'upgrade',
      'shop',
      CHART,
      rollBack,
      '--timeout=60s',
      '--reuse-values',
      '--set=color=black,broken=true',
    ]);
    assert.match(
      complaint,
      /Service "shop-broken" is invalid: .*spec\.ports\[0\]\.port: Invalid value: 123456: must be between 1 and 65535, inclusive/,
    );
    assert.equal(await color(), 'red');
    assert.deepEqual(
      (await history()).map(({ revision, status }) => `${revision} ${status}`),
      ['1 superseded', '2 superseded', '3 failed', '4 deployed'],
    );
  });

  it(`upgrade ${rollBack}: what never gets ready is rolled back`, async () => {
    const complaint = await helm.refused([
      'upgrade',
      'shop',
      CHART,
      rollBack,
      '--timeout=5s',
      '--reuse-values',
      '--set=broken=false,stuck=true',
    ]);
    assert.match(complaint, /has been rolled back due to (atomic|rollback-on-failure) being set|rolled back/);
    assert.equal((await history()).at(-1)?.status, 'deployed');
    assert.match(
      await kubectl.ok('rollout status deployment/shop-web --timeout=30s'),
      /successfully rolled out/,
    );
    assert.equal(
      await kubectl.ok('get deployment shop-web -o jsonpath={.spec.template.spec.nodeSelector}'),
      '',
    );
  });

  it('upgrade meets what others changed', async () => {
    await kubectl.ok([
      'patch',
      'configmap',
      'shop-settings',
      '--field-manager=somebody',
      '--type=merge',
      '-p',
      '{"data":{"color":"pink","mine":"1"}}',
    ]);
    if (major === 4) {
      assert.match(
        await helm.refused([
          'upgrade',
          'shop',
          CHART,
          '--reuse-values',
          '--set=color=white,stuck=false,broken=false',
        ]),
        /conflict with "somebody" using v1: \.data\.color/,
      );
      await helm.ok([
        'upgrade',
        'shop',
        CHART,
        '--reuse-values',
        '--force-conflicts',
        '--set=color=white,stuck=false,broken=false',
      ]);
    } else {
      await helm.ok([
        'upgrade',
        'shop',
        CHART,
        '--reuse-values',
        '--set=color=white,stuck=false,broken=false',
      ]);
    }
    assert.equal(
      await kubectl.ok('get configmap shop-settings -o jsonpath={.data.color}{.data.mine}'),
      'white1',
    );
  });

  it('rollback to the first revision', async () => {
    await helm.ok('rollback shop 1 --wait --timeout=60s');
    assert.equal(await color(), 'blue');
    assert.match(await kubectl.ok('get deployment shop-web -o wide'), /^shop-web +2\/2 +2 +2 .* web:1 /m);
    assert.match(await kubectl.ok('get configmap shop-extra'), /^shop-extra +1 /m);
    assert.equal((await history()).at(-1)?.description, 'Rollback to 1');
  });

  it('template into kubectl apply --server-side', async () => {
    await kubectl.ok('create namespace rendered');
    const rendered = await helm.ok([
      'template',
      'shop',
      CHART,
      '-n',
      'rendered',
      '--no-hooks',
      '--kube-version=1.36',
      '--api-versions=policy/v1/PodDisruptionBudget',
    ]);
    const applied = await kubectl.ok(
      ['apply', '--server-side', '--field-manager=deploy', '-n', 'rendered', '-f', '-'],
      { input: rendered },
    );
    assert.match(applied, /^deployment\.apps\/shop-web serverside-applied$/m);
    assert.match(
      await kubectl.ok('rollout status deployment/shop-web -n rendered --timeout=60s'),
      /successfully rolled out/,
    );
    assert.equal(
      await kubectl.ok(['apply', '--server-side', '--field-manager=deploy', '-n', 'rendered', '-f', '-'], {
        input: rendered.replaceAll(/^ {2}password: .*$/gm, '  password: eA=='),
      }),
      applied,
    );
    await kubectl.ok('delete namespace rendered --timeout=60s');
  });

  it('uninstall: its hook runs, what is to be kept is kept, all else is gone', async () => {
    assert.match(
      await helm.ok('uninstall shop --wait --timeout=60s'),
      /^\[ConfigMap\] shop-kept$[^]*^release "shop" uninstalled$/m,
    );
    assert.match(await helm.refused('status shop'), /release: not found/);
    assert.equal(
      await kubectl.ok(
        'get deployment,statefulset,daemonset,service,ingress,catalog,cronjob,pvc,hpa,pdb,role,rolebinding,networkpolicy -o name',
      ),
      '',
    );
    assert.equal(
      await kubectl.ok('get configmap -o name'),
      'configmap/kube-root-ca.crt\nconfigmap/shop-kept\n',
    );
    assert.match(
      await kubectl.ok('get crd catalogs.shop.example -o name'),
      /catalogs\.shop\.example/,
      'CRDs stay',
    );
    assert.match(await kubectl.refused('get job shop-farewell'), /NotFound/);
  });
}

/** What a volume provisioner does: a volume made for the claim, which the cluster binds. Until the claim is there, waits. */
async function bindClaim({ api }: SimulatedCluster, name: string): Promise<void> {
  const namespace = 'trade';
  const claim = await until('the claim', () => api.get(persistentVolumeClaims, { namespace, name }));
  const volume = `for-${name}`;
  const { accessModes = [], resources = {}, storageClassName = '' } = claim.spec!;
  const capacity = resources.requests!;
  await api.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volume },
    spec: {
      capacity,
      accessModes,
      storageClassName,
      persistentVolumeReclaimPolicy: 'Delete',
      hostPath: { path: '/nowhere' },
      claimRef: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        namespace,
        name,
        uid: claim.metadata.uid,
      },
    },
  });
  await until(
    'the claim is bound',
    async () => (await api.get(persistentVolumeClaims, { namespace, name })).status?.phase === 'Bound',
  );
}
