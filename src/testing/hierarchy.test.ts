/**
 * The controller as its own service account on a real API server: subnamespaces, labels, conditions, copies, cascading deletion, and `capstan tree`. Without admission, which
 * would refuse what the controller has to mend here: see hierarchy-admission.test.ts.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { hierarchyConfigurations, hncConfigurations, subnamespaceAnchors } from '#addons/hierarchy/api.ts';
import { type ResourceSpec } from '#component-helpers/hierarchy/names.ts';
import { enableHierarchy } from '#addons/hierarchy/enable.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import {
  configMaps,
  customResourceDefinitions,
  events,
  namespaces,
  roleBindings,
  roles,
  secrets,
} from '#client/refs.ts';
import { createSubnamespace, describeHierarchy, setHierarchy, showTrees } from '#cmd/tree/tree.ts';
import { namespaceController } from '#controllers/core/namespace-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { realClock } from '#stdx/clock.ts';

const FROM = 'hnc.x-k8s.io/inherited-from';

describe('hierarchical namespaces', () => {
  let world: TestWorld;
  beforeEach(async () => {
    world = await startTestWorld([hierarchyController, namespaceController], {
      settings: { admission: { disabled: ['HierarchicalNamespaces'] } },
    });
    const { isGuarded } = await enableHierarchy({
      api: world.api,
      clock: realClock,
      signal: AbortSignal.timeout(20_000),
    });
    assert.equal(isGuarded, false);
  });
  afterEach(() => world?.stop());

  const said: string[] = [];
  const print = (line: string): void => void said.push(line);
  const output = (): string => said.splice(0).join('\n');
  const create = (child: string, namespace: string) =>
    createSubnamespace({ api: world.api, namespace, child }, print);
  const set = (namespace: string, flags: object) =>
    setHierarchy({ api: world.api, namespace, ...flags }, print);
  const labelsOf = async (name: string) => (await world.api.get(namespaces, { name })).metadata.labels ?? {};
  const conditions = async (namespace: string): Promise<string[]> =>
    (await world.api.get(hierarchyConfigurations, { name: 'hierarchy', namespace })).status!.conditions!.map(
      ({ type, reason }) => `${type} ${reason}`,
    );
  async function tree(): Promise<void> {
    await world.namespace('acme');
    await create('shop', 'acme');
    await world.until('shop', () => world.api.get(namespaces, { name: 'shop' }));
    await create('web', 'shop');
    await world.until('labels', async () => (await labelsOf('web'))['acme.tree.hnc.x-k8s.io/depth'] === '2');
  }
  async function configure(...resources: ResourceSpec[]): Promise<void> {
    await world.until('config', () => world.api.get(hncConfigurations, { name: 'config' }));
    const patch = { spec: { resources } };
    await world.api.patch(hncConfigurations, { name: 'config' }, { type: 'merge', patch });
  }
  const map = (name: string, namespace: string) => world.find(configMaps, { name, namespace });
  const makeMap = (name: string, annotations: Record<string, string> = {}) =>
    world.api.create(configMaps, { metadata: { name, namespace: 'acme', annotations }, data: { a: '1' } });

  it('makes subnamespaces, labels them, draws and describes them', async () => {
    await tree();
    await world.namespace('ops');
    await set('ops', { parent: 'acme' });
    await world.until('ops', async () => (await labelsOf('ops'))['acme.tree.hnc.x-k8s.io/depth'] === '1');
    await world.until('children', async () => {
      const { status } = await world.api.get(hierarchyConfigurations, {
        name: 'hierarchy',
        namespace: 'acme',
      });
      return status?.children?.join() === 'ops,shop';
    });
    assert.equal((await labelsOf('web'))['web.tree.hnc.x-k8s.io/depth'], '0');
    output();
    await showTrees({ api: world.api, names: ['acme'] }, print);
    assert.equal(output(), 'acme\n├── ops\n└── [s] shop\n    └── [s] web\n\n[s] indicates subnamespaces');
    await describeHierarchy({ api: world.api, namespace: 'acme' }, print);
    assert.match(output(), /No parent\n {2}Children:\n {2}- ops\n {2}- shop \(subnamespace\)\n/);
    const anchor = await world.api.get(subnamespaceAnchors, { name: 'shop', namespace: 'acme' });
    assert.equal(anchor.status?.status, 'Ok');
  });

  it('copies Roles always, and other kinds as configured; copies are kept true', async () => {
    await tree();
    await world.api.create(roles, {
      metadata: { name: 'dev', namespace: 'acme' },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }],
    });
    await configure({ resource: 'configmaps' }, { resource: 'secrets', mode: 'AllowPropagate' });
    await makeMap('settings');
    await world.until('copy', () => map('settings', 'web'));
    const copy = await world.until('role', () => world.find(roles, { name: 'dev', namespace: 'web' }));
    assert.equal(copy.metadata?.labels?.[FROM], 'acme');
    await world.api.patch(
      configMaps,
      { name: 'settings', namespace: 'web' },
      { type: 'merge', patch: { data: { a: '2' }, metadata: { labels: { [FROM]: null } } } },
    );
    await world.until('mended', async () => {
      const { data, metadata } = (await map('settings', 'web'))!;
      return data?.['a'] === '1' && metadata?.labels?.[FROM] === 'acme';
    });
    await world.api.delete(configMaps, { name: 'settings', namespace: 'shop' });
    await world.until('made again', () => map('settings', 'shop'));
    await world.api.delete(configMaps, { name: 'settings', namespace: 'acme' });
    await world.until(
      'gone',
      async () => !(await map('settings', 'web')) && !(await map('settings', 'shop')),
    );
    await world.api.create(secrets, { metadata: { name: 'kept', namespace: 'acme' } });
    await world.api.create(secrets, {
      metadata: { name: 'given', namespace: 'acme', annotations: { 'propagate.hnc.x-k8s.io/all': 'true' } },
    });
    await world.until('given', () => world.find(secrets, { name: 'given', namespace: 'web' }));
    assert.equal(await world.find(secrets, { name: 'kept', namespace: 'web' }), undefined);
    const status = await world.until('status', async () => {
      const { status } = await world.api.get(hncConfigurations, { name: 'config' });
      return (
        status?.resources?.find(({ resource }) => resource === 'roles')?.numPropagatedObjects === 2 && status
      );
    });
    assert.deepEqual(
      status.resources?.map(({ resource, mode }) => `${resource} ${mode}`),
      ['configmaps Propagate', 'secrets AllowPropagate', 'rolebindings Propagate', 'roles Propagate'],
    );
  });

  it('heeds exceptions, and takes copies back with mode Remove', async () => {
    await tree();
    await configure({ resource: 'configmaps' });
    await makeMap('not-web', { 'propagate.hnc.x-k8s.io/treeSelect': '!web' });
    await makeMap('only-web', { 'propagate.hnc.x-k8s.io/select': 'web.tree.hnc.x-k8s.io/depth' });
    await makeMap('none', { 'propagate.hnc.x-k8s.io/none': 'true' });
    await makeMap('wrong', { 'propagate.hnc.x-k8s.io/treeSelect': 'a,b' });
    await world.until('shop', () => map('not-web', 'shop'));
    await world.until('web', () => map('only-web', 'web'));
    await world.until('event', async () =>
      (await world.api.list(events)).items.some(({ reason }) => reason === 'CannotParseSelector'),
    );
    for (const [name, namespace] of [
      ['not-web', 'web'],
      ['only-web', 'shop'],
      ['none', 'shop'],
      ['wrong', 'shop'],
    ] as const)
      assert.equal(await map(name, namespace), undefined, `${name} in ${namespace}`);
    await configure({ resource: 'configmaps', mode: 'Remove' }, { resource: 'nothings' });
    await world.until(
      'removed',
      async () => !(await map('only-web', 'web')) && !(await map('not-web', 'shop')),
    );
    assert.ok(await map('none', 'acme'));
    await world.until('not found', async () =>
      (await world.api.get(hncConfigurations, { name: 'config' })).status?.conditions?.some(
        ({ reason }) => reason === 'ResourceNotFound',
      ),
    );
  });

  it('replaces a RoleBinding whose role is another', async () => {
    await tree();
    const binding = (name: string) =>
      world.api.create(roleBindings, {
        metadata: { name: 'devs', namespace: 'acme' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
        subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'jane' }],
      });
    const roleIn = async (namespace: string) =>
      (await world.find(roleBindings, { name: 'devs', namespace }))?.roleRef?.name;
    await binding('view');
    await world.until('copied', async () => (await roleIn('web')) === 'view');
    await world.api.delete(roleBindings, { name: 'devs', namespace: 'acme' });
    await binding('edit');
    await world.until('replaced', async () => (await roleIn('web')) === 'edit');
  });

  it('halts cycles and missing parents, without touching their copies', async () => {
    await configure({ resource: 'configmaps' });
    for (const name of ['acme', 'b', 'c']) await world.namespace(name);
    await set('b', { parent: 'acme' });
    await set('c', { parent: 'b' });
    await makeMap('settings');
    await world.until('copied', () => map('settings', 'c'));
    await set('acme', { parent: 'c' });
    await world.until('cycle', async () => (await conditions('b')).join() === 'ActivitiesHalted InCycle');
    assert.ok(await map('settings', 'c'));
    await set('acme', { parent: 'missing' });
    await world.until(
      'missing',
      async () => (await conditions('acme')).join() === 'ActivitiesHalted ParentMissing',
    );
    await world.until(
      'below',
      async () => (await conditions('c')).join() === 'ActivitiesHalted AncestorHaltActivities',
    );
    await set('acme', { root: true });
    await world.until('healthy', async () => (await conditions('c')).length === 0);
    assert.ok(await map('settings', 'c'));
  });

  it('deletes subnamespaces with their anchors: leaves, and trees that allow it', async () => {
    await tree();
    await world.api.delete(subnamespaceAnchors, { name: 'shop', namespace: 'acme' });
    await world.until(
      'kept',
      async () => (await conditions('shop')).join() === 'BadConfiguration SubnamespaceAnchorMissing',
    );
    await create('shop', 'acme');
    await world.until('again', async () => (await conditions('shop')).length === 0);
    await set('acme', { allowCascadingDeletion: true });
    await world.pass(1_000);
    await world.api.delete(subnamespaceAnchors, { name: 'shop', namespace: 'acme' });
    await world.until('gone', async () => {
      const left = (await world.api.list(namespaces)).items.map(({ metadata }) => metadata.name);
      return !left.includes('shop') && !left.includes('web') && left.includes('acme');
    });
    await world.until(
      'anchor',
      async () => !(await world.find(subnamespaceAnchors, { name: 'shop', namespace: 'acme' })),
    );
  });

  it('says Conflict and Forbidden on anchors that cannot have their namespace', async () => {
    for (const name of ['acme', 'other']) await world.namespace(name);
    await create('other', 'acme');
    await create('kube-system', 'acme');
    const state = async (name: string) =>
      (await world.api.get(subnamespaceAnchors, { name, namespace: 'acme' })).status?.status;
    await world.until('conflict', async () => (await state('other')) === 'Conflict');
    await world.until('forbidden', async () => (await state('kube-system')) === 'Forbidden');
    await world.api.delete(subnamespaceAnchors, { name: 'other', namespace: 'acme' });
    await world.until(
      'gone',
      async () => !(await world.find(subnamespaceAnchors, { name: 'other', namespace: 'acme' })),
    );
    assert.ok(await world.api.get(namespaces, { name: 'other' }));
  });

  it('leaves namespaces and copies when its definitions are deleted', async () => {
    await tree();
    await configure({ resource: 'configmaps' });
    await makeMap('settings');
    await world.until('copied', () => map('settings', 'web'));
    const names = [
      'hierarchicalresourcequotas',
      'subnamespaceanchors',
      'hncconfigurations',
      'hierarchyconfigurations',
    ];
    for (const name of names)
      await world.api.delete(customResourceDefinitions, { name: `${name}.hnc.x-k8s.io` });
    await world.until('gone', async () => {
      const { items } = await world.api.list(customResourceDefinitions);
      return !items.some(({ spec }) => spec.group === 'hnc.x-k8s.io');
    });
    await world.pass(2_000);
    assert.ok(await map('settings', 'web'));
    assert.equal((await world.api.get(namespaces, { name: 'web' })).metadata.deletionTimestamp, undefined);
    await assert.rejects(showTrees({ api: world.api, names: ['acme'] }, print), /capstan tree enable/);
  });
});
