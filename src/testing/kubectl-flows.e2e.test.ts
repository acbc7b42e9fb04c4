/**
 * What teams do with kubectl day by day, 1.35 and 1.32: from client-side to server-side apply, diffs, pruning, kustomize, subresources, draining
 * under a disruption budget, roles, the proxy. kubectl.e2e.test.ts has the commands one by one.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ManagedFieldsEntry } from '#machinery/object.ts';
import { until } from './cluster.ts';
import { follow, tool, type Tool } from './commands.ts';
import { foreignTools } from './foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const LAST_APPLIED = String.raw`{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}`;

function configMap(
  name: string,
  data: Readonly<Record<string, string>> = { a: '1' },
  labels?: Readonly<Record<string, string>>,
): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels }, data });
}

function deployment(
  name: string,
  {
    image = 'web:1',
    replicas = 2,
    labels,
  }: { readonly image?: string; readonly replicas?: number; readonly labels?: object } = {},
): string {
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, labels },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'main', image, ports: [{ containerPort: 80 }] }] },
      },
    },
  });
}

function together(...objects: readonly string[]): string {
  return `{"apiVersion":"v1","kind":"List","items":[${objects.join(',')}]}`;
}

describe('kubectl flows', { concurrency: true }, () => {
  for (const minor of [35, 32] as const) {
    const tools = foreignTools(minor);
    const skip = 'missing' in tools ? tools.missing : false;
    describe(`kubectl 1.${minor}`, { skip, concurrency: 1 }, () =>
      suite('missing' in tools ? '' : tools.kubectl, minor),
    );
  }
});

function suite(binary: string, minor: number): void {
  let cluster: SimulatedCluster;
  let kubectl: Tool;
  let home: string;
  let env: Record<string, string>;

  const managersOf = async (object: string): Promise<string[]> => {
    const { metadata } = JSON.parse(await kubectl.ok(`get ${object} -o json --show-managed-fields`)) as {
      metadata: { managedFields?: ManagedFieldsEntry[] };
    };
    return (metadata.managedFields ?? []).map(({ manager, operation }) => `${manager} ${operation}`);
  };

  before(async () => {
    cluster = await startSimulatedCluster();
    home = join(cluster.dir, 'home');
    await mkdir(home);
    env = { KUBECONFIG: cluster.kubeconfig, HOME: home };
    kubectl = tool(binary, { env });
    await kubectl.ok('create namespace team');
    await kubectl.ok('config set-context --current --namespace=team');
    await kubectl.ok('wait --for=create --timeout=30s serviceaccount/default');
  });
  after(async () => cluster?.stop());

  describe('apply', () => {
    it("is owned from the first moment, on the client's side", async () => {
      await kubectl.ok('apply -f -', {
        input: together(configMap('settings', { a: '1', b: '2' }), deployment('web')),
      });
      assert.deepEqual(await managersOf('configmap settings'), ['kubectl-client-side-apply Update']);
      await kubectl.ok('apply -f -', { input: configMap('settings', { a: '1', c: '3' }) });
      assert.equal(await kubectl.ok('get configmap settings -o jsonpath={.data}'), '{"a":"1","c":"3"}');
      await kubectl.ok('apply -f -', { input: configMap('settings', { a: '1', b: '2' }) });
    });

    it('diff --server-side shows what would change', async () => {
      const input = together(configMap('settings', { a: '1' }), deployment('web', { image: 'web:2' }));
      const { code, stdout, stderr } = await kubectl.run('diff --server-side -f -', { input });
      assert.equal(code, 1, stderr);
      assert.match(stdout, /^- +- image: web:1\n\+ +- image: web:2$/m);
      assert.match(stdout, /^- +generation: 1\n\+ +generation: 2$/m);
      assert.equal(await kubectl.ok('get configmap settings -o jsonpath={.data}'), '{"a":"1","b":"2"}');
    });

    it("moves to the server's side: one owner, what is dropped goes, the annotation follows", async () => {
      assert.equal(
        await kubectl.ok('apply --server-side -f -', { input: configMap('settings', { a: '1', b: '2' }) }),
        'configmap/settings serverside-applied\n',
      );
      assert.deepEqual((await managersOf('configmap settings')).toSorted(), [
        'kubectl Apply',
        'kubectl-last-applied Apply',
      ]);
      await kubectl.ok('apply --server-side -f -', { input: configMap('settings', { a: '7' }) });
      assert.equal(await kubectl.ok('get configmap settings -o jsonpath={.data}'), '{"a":"7"}');
      assert.deepEqual(
        JSON.parse(await kubectl.ok(['get', 'configmap', 'settings', '-o', `jsonpath=${LAST_APPLIED}`])).data,
        { a: '7' },
      );
    });

    it('meets another manager, and gives up a field to an autoscaler', async () => {
      await kubectl.ok('apply --server-side -f -', { input: deployment('web') });
      assert.match(
        await kubectl.refused('apply --server-side --field-manager=pipeline -f -', {
          input: deployment('web', { image: 'web:3' }),
        }),
        /Apply failed with 1 conflict: conflict with "kubectl": \.spec\.template\.spec\.containers\[name="main"\]\.image/,
      );
      await kubectl.ok('scale deployment web --replicas=3');
      assert.match(
        await kubectl.refused('apply --server-side -f -', { input: deployment('web') }),
        /conflict with "kubectl" with subresource "scale" using apps\/v1: \.spec\.replicas/,
      );
      const without = JSON.parse(deployment('web')) as { spec: { replicas?: number } };
      delete without.spec.replicas;
      await kubectl.ok('apply --server-side -f -', { input: JSON.stringify(without) });
      assert.equal(await kubectl.ok('get deployment web -o jsonpath={.spec.replicas}'), '3');
    });

    it('--prune takes away what is no longer applied, by selector and by apply set', async () => {
      const labels = { set: 'one' };
      await kubectl.ok('apply -f -', {
        input: together(
          configMap('p1', undefined, labels),
          configMap('p2', undefined, labels),
          deployment('p', { replicas: 0, labels }),
        ),
      });
      const pruned = await kubectl.ok(
        'apply -f - --prune -l set=one --prune-allowlist=apps/v1/Deployment --prune-allowlist=core/v1/ConfigMap',
        { input: configMap('p1', undefined, labels) },
      );
      assert.deepEqual(pruned.trim().split('\n').toSorted(), [
        'configmap/p1 unchanged',
        'configmap/p2 pruned',
        'deployment.apps/p pruned',
      ]);
      const more = { env: { KUBECTL_APPLYSET: 'true' } };
      await kubectl.ok('apply -n team -f - --prune --applyset=set1', {
        ...more,
        input: together(configMap('s1'), configMap('s2')),
      });
      assert.match(
        await kubectl.ok('apply -n team -f - --prune --applyset=set1', { ...more, input: configMap('s1') }),
        /configmap\/s1 unchanged\nconfigmap\/s2 pruned/,
      );
    });

    it('-k: a base with an overlay', async () => {
      const base = join(home, 'base');
      const overlay = join(home, 'overlay');
      await mkdir(base);
      await mkdir(overlay);
      await writeFile(join(base, 'kustomization.yaml'), 'resources: [web.yaml]\n');
      await writeFile(join(base, 'web.yaml'), deployment('kweb'));
      await writeFile(
        join(overlay, 'kustomization.yaml'),
        `
namePrefix: green-
resources: [../base]
labels: [{ pairs: { env: green }, includeSelectors: true, includeTemplates: true }]
images: [{ name: web, newTag: "9" }]
replicas: [{ name: kweb, count: 1 }]
configMapGenerator: [{ name: page, literals: [color=green] }]
`,
      );
      assert.match(
        await kubectl.ok(`apply -k ${overlay}`),
        /^configmap\/green-page-\S+ created\ndeployment\.apps\/green-kweb created$/m,
      );
      assert.match(await kubectl.ok('get deployment green-kweb -o wide'), / web:9 +app=kweb,env=green$/m);
      assert.equal((await kubectl.run(`diff -k ${overlay}`)).code, 0);
      assert.match(await kubectl.ok(`delete -k ${overlay}`), /deployment\.apps "green-kweb" deleted/);
    });
  });

  describe('subresources', () => {
    it('scale as a table and as an object, status patched alone', async () => {
      assert.match(
        await kubectl.ok('get deployment web --subresource=scale'),
        /^NAME +DESIRED +AVAILABLE +AGE\nweb +3 +\d +\S+\n$/,
      );
      assert.equal(
        await kubectl.ok([
          'patch',
          'deployment',
          'web',
          '--subresource=scale',
          '--type=merge',
          '-p',
          '{"spec":{"replicas":2}}',
        ]),
        'scale.autoscaling/web patched\n',
      );
      await kubectl.ok('rollout status deployment/web --timeout=30s');
      const pod = (await kubectl.ok('get pods -l app=web -o name')).split('\n')[0]!;
      assert.equal(
        await kubectl.ok([
          'patch',
          pod,
          '--subresource=status',
          '--type=merge',
          '-p',
          '{"spec":{"nodeName":"x"},"status":{"message":"hello"}}',
        ]),
        `${pod} patched\n`,
      );
      assert.equal(await kubectl.ok(`get ${pod} -o jsonpath={.status.message}`), 'hello');
      assert.match(await kubectl.ok(`get ${pod} -o jsonpath={.spec.nodeName}`), /^node-/);
    });

    it('debug adds an ephemeral container', async () => {
      const pod = (await kubectl.ok('get pods -l app=web -o name')).split('\n')[0]!;
      await kubectl.run(
        `debug ${pod} --profile=general --image=tools:1 --container=look --stdin=false -- true`,
      );
      assert.equal(await kubectl.ok(`get ${pod} -o jsonpath={.spec.ephemeralContainers[*].name}`), 'look');
    });
  });

  it('drain waits for the disruption budget', async () => {
    await kubectl.ok('create poddisruptionbudget web --selector=app=web --min-available=2');
    await kubectl.ok([
      'wait',
      '--for=jsonpath={.status.currentHealthy}=2',
      '--timeout=30s',
      'poddisruptionbudget/web',
    ]);
    const node = (await kubectl.ok('get pods -l app=web -o jsonpath={.items[0].spec.nodeName}')).trim();
    const blocked = await kubectl.refused(`drain ${node} --ignore-daemonsets --force --timeout=1s`);
    assert.match(blocked, /Cannot evict pod as it would violate the pod's disruption budget/);
    await kubectl.ok([
      'patch',
      'poddisruptionbudget',
      'web',
      '--type=merge',
      '-p',
      '{"spec":{"minAvailable":1}}',
    ]);
    assert.match(await kubectl.ok(`drain ${node} --ignore-daemonsets --force --timeout=60s`), /drained/);
    assert.equal(
      await kubectl.ok(
        `get pods -l app=web --field-selector=spec.nodeName=${node},status.phase=Running -o name`,
      ),
      '',
    );
    await kubectl.ok(`uncordon ${node}`);
    await kubectl.ok('delete poddisruptionbudget web');
  });

  it('get -w --output-watch-events, and the events of an object', async () => {
    await kubectl.ok('apply -f -', { input: configMap('first', undefined, { watch: 'me' }) });
    const watching = follow(
      [binary, 'get', 'configmaps', '-w', '--output-watch-events', '-l', 'watch=me', '--no-headers'],
      { env },
    );
    const seen = (): string[] =>
      watching
        .said()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split(/ +/).slice(0, 2).join(' '));
    try {
      await until('the list', () => seen().length === 1);
      await kubectl.ok('annotate configmap first note=1');
      await kubectl.ok('label configmap first watch=not --overwrite');
      await kubectl.ok('label configmap first watch=me --overwrite');
      await kubectl.ok('delete configmap first');
      await until('all changes', () => seen().length >= 5);
      assert.deepEqual(seen(), [
        'ADDED first',
        'MODIFIED first',
        'DELETED first',
        'ADDED first',
        'DELETED first',
      ]);
    } finally {
      await watching.end();
    }
    assert.match(
      await kubectl.ok('events --for deployment/web --types=Normal'),
      /ScalingReplicaSet +Deployment\/web/,
    );
    assert.match(
      await kubectl.ok('get events --field-selector=involvedObject.kind=Deployment,reason=ScalingReplicaSet'),
      /deployment\/web/,
    );
  });

  it('lists in chunks', async () => {
    const { stdout, stderr } = await kubectl.run('get configmaps -A --chunk-size=1 -v=8 -o name');
    assert.ok(stdout.trim().split('\n').length > 3);
    assert.ok(
      (stderr.match(/limit=1/g) ?? []).length >= stdout.trim().split('\n').length,
      stderr.slice(0, 500),
    );
    assert.match(stderr, /continue=/);
  });

  it('auth reconcile, can-i and whoami', async () => {
    const role = (verb: string): string =>
      together(
        JSON.stringify({
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRole',
          metadata: { name: 'looks' },
          rules: [{ apiGroups: [''], resources: ['pods'], verbs: [verb] }],
        }),
        JSON.stringify({
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRoleBinding',
          metadata: { name: 'looks' },
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'looks' },
          subjects: [{ kind: 'User', name: 'dora', apiGroup: 'rbac.authorization.k8s.io' }],
        }),
      );
    assert.match(
      await kubectl.ok('auth reconcile -f -', { input: role('get') }),
      /clusterrole\S*\/looks reconciled/,
    );
    await kubectl.ok('auth reconcile -f -', { input: role('list') });
    assert.equal(await kubectl.ok('get clusterrole looks -o jsonpath={.rules[*].verbs[*]}'), 'get list');
    await kubectl.ok('auth reconcile --remove-extra-permissions -f -', { input: role('list') });
    assert.equal(await kubectl.ok('auth can-i list pods --as=dora'), 'yes\n');
    assert.equal((await kubectl.run('auth can-i get pods --as=dora')).stdout.trim(), 'no');
    assert.match(await kubectl.ok('auth can-i --list --as=dora'), /^pods +\[\] +\[\] +\[list\]$/m);
    assert.match(
      await kubectl.ok('auth whoami -o json --as=dora --as-group=system:authenticated'),
      /"username": "dora"/,
    );
  });

  it('wait: for jsonpath, for deletion, for what is not there yet', async () => {
    const waiting = Promise.all([
      kubectl
        .ok(['wait', '--for=jsonpath={.data.ready}=yes', '--timeout=30s', 'configmap/late'])
        .catch((error: unknown) => error),
      kubectl.ok('wait --for=create --timeout=30s configmap/late'),
    ]);
    await kubectl.ok('create configmap late --from-literal=ready=yes');
    assert.match((await waiting)[1], /condition met/);
    const deletion = kubectl.ok('wait --for=delete --timeout=30s configmap/late');
    await kubectl.ok('delete configmap late');
    assert.match(await deletion, /^$|condition met|deleted/);
  });

  it('proxy', async () => {
    const proxy = follow([binary, 'proxy', '--port=0'], { env });
    try {
      const url = `http://${await until('the proxy', () => /127\.0\.0\.1:\d+/.exec(proxy.said())?.[0])}`;
      const answer = await fetch(`${url}/api/v1/namespaces/team`);
      assert.equal(((await answer.json()) as { kind: string }).kind, 'Namespace');
      assert.equal((await fetch(`${url}/openapi/v2`)).headers.get('content-encoding'), 'gzip');
    } finally {
      await proxy.end();
    }
  });

  it('a plugin that asks by --raw', async () => {
    const plugins = join(home, 'bin');
    await mkdir(plugins);
    await writeFile(
      join(plugins, 'kubectl-names'),
      `#!/bin/sh\nexec ${binary} get --raw "/api/v1/namespaces/team/configmaps?limit=1&labelSelector=set%3Done"\n`,
    );
    await chmod(join(plugins, 'kubectl-names'), 0o755);
    const list = JSON.parse(
      await kubectl.ok('names', { env: { PATH: `${plugins}:${process.env['PATH'] ?? ''}` } }),
    ) as { kind: string; items: { metadata: { name: string } }[] };
    assert.deepEqual([list.kind, list.items.map(({ metadata }) => metadata.name)], ['ConfigMapList', ['p1']]);
    assert.match(
      await kubectl.ok(['create', '--raw', '/api/v1/namespaces/team/configmaps', '-f', '-'], {
        input: configMap('rawly'),
      }),
      /"name":"rawly"/,
    );
    assert.match(
      await kubectl.ok('delete --raw /api/v1/namespaces/team/configmaps/rawly'),
      /"status":"Success"/,
    );
  });

  it(`knows the server, which is ${36 - minor} minors newer`, async () => {
    const version = await kubectl.run('version -o json');
    assert.equal(
      (JSON.parse(version.stdout) as { serverVersion: { minor: string } }).serverVersion.minor,
      '36',
    );
    assert.match(
      await kubectl.ok('explain hpa.spec.behavior --api-version=autoscaling/v2 --recursive'),
      /stabilizationWindowSeconds\s+<integer>/,
    );
    assert.match(
      await kubectl.ok('get --raw /openapi/v3'),
      /"apis\/apps\/v1":\{"serverRelativeURL":"\/openapi\/v3\/apis\/apps\/v1\?hash=/,
    );
  });
}
