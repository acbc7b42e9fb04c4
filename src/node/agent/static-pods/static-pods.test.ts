/** Static pods from a real directory, their mirrors in a real API server; what the agent does with them is recorded. */
import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Node, Pod } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { nodes, pods } from '#client/refs.ts';
import { decodeStaticPod } from '#cmd/node/decode-static-pod.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { MAX_BYTES, MAX_FILES, readManifests } from './manifests.ts';
import { StaticPods } from './static-pods.ts';

const NODE = 'n1';
const OPTIONS = { nodeName: NODE, decode: decodeStaticPod };
const TIMEOUT_MS = 20_000;

function manifest(name: string, image = 'busybox', more = ''): string {
  return `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec:\n  containers: [{name: c, image: ${image}}]\n${more}`;
}

/** In the form of kubeadm's phase control-plane. */
const KUBEADM_SCHEDULER = `apiVersion: v1
kind: Pod
metadata:
  labels: {component: kube-scheduler, tier: control-plane}
  name: kube-scheduler
  namespace: kube-system
spec:
  containers:
  - command: [kube-scheduler, --kubeconfig=/etc/kubernetes/scheduler.conf, --leader-elect=true]
    image: registry.k8s.io/kube-scheduler:v1.36.0
    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 8
      httpGet: {host: 127.0.0.1, path: /livez, port: probe-port, scheme: HTTPS}
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    name: kube-scheduler
    ports: [{containerPort: 10259, name: probe-port, protocol: TCP}]
    resources: {requests: {cpu: 100m}}
    startupProbe:
      failureThreshold: 24
      httpGet: {host: 127.0.0.1, path: /livez, port: probe-port, scheme: HTTPS}
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    volumeMounts: [{mountPath: /etc/kubernetes/scheduler.conf, name: kubeconfig, readOnly: true}]
  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  volumes:
  - hostPath: {path: /etc/kubernetes/scheduler.conf, type: FileOrCreate}
    name: kubeconfig
status: {}
`;

async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('manifests', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-static-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('become pods of this node, with defaults, a hash and a toleration', async () => {
    await writeFile(join(dir, 'web.yaml'), manifest('web'));
    const { pods: found, problems } = await readManifests(dir, OPTIONS);
    assert.deepEqual(problems, []);
    const [pod] = found;
    assert.equal(pod?.metadata?.name, 'web-n1');
    assert.equal(pod?.metadata?.namespace, 'default');
    assert.match(pod?.metadata?.uid ?? '', /^[0-9a-f]{32}$/);
    assert.deepEqual(pod?.metadata?.annotations, {
      'kubernetes.io/config.hash': pod?.metadata?.uid,
      'kubernetes.io/config.source': 'file',
    });
    assert.equal(pod?.spec?.nodeName, NODE);
    assert.equal(pod?.spec?.restartPolicy, 'Always');
    assert.equal(pod?.spec?.containers[0]?.imagePullPolicy, 'Always');
    assert.deepEqual(pod?.spec?.tolerations?.at(-1), { operator: 'Exists', effect: 'NoExecute' });
  });

  it('may be a component of a control plane as kubeadm writes it', async () => {
    await writeFile(join(dir, 'kube-scheduler.yaml'), KUBEADM_SCHEDULER);
    const { pods: found, problems } = await readManifests(dir, OPTIONS);
    assert.deepEqual(problems, []);
    const [pod] = found;
    assert.equal(pod?.metadata?.name, 'kube-scheduler-n1');
    assert.equal(pod?.metadata?.namespace, 'kube-system');
    assert.equal(pod?.spec?.priorityClassName, 'system-node-critical');
    assert.equal(pod?.spec?.hostNetwork, true);
    assert.equal(pod?.spec?.containers[0]?.startupProbe?.failureThreshold, 24);
  });

  it('a change makes another UID, the same content the same', async () => {
    const file = join(dir, 'web.yaml');
    const uid = async (): Promise<string | undefined> =>
      (await readManifests(dir, OPTIONS)).pods[0]?.metadata?.uid;
    await writeFile(file, manifest('web'));
    const first = await uid();
    assert.equal(await uid(), first);
    await writeFile(file, manifest('web', 'busybox:2'));
    assert.notEqual(await uid(), first);
  });

  it('one file may be the path, and a path that does not exist has none', async () => {
    const file = join(dir, 'one.json');
    await writeFile(
      file,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'one' },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      }),
    );
    assert.equal((await readManifests(file, OPTIONS)).pods.length, 1);
    assert.deepEqual(await readManifests(join(dir, 'absent'), OPTIONS), { pods: [], problems: [] });
  });

  for (const [what, text, message] of [
    [
      'another kind',
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\n',
      /kind "Service" of apiVersion "v1"; it should be a Pod/,
    ],
    ['no object', '- a\n', /it should be a Pod of apiVersion v1/],
    ['no YAML', 'a: [', /yaml|flow|\]/i],
    ['an invalid name', manifest('UPPER'), /metadata.name: Invalid value/],
    ['an invalid spec', manifest('a', '""'), /spec.containers\[0\].image: Required value/],
    [
      'a Secret',
      manifest('a', 'i', '  volumes: [{name: v, secret: {secretName: s}}]\n'),
      /may not reference secrets/,
    ],
    [
      'a service account',
      manifest('a', 'i', '  serviceAccountName: s\n'),
      /may not reference serviceaccounts/,
    ],
    ['more than is read', `#${'x'.repeat(MAX_BYTES)}\n`, /at most 1048576 bytes are read/],
  ] as const)
    it(`are refused with a reason: ${what}`, async () => {
      await writeFile(join(dir, 'bad.yaml'), text);
      await writeFile(join(dir, 'good.yaml'), manifest('good'));
      await writeFile(join(dir, '.hidden.yaml'), 'a: [');
      const { pods: found, problems } = await readManifests(dir, OPTIONS);
      assert.deepEqual(
        found.map(({ metadata }) => metadata?.name),
        ['good-n1'],
      );
      assert.equal(problems.length, 1);
      assert.equal(problems[0]?.file, join(dir, 'bad.yaml'));
      assert.match(problems[0]?.message ?? '', message);
    });

  it('of two with one name the first is taken, and no more than the bound are read', async () => {
    await writeFile(join(dir, 'a.yaml'), manifest('same'));
    await writeFile(join(dir, 'b.yaml'), manifest('same'));
    const twice = await readManifests(dir, OPTIONS);
    assert.equal(twice.pods.length, 1);
    assert.match(twice.problems[0]?.message ?? '', /another file has a pod named default\/same-n1/);
    const one = manifest('x');
    await Promise.all(
      Array.from({ length: MAX_FILES }, (_, i) =>
        writeFile(join(dir, `z${i}.yaml`), one.replace('x', `x${i}`)),
      ),
    );
    assert.deepEqual(
      (await readManifests(dir, OPTIONS)).problems.filter(({ message }) => /more than/.test(message)),
      [{ file: dir, message: `more than ${MAX_FILES} manifests: 2 are not read` }],
    );
  });
});

