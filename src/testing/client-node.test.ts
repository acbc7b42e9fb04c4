/** The official JavaScript client as a foreign client: HTTP/1.1, its own serializers, informers and patches, against a listening API server. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  ApiException,
  AuthenticationV1Api,
  AuthorizationV1Api,
  AppsV1Api,
  CoordinationV1Api,
  CoreV1Api,
  Health,
  KubeConfig,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  V1MicroTime,
  VersionApi,
  Watch,
  type V1ConfigMap,
  type V1Lease,
} from '@kubernetes/client-node';
import { until } from './cluster.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const namespace = 'default';

function configMap(name: string, data: Record<string, string> = {}): V1ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels: { test: 'client-node' } }, data };
}

async function codeOf(work: Promise<unknown>): Promise<number | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof ApiException) return error.code;
    throw error;
  }
}

describe('@kubernetes/client-node', () => {
  let cluster: SimulatedCluster;
  let config: KubeConfig;
  let core: CoreV1Api;

  before(async () => {
    cluster = await startSimulatedCluster({ nodes: 0 });
    config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    core = config.makeApiClient(CoreV1Api);
  });
  after(async () => cluster?.stop());

  it('reads the version, health and who it is', async () => {
    assert.equal((await config.makeApiClient(VersionApi).getCode()).minor, '36');
    assert.equal(await new Health(config).readyz({}), true);
    const self = await config.makeApiClient(AuthenticationV1Api).createSelfSubjectReview({ body: {} });
    assert.equal(self.status?.userInfo?.username, 'kubernetes-admin');
    const review = await config.makeApiClient(AuthorizationV1Api).createSelfSubjectAccessReview({
      body: { spec: { resourceAttributes: { verb: 'delete', resource: 'nodes' } } },
    });
    assert.equal(review.status?.allowed, true);
  });

  it('creates, reads, replaces, lists in pages and deletes', async () => {
    for (const name of ['a', 'b', 'c'])
      await core.createNamespacedConfigMap({ namespace, body: configMap(name, { name }) });
    const first = await core.listNamespacedConfigMap({
      namespace,
      labelSelector: 'test=client-node',
      limit: 2,
    });
    assert.equal(first.items.length, 2);
    assert.equal(first.metadata?.remainingItemCount, undefined, 'not told with a selector');
    const rest = await core.listNamespacedConfigMap({
      namespace,
      labelSelector: 'test=client-node',
      limit: 2,
      _continue: first.metadata?._continue ?? '',
    });
    assert.deepEqual(
      [...first.items, ...rest.items].map((item) => item.metadata?.name),
      ['a', 'b', 'c'],
    );
    const read = await core.readNamespacedConfigMap({ namespace, name: 'a' });
    assert.ok(read.metadata?.creationTimestamp instanceof Date);
    await core.replaceNamespacedConfigMap({ namespace, name: 'a', body: { ...read, data: { name: 'A' } } });
    assert.equal(await codeOf(core.replaceNamespacedConfigMap({ namespace, name: 'a', body: read })), 409);
    assert.equal(await codeOf(core.createNamespacedConfigMap({ namespace, body: configMap('a') })), 409);
    assert.equal(
      await codeOf(core.createNamespacedConfigMap({ namespace, body: configMap('Not Valid') })),
      422,
    );
    await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'test=client-node' });
    assert.equal(await codeOf(core.readNamespacedConfigMap({ namespace, name: 'a' })), 404);
  });

  it('patches in every way', async () => {
    const apps = config.makeApiClient(AppsV1Api);
    const labels = { app: 'web' };
    await apps.createNamespacedDeployment({
      namespace,
      body: {
        metadata: { name: 'web' },
        spec: {
          selector: { matchLabels: labels },
          template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'web:1' }] } },
        },
      },
    });
    const patch = (
      body: unknown,
      strategy: string,
      more: object = {},
    ): ReturnType<AppsV1Api['patchNamespacedDeployment']> =>
      apps.patchNamespacedDeployment(
        { namespace, name: 'web', body, ...more },
        setHeaderOptions('Content-Type', strategy),
      );
    assert.equal((await patch({ spec: { replicas: 2 } }, PatchStrategy.MergePatch)).spec?.replicas, 2);
    const strategic = await patch(
      { spec: { template: { spec: { containers: [{ name: 'side', image: 'side:1' }] } } } },
      PatchStrategy.StrategicMergePatch,
    );
    assert.deepEqual(
      strategic.spec?.template.spec?.containers.map(({ name }) => name),
      ['side', 'main'],
    );
    assert.equal(
      (
        await patch(
          [
            { op: 'test', path: '/spec/replicas', value: 2 },
            { op: 'replace', path: '/spec/replicas', value: 3 },
          ],
          PatchStrategy.JsonPatch,
        )
      ).spec?.replicas,
      3,
    );
    const applied = await patch(
      { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', labels: { tier: 'front' } } },
      PatchStrategy.ServerSideApply,
      { fieldManager: 'test', force: true },
    );
    assert.equal(applied.metadata?.labels?.['tier'], 'front');
    assert.ok(
      applied.metadata?.managedFields?.some(
        ({ manager, operation }) => manager === 'test' && operation === 'Apply',
      ),
    );
    const scale = await apps.patchNamespacedDeploymentScale(
      { namespace, name: 'web', body: { spec: { replicas: 1 } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
    assert.equal(scale.spec?.replicas, 1);
  });

  it('handles any kind by its generic client', async () => {
    const objects = KubernetesObjectApi.makeApiClient(config);
    const made = await objects.create(configMap('generic', { a: '1' }));
    const read = await objects.read<V1ConfigMap>({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'generic', namespace: made.metadata?.namespace ?? namespace },
    });
    assert.deepEqual(read.data, { a: '1' });
    await objects.delete(made);
    assert.equal(
      await codeOf(
        objects.read({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'generic', namespace } }),
      ),
      404,
    );
  });

  it('keeps an informer', async () => {
    const seen: string[] = [];
    const informer = makeInformer(
      config,
      `/api/v1/namespaces/${namespace}/configmaps`,
      () => core.listNamespacedConfigMap({ namespace, labelSelector: 'test=client-node' }),
      'test=client-node',
    );
    for (const verb of ['add', 'update', 'delete'] as const)
      informer.on(verb, (object: V1ConfigMap) => {
        seen.push(`${verb} ${object.metadata?.name}`);
      });
    await core.createNamespacedConfigMap({ namespace, body: configMap('before') });
    await informer.start();
    try {
      await until('the first list', () => seen.includes('add before'));
      await core.createNamespacedConfigMap({ namespace, body: configMap('during') });
      await core.patchNamespacedConfigMap(
        { namespace, name: 'during', body: { data: { x: '1' } } },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
      await core.createNamespacedConfigMap({
        namespace,
        body: { ...configMap('unseen'), metadata: { name: 'unseen' } },
      });
      await core.deleteNamespacedConfigMap({ namespace, name: 'before' });
      await until('the deletion', () => seen.includes('delete before'));
      assert.deepEqual(seen, ['add before', 'add during', 'update during', 'delete before']);
      assert.equal(informer.get('during', namespace)?.data?.['x'], '1');
    } finally {
      await informer.stop();
    }
  });

  it('watches from a version', async () => {
    const { metadata } = await core.listNamespacedConfigMap({ namespace });
    const events: { type: string; name: string | undefined }[] = [];
    const controller = await new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { resourceVersion: metadata?.resourceVersion, allowWatchBookmarks: true },
      (type: string, object: V1ConfigMap) => {
        events.push({ type, name: object.metadata?.name });
      },
      () => {},
    );
    await core.createNamespacedConfigMap({ namespace, body: configMap('watched') });
    await core.deleteNamespacedConfigMap({ namespace, name: 'watched' });
    await until('both events', () => events.length >= 2);
    controller.abort();
    assert.deepEqual(events.slice(0, 2), [
      { type: 'ADDED', name: 'watched' },
      { type: 'DELETED', name: 'watched' },
    ]);
  });

  it('holds a Lease as an elected leader does: of two writers on one version, one wins', async () => {
    const leases = config.makeApiClient(CoordinationV1Api);
    const lease: V1Lease = {
      metadata: { name: 'leader' },
      spec: { holderIdentity: 'one', leaseDurationSeconds: 15, renewTime: new V1MicroTime() },
    };
    const made = await leases.createNamespacedLease({ namespace, body: lease });
    assert.equal(made.spec?.holderIdentity, 'one');
    const outcomes = await Promise.all(
      ['two', 'three', 'four'].map((holderIdentity) =>
        codeOf(
          leases.replaceNamespacedLease({
            namespace,
            name: 'leader',
            body: { ...made, spec: { ...made.spec, holderIdentity } },
          }),
        ),
      ),
    );
    assert.deepEqual(outcomes.toSorted(), [409, 409, undefined]);
    const renewed = await leases.readNamespacedLease({ namespace, name: 'leader' });
    assert.match(String(renewed.spec?.renewTime), /T\d\d:\d\d:\d\d\.\d{6}Z$/);
  });

  it('is refused without credentials and with wrong ones', async () => {
    const as = (user: object): CoreV1Api => {
      const other = new KubeConfig();
      other.loadFromOptions({
        clusters: [
          {
            name: 'c',
            server: cluster.url,
            caData: Buffer.from(cluster.pki.ca.certificatePem).toString('base64'),
          },
        ],
        users: [{ name: 'u', ...user }],
        contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
        currentContext: 'x',
      });
      return other.makeApiClient(CoreV1Api);
    };
    assert.equal(await codeOf(as({}).listNamespace()), 403);
    assert.equal(await codeOf(as({ token: 'wrong' }).listNamespace()), 401);
  });
});
