import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { clusterRoleBindings, configMaps, events, namespaces, secrets } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import {
  ADDON_NAMESPACE,
  addonCondition,
  addonSecret,
  addonSecretName,
  APPLYSET_GROUP_KINDS,
  APPLYSET_PART_OF,
  applySetId,
} from '#component-helpers/addons.ts';
import type { JsonObject } from '#machinery/json.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { addonController } from './addon-controller.ts';
import { inApplyOrder, parseManifests } from './manifests.ts';

const map = (name: string, data: object = {}, namespace = 'shop'): JsonObject =>
  ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data }) as unknown as JsonObject;
const NAMESPACE = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } } as JsonObject;
const WIDGETS: ResourceRef = {
  group: 'example.org',
  version: 'v1',
  plural: 'widgets',
  kind: 'Widget',
  namespaced: true,
};
const DEFINITION = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.org' },
  spec: {
    group: 'example.org',
    scope: 'Namespaced',
    names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
} as unknown as JsonObject;
const WIDGET = {
  apiVersion: 'example.org/v1',
  kind: 'Widget',
  metadata: { name: 'w', namespace: 'shop' },
} as JsonObject;

describe('addon-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([addonController]);
    await world.api.create(clusterRoleBindings, {
      metadata: { name: 'capstan:addon-controller' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'addon-controller', namespace: 'kube-system' }],
    });
    await world.namespace('kube-system').catch(() => {});
  });
  after(() => world.stop());

  const apply = async (addon: string, objects: readonly JsonObject[]): Promise<void> => {
    const patch = { apiVersion: 'v1', kind: 'Secret', ...addonSecret(addon, objects) };
    const at = { name: addonSecretName(addon), namespace: ADDON_NAMESPACE };
    await world.api.patch(secrets, at, { type: 'apply', patch, fieldManager: 'capstan-fleet', force: true });
  };
  const secretOf = (addon: string) =>
    world.find(secrets, { name: addonSecretName(addon), namespace: ADDON_NAMESPACE });
  const condition = async (addon: string) => addonCondition((await secretOf(addon))?.metadata?.annotations);
  const found = (name: string) => world.find(configMaps, { name, namespace: 'shop' });

  it('applies definitions, namespaces and the rest, whatever their order in the file', async () => {
    await apply('all', [WIDGET, map('a', { x: '1' }), map('b'), NAMESPACE, DEFINITION]);
    await world.until('the addon to be ready', async () => (await condition('all'))?.status === 'True');
    assert.ok(await world.find(WIDGETS, { name: 'w', namespace: 'shop' }));
    const { labels } = (await found('a'))!.metadata!;
    assert.equal(labels?.[APPLYSET_PART_OF], applySetId(addonSecretName('all')));
    assert.equal(
      (await secretOf('all'))?.metadata?.annotations?.[APPLYSET_GROUP_KINDS],
      'ConfigMap,CustomResourceDefinition.apiextensions.k8s.io,Namespace,Widget.example.org',
    );
    assert.equal(
      (await secretOf('all'))?.metadata?.annotations?.['applyset.kubernetes.io/additional-namespaces'],
      'shop',
    );
    assert.equal((await condition('all'))?.message, '5 objects are applied');
    await world.until('the event', async () =>
      (await world.api.list(events, { namespace: ADDON_NAMESPACE })).items.some(
        ({ reason, involvedObject }) =>
          reason === 'Applied' && involvedObject?.name === addonSecretName('all'),
      ),
    );
  });

  it('mends drift, and leaves the fields of others alone', async () => {
    const at = { name: 'a', namespace: 'shop' };
    await world.api.patch(configMaps, at, { type: 'merge', patch: { data: { x: '2', y: 'mine' } } });
    await world.until('the value to be back', async () => (await found('a'))?.data?.['x'] === '1');
    assert.equal((await found('a'))?.data?.['y'], 'mine');
    await world.api.delete(configMaps, at);
    await world.until('it to be back', () => found('a'));
    await world.api.patch(configMaps, at, {
      type: 'merge',
      patch: { metadata: { labels: { [APPLYSET_PART_OF]: null } } },
    });
    await world.until(
      'the label to be back',
      async () => (await found('a'))?.metadata?.labels?.[APPLYSET_PART_OF],
    );
  });

  it('prunes what left the manifests, and nothing while there is an error', async () => {
    await world.api.create(configMaps, { metadata: { name: 'others', namespace: 'shop' } });
    const broken = { apiVersion: 'v1', kind: 'Nothing', metadata: { name: 'n' } } as JsonObject;
    await apply('all', [map('a', { x: '3' }), broken, NAMESPACE, DEFINITION, WIDGET]);
    await world.until('the error', async () => (await condition('all'))?.status === 'False');
    assert.match(
      (await condition('all'))!.message,
      /Nothing n: no matches for kind "Nothing" in version "v1"/,
    );
    assert.equal((await found('a'))?.data?.['x'], '3', 'the others go on');
    assert.ok(await found('b'), 'nothing is pruned');
    await apply('all', [map('a', { x: '3' }), NAMESPACE, DEFINITION, WIDGET]);
    await world.until('b to be pruned', async () => !(await found('b')));
    assert.ok(await found('others'));
    await world.until('the addon to be ready', async () => (await condition('all'))?.status === 'True');
  });

  it('takes an addon away with all its objects, and leaves other addons', async () => {
    await apply('other', [map('kept')]);
    await world.until('the other to be ready', async () => (await condition('other'))?.status === 'True');
    await apply('gone', [map('one'), map('two')]);
    await world.until('it to be ready', async () => (await condition('gone'))?.status === 'True');
    await world.api.delete(secrets, { name: addonSecretName('gone'), namespace: ADDON_NAMESPACE });
    await world.until('the addon to be gone', async () => !(await secretOf('gone')));
    assert.deepEqual([await found('one'), await found('two')], [undefined, undefined]);
    assert.ok(await found('kept'));
    assert.ok(await world.find(namespaces, { name: 'shop' }));
  });

  it('says what is wrong with damaged manifests', async () => {
    const at = { name: addonSecretName('other'), namespace: ADDON_NAMESPACE };
    const data = { 'manifests.json': Buffer.from('{"a":1}').toString('base64') };
    await world.api.patch(secrets, at, { type: 'merge', patch: { data } });
    await world.until('the error', async () => (await condition('other'))?.status === 'False');
    assert.equal((await condition('other'))?.message, 'its manifests are no list');
    assert.ok(await found('kept'));
  });
});

it('orders by kind, and keeps the order of the file within one', () => {
  const kinds = [
    'Widget',
    'ValidatingWebhookConfiguration',
    'Service',
    'Deployment',
    'Namespace',
    'CustomResourceDefinition',
  ];
  assert.deepEqual(
    inApplyOrder(kinds.map((kind) => ({ kind }))).map(({ kind }) => kind),
    [
      'CustomResourceDefinition',
      'Namespace',
      'Service',
      'Widget',
      'Deployment',
      'ValidatingWebhookConfiguration',
    ],
  );
  assert.throws(() => parseManifests('[{"kind":"A"}]'), /object 1 of its manifests has no apiVersion/);
});