describe('static pods and their mirrors', () => {
  let dir: string, cluster: TestApi, api: Client, node: Node, informer: Informer<Pod>;
  let followed: StaticPods;
  let told: string[];

  before(async () => {
    cluster = await startTestApi();
    api = cluster.clientAs({ name: `system:node:${NODE}`, groups: ['system:nodes', 'system:authenticated'] });
    node = await cluster.api.create(nodes, { metadata: { name: NODE } });
    informer = cluster.api.informer(pods);
    await informer.synced();
    informer.subscribe({
      added: (pod) => followed?.mirrors.seen(pod),
      updated: (pod) => followed?.mirrors.seen(pod),
      deleted: (pod) => followed?.mirrors.gone(pod),
    });
  });
  after(() => cluster.stop());

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-static-'));
    told = [];
    followed = new StaticPods({
      path: dir,
      ...OPTIONS,
      api,
      clock: realClock,
      log: silentLogger,
      node: () => node,
      added: ({ metadata }) => told.push(`+${metadata?.name}`),
      removed: ({ metadata }) => told.push(`-${metadata?.name}`),
      everyMs: 200,
    });
    await followed.start();
  });
  afterEach(async () => {
    await rm(dir, { recursive: true, force: true });
    await eventually('mirrors are removed with their manifests', () => informer.list().length === 0);
    await followed.stop();
  });

  const mirror = (): Pod | undefined => informer.list()[0];
  async function put(file: string, text: string): Promise<void> {
    await writeFile(join(dir, `.${file}`), text);
    await rename(join(dir, `.${file}`), join(dir, file));
  }

  it('a manifest has a mirror that belongs to the Node, as NodeRestriction demands', async () => {
    await put('web.yaml', manifest('web'));
    await eventually('a mirror', () => mirror() !== undefined);
    assert.deepEqual(told, ['+web-n1']);
    const { metadata } = mirror()!;
    assert.equal(
      metadata?.annotations?.['kubernetes.io/config.mirror'],
      metadata?.annotations?.['kubernetes.io/config.hash'],
    );
    assert.ok(metadata?.annotations?.['kubernetes.io/config.seen']);
    assert.deepEqual(metadata?.ownerReferences, [
      { apiVersion: 'v1', kind: 'Node', name: NODE, uid: node.metadata?.uid, controller: true },
    ]);
    const uid = metadata?.annotations?.['kubernetes.io/config.hash'] ?? '';
    const of = followed.mirrors.of({ metadata: { name: 'web-n1', namespace: 'default', uid } });
    assert.equal(of?.metadata?.uid, metadata?.uid);
  });

  it('a deleted mirror comes back; its pod runs on', async () => {
    await put('web.yaml', manifest('web'));
    await eventually('a mirror', () => mirror() !== undefined);
    const uid = mirror()?.metadata?.uid;
    await cluster.api.delete(pods, { name: 'web-n1', namespace: 'default' });
    await eventually('another mirror', () => mirror() !== undefined && mirror()?.metadata?.uid !== uid);
    assert.deepEqual(told, ['+web-n1']);
  });

  it('a changed manifest is another pod with another mirror', async () => {
    await put('web.yaml', manifest('web'));
    await eventually('a mirror', () => mirror() !== undefined);
    await put('web.yaml', manifest('web', 'busybox:2'));
    await eventually('the mirror of the change', () => mirror()?.spec?.containers[0]?.image === 'busybox:2');
    assert.deepEqual(told, ['+web-n1', '-web-n1', '+web-n1']);
  });

  it('a manifest that becomes invalid ends its pod', async () => {
    await put('web.yaml', manifest('web'));
    await eventually('a mirror', () => mirror() !== undefined);
    await put('web.yaml', 'a: [');
    await eventually('no mirror', () => mirror() === undefined);
    assert.deepEqual(told, ['+web-n1', '-web-n1']);
  });
});
