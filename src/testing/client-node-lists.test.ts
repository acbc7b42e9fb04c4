/** The official JavaScript client: lists in chunks while the world goes on, watches with bookmarks, and errors for compacted revisions. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  RbacAuthorizationV1Api,
  PatchStrategy,
  setHeaderOptions,
  Watch,
  type KubernetesObject,
} from '@kubernetes/client-node';
import { until } from './cluster.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const namespace = 'default';
const labelSelector = 'test=lists';

async function statusOf(
  work: Promise<unknown>,
): Promise<{ readonly code: number; readonly reason: string; readonly message: string }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ApiException)
      return JSON.parse(String(error.body)) as { code: number; reason: string; message: string };
    throw error;
  }
  assert.fail('it was not refused');
}

describe('@kubernetes/client-node: lists and watches', () => {
  let cluster: SimulatedCluster;
  let config: KubeConfig;
  let core: CoreV1Api;
  const create = (name: string): Promise<unknown> =>
    core.createNamespacedConfigMap({
      namespace,
      body: { metadata: { name, labels: { test: 'lists' } }, data: { a: '1' } },
    });

  before(async () => {
    cluster = await startSimulatedCluster({ nodes: 0 });
    config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    core = config.makeApiClient(CoreV1Api);
    await Promise.all(Array.from({ length: 10 }, (_, index) => create(`c${index}`)));
  });
  after(async () => cluster?.stop());

  it('a list in chunks is of one moment', async () => {
    const names: string[] = [];
    const versions = new Set<string | undefined>();
    let _continue: string | undefined;
    do {
      const page = await core.listNamespacedConfigMap({
        namespace,
        limit: 3,
        ...(_continue ? { _continue } : {}),
      });
      names.push(...page.items.map(({ metadata }) => metadata?.name ?? ''));
      versions.add(page.metadata?.resourceVersion);
      _continue = page.metadata?._continue || undefined;
      // What comes and goes meanwhile is of a later moment.
      if (names.length === 3) {
        await create('c45');
        await core.deleteNamespacedConfigMap({ namespace, name: 'c9' });
      }
    } while (_continue);
    assert.deepEqual(
      names,
      Array.from({ length: 10 }, (_, index) => `c${index}`),
    );
    assert.equal(versions.size, 1);
    const left = await core.listNamespacedConfigMap({ namespace, limit: 4 });
    assert.equal(left.metadata?.remainingItemCount, 6);
    assert.deepEqual(
      await statusOf(core.listNamespacedConfigMap({ namespace, limit: 3, _continue: 'nonsense' })).then(
        ({ code, reason }) => [code, reason],
      ),
      [400, 'BadRequest'],
    );
  });

  it('a watch ends its first objects by a bookmark, and goes on from there', async () => {
    const seen: { readonly type: string; readonly object: KubernetesObject }[] = [];
    const watch = await new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      {
        labelSelector,
        sendInitialEvents: true,
        resourceVersionMatch: 'NotOlderThan',
        allowWatchBookmarks: true,
      },
      (type: string, object: KubernetesObject) => {
        seen.push({ type, object });
      },
      () => {},
    );
    try {
      const { object } = await until('the bookmark', () => seen.find(({ type }) => type === 'BOOKMARK'));
      assert.equal(object.metadata?.annotations?.['k8s.io/initial-events-end'], 'true');
      assert.equal(object.kind, 'ConfigMap');
      assert.deepEqual(
        seen.slice(0, -1).map(({ type }) => type),
        Array.from({ length: 10 }, () => 'ADDED'),
      );
      const after: string[] = [];
      const second = await new Watch(config).watch(
        `/api/v1/namespaces/${namespace}/configmaps`,
        { labelSelector, resourceVersion: object.metadata?.resourceVersion },
        (type: string, { metadata }: KubernetesObject) => {
          after.push(`${type} ${metadata?.name}`);
        },
        () => {},
      );
      await core.patchNamespacedConfigMap(
        { namespace, name: 'c1', body: { metadata: { labels: { test: 'other' } } } },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
      await until('the change', () => after.length > 0);
      second.abort();
      assert.deepEqual(after, ['DELETED c1'], 'what leaves the selection is gone for its watchers');
    } finally {
      watch.abort();
    }
  });

  it('a resourceVersion that is too old, or in the future, has the error for it', async () => {
    const forgotten = Number((await core.listNamespacedConfigMap({ namespace })).metadata?.resourceVersion);
    await create('later');
    await cluster.store.compact(forgotten + 1);
    const list = await statusOf(
      core.listNamespacedConfigMap({
        namespace,
        resourceVersion: String(forgotten - 1),
        resourceVersionMatch: 'Exact',
      }),
    );
    assert.deepEqual([list.code, list.reason], [410, 'Expired']);
    const future = await statusOf(
      core.listNamespacedConfigMap({
        namespace,
        resourceVersion: '999999999',
        resourceVersionMatch: 'NotOlderThan',
      }),
    );
    assert.deepEqual([future.code, future.reason], [504, 'Timeout']);
    assert.match(future.message, /Too large resource version: 999999999, current: \d+/);
  });

  it('patches of kinds that merge differently', async () => {
    const rbac = config.makeApiClient(RbacAuthorizationV1Api);
    await rbac.createClusterRole({
      body: { metadata: { name: 'p' }, rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
    });
    // Rules have no key: a strategic merge replaces them.
    const role = await rbac.patchClusterRole(
      { name: 'p', body: { rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }] } },
      setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch),
    );
    assert.deepEqual(
      role.rules?.map(({ resources }) => resources),
      [['nodes']],
    );
    await core.createNamespacedService({
      namespace,
      body: { metadata: { name: 's' }, spec: { selector: { a: '1' }, ports: [{ name: 'a', port: 80 }] } },
    });
    const service = await core.patchNamespacedService(
      {
        namespace,
        name: 's',
        body: { spec: { selector: { a: null, b: '2' }, ports: [{ name: 'b', port: 81 }] } },
      },
      setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch),
    );
    assert.deepEqual(service.spec?.ports?.map(({ port }) => port).toSorted(), [80, 81]);
    assert.deepEqual(service.spec?.selector, { b: '2' });
    const removed = await core.patchNamespacedService(
      { namespace, name: 's', body: { spec: { ports: [{ $patch: 'delete', port: 80 }] } } },
      setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch),
    );
    assert.deepEqual(
      removed.spec?.ports?.map(({ port }) => port),
      [81],
    );
    const failed = await statusOf(
      core.patchNamespacedService(
        { namespace, name: 's', body: [{ op: 'test', path: '/spec/type', value: 'NodePort' }] },
        setHeaderOptions('Content-Type', PatchStrategy.JsonPatch),
      ),
    );
    assert.deepEqual([failed.code, failed.reason], [422, 'Invalid']);
    const custom = config.makeApiClient(CustomObjectsApi);
    const applied = (await custom.patchNamespacedCustomObject(
      {
        group: 'apps',
        version: 'v1',
        namespace,
        plural: 'controllerrevisions',
        name: 'r',
        fieldManager: 'm',
        force: true,
        body: {
          apiVersion: 'apps/v1',
          kind: 'ControllerRevision',
          metadata: { name: 'r' },
          data: {},
          revision: 1,
        },
      },
      setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply),
    )) as KubernetesObject;
    assert.equal(applied.metadata?.managedFields?.[0]?.manager, 'm');
  });
});
