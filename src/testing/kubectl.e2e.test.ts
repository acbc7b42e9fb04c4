/**
 * What people type, with both ends of the supported range of kubectl, against a whole cluster with simulated nodes: each command does what it says and
 * prints what upstream prints. Exec, logs, cp and the like need containers: real-node.e2e.test.ts.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runCommand, testCluster, until, type CommandResult, type TestCluster } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';

const DEPLOYMENT = (version: number): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:${version}
        ports: [{containerPort: 80}]
`;

for (const minor of [35, 32] as const) {
  const tools = foreignTools(minor);
  describe(`kubectl 1.${minor}`, { skip: 'missing' in tools ? tools.missing : false }, () => {
    let cluster: TestCluster;
    let dir: string;
    const tool = 'missing' in tools ? '' : tools.kubectl;

    const run = (words: readonly string[], input?: string): Promise<CommandResult> => runCommand([tool, '--kubeconfig', cluster.kubeconfig, ...words], input === undefined ? {} : { input });
    const kubectl = async (...words: string[]): Promise<string> => {
      const result = await run(words);
      assert.equal(result.code, 0, `kubectl ${words.join(' ')}:\n${result.stdout}${result.stderr}`);
      return result.stdout.trim();
    };
    const apply = async (yaml: string, ...more: string[]): Promise<string> => {
      const result = await run(['apply', '-f', '-', ...more], yaml);
      assert.equal(result.code, 0, result.stderr);
      return result.stdout.trim();
    };

    before(async () => {
      dir = await mkdtemp(join(tmpdir(), 'capstan-kubectl-'));
      cluster = await testCluster({ runtime: 'simulated', nodes: 3, kubectl: tool });
      await cluster.up();
    });
    after(async () => {
      await cluster?.delete();
      await rm(dir, { recursive: true, force: true });
    });

    it('apply, get, describe, wait', { timeout: 60_000 }, async () => {
      assert.equal(await apply(DEPLOYMENT(1)), 'deployment.apps/web created');
      assert.equal(await apply(DEPLOYMENT(1)), 'deployment.apps/web unchanged');
      assert.match(await kubectl('rollout', 'status', 'deployment/web', '--timeout=30s'), /successfully rolled out/);
      assert.match(await kubectl('get', 'deployment', 'web', '-o', 'wide'), /NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\s+CONTAINERS\s+IMAGES\s+SELECTOR\nweb\s+2\/2\s+2\s+2\s+\S+\s+web\s+web:1\s+app=web/);
      assert.match(await kubectl('get', 'pods', '-o', 'wide'), /web-\S+\s+1\/1\s+Running\s+0\s+\S+\s+\d+\.\d+\.\d+\.\d+\s+node-\d/);
      assert.match(await kubectl('describe', 'deployment', 'web'), /Replicas:\s+2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable[\s\S]*Available\s+True\s+MinimumReplicasAvailable[\s\S]*ScalingReplicaSet/);
      assert.match(await kubectl('describe', 'node', 'node-1'), /Ready\s+True[\s\S]*Allocated resources/);
      assert.equal(await kubectl('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}'), '2');
      assert.equal(JSON.parse(await kubectl('get', 'deploy', 'web', '-o', 'json')).kind, 'Deployment');
      assert.match(await kubectl('get', 'deploy', 'web', '-o', 'yaml'), /^apiVersion: apps\/v1\nkind: Deployment/);
      await kubectl('wait', '--for=condition=Available', 'deployment/web', '--timeout=30s');
    });

    it('watch', { timeout: 60_000 }, async () => {
      const child = spawn(tool, ['--kubeconfig', cluster.kubeconfig, 'get', 'configmaps', '-w', '--output-watch-events'], { stdio: ['ignore', 'pipe', 'ignore'] });
      let seen = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => { seen += text; });
      try {
        await until('the list', () => seen.includes('kube-root-ca.crt'));
        await kubectl('create', 'configmap', 'watched', '--from-literal=a=b');
        await kubectl('delete', 'configmap', 'watched');
        await until('both events', () => /ADDED\s+watched/.test(seen) && /DELETED\s+watched/.test(seen));
      } finally {
        child.kill();
      }
    });

    it('scale, set image, rollout status, history, undo, restart', { timeout: 90_000 }, async () => {
      assert.equal(await kubectl('scale', 'deployment/web', '--replicas=4'), 'deployment.apps/web scaled');
      assert.equal(await kubectl('set', 'image', 'deployment/web', 'web=web:2'), 'deployment.apps/web image updated');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=40s');
      assert.match(await kubectl('rollout', 'history', 'deployment/web'), /REVISION\s+CHANGE-CAUSE\n1\s+<none>\n2\s+<none>/);
      await kubectl('rollout', 'undo', 'deployment/web');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=40s');
      assert.equal(await kubectl('get', 'deployment', 'web', '-o', 'jsonpath={.spec.template.spec.containers[0].image}'), 'web:1');
      await kubectl('rollout', 'restart', 'deployment/web');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=40s');
    });

    it('patch, label, annotate, edit, replace, diff', { timeout: 60_000 }, async () => {
      await kubectl('create', 'configmap', 'patched', '--from-literal=a=1');
      await kubectl('patch', 'configmap', 'patched', '--type=merge', '-p', '{"data":{"b":"2"}}');
      await kubectl('patch', 'configmap', 'patched', '--type=json', '-p', '[{"op":"replace","path":"/data/a","value":"3"}]');
      await kubectl('patch', 'deployment', 'web', '-p', '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"X","value":"y"}]}]}}}}');
      assert.equal(await kubectl('get', 'deployment', 'web', '-o', 'jsonpath={.spec.template.spec.containers[*].env[0].value}'), 'y');
      assert.equal(await kubectl('label', 'configmap', 'patched', 'tier=front'), 'configmap/patched labeled');
      assert.equal(await kubectl('annotate', 'configmap', 'patched', 'note=x'), 'configmap/patched annotated');
      assert.equal(await kubectl('get', 'configmaps', '-l', 'tier in (front,back),!missing', '-o', 'name'), 'configmap/patched');
      await writeFile(join(dir, 'editor'), '#!/bin/sh\nsed -i "s/b: \\"2\\"/b: edited/" "$1"\n', { mode: 0o755 });
      const edited = await runCommand([tool, '--kubeconfig', cluster.kubeconfig, 'edit', 'configmap', 'patched'], { env: { KUBE_EDITOR: join(dir, 'editor') } });
      assert.match(edited.stdout, /configmap\/patched edited/, edited.stderr);
      assert.equal(await kubectl('get', 'configmap', 'patched', '-o', 'jsonpath={.data}'), '{"a":"3","b":"edited"}');
      const yaml = await kubectl('get', 'configmap', 'patched', '-o', 'yaml');
      assert.equal((await run(['replace', '-f', '-'], yaml.replace('edited', 'replaced'))).stdout.trim(), 'configmap/patched replaced');
      const stale = await run(['replace', '-f', '-'], yaml);
      assert.match(stale.stderr, /the object has been modified; please apply your changes to the latest version and try again/);
      const difference = await run(['diff', '-f', '-'], DEPLOYMENT(7));
      assert.equal(difference.code, 1, difference.stderr);
      assert.match(difference.stdout, /\+\s+- image: web:7|\+\s+image: web:7/);
    });

    it('apply --server-side, with conflicts', { timeout: 60_000 }, async () => {
      const config = (value: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {key: ${value}}\n`;
      assert.match(await apply(config('one'), '--server-side', '--field-manager=a'), /serverside-applied/);
      const refused = await run(['apply', '-f', '-', '--server-side', '--field-manager=b'], config('two'));
      assert.match(refused.stderr, /Apply failed with 1 conflict: conflict with "a": \.data\.key/);
      assert.match(await apply(config('two'), '--server-side', '--field-manager=b', '--force-conflicts'), /serverside-applied/);
    });

    it('expose, run, autoscale, taint, cordon, drain', { timeout: 90_000 }, async () => {
      assert.equal(await kubectl('expose', 'deployment', 'web', '--port=80'), 'service/web exposed');
      assert.match(await kubectl('get', 'service', 'web'), /web\s+ClusterIP\s+10\.96\.\d+\.\d+\s+<none>\s+80\/TCP/);
      await until('endpoints', async () => /\d+\.\d+\.\d+\.\d+/.test(await kubectl('get', 'endpointslices', '-l', 'kubernetes.io/service-name=web')));
      assert.equal(await kubectl('run', 'one', '--image=one:1'), 'pod/one created');
      await kubectl('wait', '--for=condition=Ready', 'pod/one', '--timeout=20s');
      assert.match(await kubectl('autoscale', 'deployment', 'web', '--min=1', '--max=3', '--cpu-percent=80'), /horizontalpodautoscaler\.autoscaling\/web autoscaled/);
      assert.equal(await kubectl('taint', 'node', 'node-3', 'a=b:NoSchedule'), 'node/node-3 tainted');
      assert.equal(await kubectl('taint', 'node', 'node-3', 'a-'), 'node/node-3 untainted');
      assert.equal(await kubectl('cordon', 'node-2'), 'node/node-2 cordoned');
      const drained = await run(['drain', 'node-2', '--ignore-daemonsets', '--force', '--delete-emptydir-data', '--timeout=40s']);
      assert.equal(drained.code, 0, drained.stderr);
      assert.equal(await kubectl('get', 'pods', '-A', '--field-selector=spec.nodeName=node-2', '-o', 'name'), '');
      assert.equal(await kubectl('uncordon', 'node-2'), 'node/node-2 uncordoned');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=40s');
    });

    it('jobs', { timeout: 60_000 }, async () => {
      await kubectl('create', 'job', 'once', '--image=once:1');
      await kubectl('wait', '--for=condition=Complete', 'job/once', '--timeout=30s');
      assert.match(await kubectl('get', 'job', 'once'), /once\s+Complete\s+1\/1/);
    });

    it('explain, api-resources, api-versions, cluster-info, version, events, top', { timeout: 60_000 }, async () => {
      assert.match(await kubectl('explain', 'deployment.spec.strategy'), /KIND:\s+Deployment[\s\S]*FIELD: strategy <DeploymentStrategy>[\s\S]*rollingUpdate/);
      assert.match(await kubectl('api-resources'), /deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/);
      assert.match(await kubectl('api-versions'), /^apps\/v1$/m);
      assert.match(await kubectl('cluster-info'), /Kubernetes control plane.* is running at .*https:\/\/127\.0\.0\.1/);
      assert.match(await kubectl('version'), /Server Version: v1\.36/);
      assert.match(await kubectl('events'), /Normal\s+Scheduled/);
      assert.match(await kubectl('get', 'events', '--field-selector=reason=ScalingReplicaSet'), /Scaled up replica set/);
      const top = await run(['top', 'nodes']);
      assert.equal(top.code, 1);
      assert.match(top.stderr, /Metrics API not available/);
    });

    it('auth, tokens, impersonation', { timeout: 60_000 }, async () => {
      assert.equal(await kubectl('auth', 'can-i', 'create', 'pods'), 'yes');
      const refused = await run(['auth', 'can-i', 'list', 'secrets', '--as=nobody']);
      assert.match(refused.stdout, /^no/);
      assert.match(await kubectl('auth', 'whoami'), /kubernetes-admin/);
      const token = await kubectl('create', 'token', 'default');
      assert.equal(token.split('.').length, 3);
      const forbidden = await run(['get', 'secrets', '--as=nobody']);
      assert.match(forbidden.stderr, /Error from server \(Forbidden\): secrets is forbidden: User "nobody" cannot list resource "secrets" in API group "" in the namespace "default"/);
    });

    it('errors as upstream says them', { timeout: 60_000 }, async () => {
      assert.match((await run(['get', 'pod', 'absent'])).stderr, /Error from server \(NotFound\): pods "absent" not found/);
      assert.match((await run(['create', 'configmap', 'patched'])).stderr, /Error from server \(AlreadyExists\)|already exists/);
      assert.match((await run(['apply', '-f', '-'], DEPLOYMENT(1).replace('replicas: 2', 'replicas: -1'))).stderr, /The Deployment "web" is invalid: spec\.replicas: Invalid value: -1: must be greater than or equal to 0/);
      assert.match((await run(['create', '-f', '-'], 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nspec: {}\n')).stderr, /unknown field "spec"/);
      assert.match((await run(['get', 'nonsense'])).stderr, /the server doesn't have a resource type "nonsense"/);
    });

    it('delete, and a namespace with all in it', { timeout: 60_000 }, async () => {
      await kubectl('create', 'namespace', 'gone');
      await kubectl('-n', 'gone', 'create', 'deployment', 'd', '--image=d:1', '--replicas=2');
      await until('pods of the namespace', async () => (await kubectl('-n', 'gone', 'get', 'pods', '-o', 'name')) !== '');
      assert.match(await kubectl('delete', 'namespace', 'gone', '--timeout=30s'), /namespace "gone" deleted/);
      assert.match(await kubectl('delete', 'deployment', 'web', '--timeout=30s'), /deployment\.apps "web" deleted/);
      await until('the pods to be collected', async () => (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'name')) === '');
      await kubectl('delete', 'pod', 'one', '--ignore-not-found', '--timeout=30s');
    });
  });
}
