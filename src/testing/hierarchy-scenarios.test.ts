/** The scenarios that HNC publishes as its end-to-end tests, in our words, on one cluster with admission and the controllers of trees. Those of quotas: hierarchy-quota.test.ts. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { customResource, installDefinitions, record, text } from '#addons/definitions/custom-resource.ts';
import { hierarchyConfigurations, hncConfigurations, subnamespaceAnchors } from '#addons/hierarchy/api.ts';
import { enableHierarchy } from '#addons/hierarchy/enable.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { namespaces, networkPolicies, roleBindings, roles, secrets } from '#client/refs.ts';
import { createSubnamespace, describeHierarchy, setHierarchy, showTrees } from '#cmd/tree/tree.ts';
import type { ResourceSpec } from '#component-helpers/hierarchy/names.ts';
import { namespaceController } from '#controllers/core/namespace-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import type { KubeObject } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';

const FROM = 'hnc.x-k8s.io/inherited-from';
const SUBNAMESPACE_OF = 'hnc.x-k8s.io/subnamespace-of';
const RBAC = 'rbac.authorization.k8s.io';

describe("HNC's scenarios", () => {
  let world: TestWorld;
  let api: Client;
  before(async () => {
    world = await startTestWorld([hierarchyController, namespaceController]);
    ({ api } = world);
    await enableHierarchy({ api, clock: realClock, signal: AbortSignal.timeout(20_000) });
    await world.until('config', () => api.get(hncConfigurations, { name: 'config' }));
  });
  after(() => world?.stop());

  const said: string[] = [];
  const print = (line: string): void => void said.push(line);
  const output = (): string => said.splice(0).join('\n');
  async function tree(root: string): Promise<string> {
    await showTrees({ api, names: [root] }, print);
    return output();
  }
  const drawn = (root: string, ...lines: readonly string[]): Promise<unknown> =>
    world.until(`tree of ${root}`, async () => {
      assert.equal((await tree(root)).split('\n\n')[0], [root, ...lines].join('\n'));
      return true;
    });
  const shows = (namespace: string, what: RegExp): Promise<unknown> =>
    world.until(`${namespace} shows ${what.source}`, async () => {
      await describeHierarchy({ api, namespace }, print);
      return what.test(output());
    });
  const set = (namespace: string, flags: object): Promise<void> =>
    setHierarchy({ api, namespace, ...flags }, print);
  const allowCascading = (namespace: string): Promise<void> =>
    set(namespace, { allowCascadingDeletion: true });
  async function subnamespace(name: string, namespace: string): Promise<void> {
    await createSubnamespace({ api, namespace, child: name }, print);
    await world.until(`subnamespace ${name}`, async () => {
      const { status } = await api.get(subnamespaceAnchors, { name, namespace });
      return (
        status?.status === 'Ok' && world.find(hierarchyConfigurations, { name: 'hierarchy', namespace: name })
      );
    });
    // Its anchor holds it from here on.
    await world.until(`children of ${namespace}`, async () => (await tree(namespace)).includes(name));
  }
  const unanchor = (name: string, namespace: string): Promise<unknown> =>
    api.delete(subnamespaceAnchors, { name, namespace });
  const remove = (name: string): Promise<unknown> => api.delete(namespaces, { name });
  async function make(...names: readonly string[]): Promise<void> {
    for (const name of names) await world.namespace(name);
  }
  const gone = (...names: readonly string[]): Promise<unknown> =>
    world.until(`${names.join()} gone`, async () => {
      const left = (await api.list(namespaces)).items.map(({ metadata }) => metadata.name);
      return !names.some((name) => left.includes(name));
    });
  const isThere = (ref: ResourceRef, [namespace, name]: readonly [string, string]): Promise<unknown> =>
    world.until(`${name} in ${namespace}`, () => world.find<KubeObject>(ref, { name, namespace }));
  const isAway = (ref: ResourceRef, [namespace, name]: readonly [string, string]): Promise<unknown> =>
    world.until(
      `${name} not in ${namespace}`,
      async () => !(await world.find<KubeObject>(ref, { name, namespace })),
    );
  const role = (name: string, namespace: string): Promise<unknown> =>
    api.create(roles, {
      metadata: { name, namespace },
      rules: [{ apiGroups: ['apps'], resources: ['deployments'], verbs: ['update'] }],
    });
  const binding = (name: string, [namespace, clusterRole]: readonly [string, string]): Promise<unknown> =>
    api.create(roleBindings, {
      metadata: { name, namespace },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: clusterRole },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace }],
    });
  const secret = (name: string, namespace: string, annotations: Record<string, string> = {}) =>
    api.create(secrets, { metadata: { name, namespace, annotations }, stringData: { password: namespace } });
  async function configure(...resources: readonly ResourceSpec[]): Promise<void> {
    await api.patch(hncConfigurations, { name: 'config' }, { type: 'merge', patch: { spec: { resources } } });
  }
  const annotate = (
    ref: ResourceRef,
    name: { readonly name: string; readonly namespace?: string },
    annotations: Record<string, string | null>,
  ): Promise<unknown> =>
    api.patch<KubeObject>(ref, name, { type: 'merge', patch: { metadata: { annotations } } });

  it('quickstart: roles of all ancestors, and those of another team after a move', async () => {
    await make('q-org', 'q-team-a', 'q-service');
    await role('a-sre', 'q-team-a');
    await role('org-sre', 'q-org');
    await set('q-team-a', { parent: 'q-org' });
    await set('q-service', { parent: 'q-team-a' });
    await shows('q-service', /Parent: q-team-a/);
    await assert.rejects(set('q-org', { parent: 'q-team-a' }), /cycle/);
    await isThere(roles, ['q-service', 'a-sre']);
    await isThere(roles, ['q-service', 'org-sre']);
    const copy = await api.get(roles, { name: 'org-sre', namespace: 'q-service' });
    assert.equal(copy.metadata.labels?.[FROM], 'q-org');
    await subnamespace('q-team-b', 'q-org');
    await role('b-wizard', 'q-team-b');
    await set('q-service', { parent: 'q-team-b' });
    await drawn('q-org', '├── q-team-a', '└── [s] q-team-b', '    └── q-service');
    await isThere(roles, ['q-service', 'b-wizard']);
    await isAway(roles, ['q-service', 'a-sre']);
  });

  it('quickstart: a kind propagates once it is configured, and only below its source', async () => {
    await configure({ resource: 'secrets', mode: 'Ignore' });
    await make('t-org', 't-service');
    for (const name of ['t-team-a', 't-team-b']) await subnamespace(name, 't-org');
    await set('t-service', { parent: 't-team-b' });
    await secret('creds', 't-team-b');
    await world.pass(1_000);
    assert.equal(await world.find(secrets, { name: 'creds', namespace: 't-service' }), undefined);
    await configure({ resource: 'secrets' });
    await isThere(secrets, ['t-service', 'creds']);
    await set('t-service', { parent: 't-team-a' });
    await isAway(secrets, ['t-service', 'creds']);
    await configure();
  });

  it('quickstart: network policies of a tree, by its labels', async () => {
    await make('n-org');
    await subnamespace('n-team', 'n-org');
    await subnamespace('n-service', 'n-team');
    await configure({ group: 'networking.k8s.io', resource: 'networkpolicies' });
    const policy = (name: string, namespace: string, from: object): Promise<unknown> =>
      api.create(networkPolicies, {
        metadata: { name, namespace },
        spec: { podSelector: {}, ingress: [{ from: [from] }] },
      });
    await policy('own-only', 'n-org', { podSelector: {} });
    const key = 'n-team.tree.hnc.x-k8s.io/depth';
    await policy('team', 'n-team', {
      namespaceSelector: { matchExpressions: [{ key, operator: 'Exists' }] },
    });
    await isThere(networkPolicies, ['n-service', 'own-only']);
    await isThere(networkPolicies, ['n-service', 'team']);
    await isAway(networkPolicies, ['n-org', 'team']);
    const { items } = await api.list(namespaces, { labelSelector: key });
    assert.deepEqual(
      items.map(({ metadata }) => metadata.name),
      ['n-service', 'n-team'],
    );
    await configure();
  });

  it('quickstart: subnamespaces are made, and deleted by their anchors, trees where that is allowed', async () => {
    await make('s-org');
    await subnamespace('s-team', 's-org');
    for (const name of ['s-1', 's-2', 's-3']) await subnamespace(name, 's-team');
    const { metadata } = await api.get(namespaces, { name: 's-1' });
    assert.equal(metadata.annotations?.[SUBNAMESPACE_OF], 's-team');
    await drawn('s-team', '├── [s] s-1', '├── [s] s-2', '└── [s] s-3');
    await subnamespace('s-dev', 's-1');
    await assert.rejects(
      createSubnamespace({ api, namespace: 's-2', child: 's-dev' }, print),
      /cannot create a subnamespace using an existing namespace/,
    );
    await assert.rejects(remove('s-3'), /is a subnamespace/);
    await unanchor('s-3', 's-team');
    await gone('s-3');
    await assert.rejects(unanchor('s-1', 's-team'), /is not a leaf/);
    await shows('s-1', /Allows Cascading Deletion: false/);
    await allowCascading('s-1');
    await world.until('deleted', () => unanchor('s-1', 's-team').then(() => true));
    await gone('s-1', 's-dev');
    await drawn('s-team', '└── [s] s-2');
    await make('s-staging');
    await set('s-staging', { parent: 's-2' });
    await drawn('s-team', '└── [s] s-2', '    └── s-staging');
    await allowCascading('s-2');
    await world.until('deleted', () => unanchor('s-2', 's-team').then(() => true));
    await gone('s-2');
    await shows('s-staging', /ActivitiesHalted \(ParentMissing\)/);
  });

  it('quickstart: exceptions', async () => {
    await make('e-org');
    for (const name of ['e-a', 'e-b']) await subnamespace(name, 'e-org');
    await configure({ resource: 'secrets' });
    await secret('s', 'e-org');
    for (const name of ['e-a', 'e-b']) await isThere(secrets, [name, 's']);
    const treeSelect = 'propagate.hnc.x-k8s.io/treeSelect';
    await annotate(secrets, { name: 's', namespace: 'e-org' }, { [treeSelect]: '!e-b' });
    await isAway(secrets, ['e-b', 's']);
    await api.delete(secrets, { name: 's', namespace: 'e-org' });
    await isAway(secrets, ['e-a', 's']);
    await secret('s', 'e-org', { [treeSelect]: 'e-a' });
    await isThere(secrets, ['e-a', 's']);
    await isAway(secrets, ['e-b', 's']);
    await configure();
  });

  it('issue 16: AllowPropagate takes what has an exception, and gives it back without', async () => {
    await make('a-parent', 'a-child');
    await set('a-child', { parent: 'a-parent' });
    await secret('creds', 'a-parent');
    await configure({ resource: 'secrets' });
    await isThere(secrets, ['a-child', 'creds']);
    await configure({ resource: 'secrets', mode: 'AllowPropagate' });
    await isAway(secrets, ['a-child', 'creds']);
    for (const [key, value] of [
      ['select', 'a-child.tree.hnc.x-k8s.io/depth'],
      ['treeSelect', 'a-child'],
      ['all', 'true'],
    ] as const) {
      const annotation = `propagate.hnc.x-k8s.io/${key}`;
      const name = { name: 'creds', namespace: 'a-parent' };
      await annotate(secrets, name, { [annotation]: value });
      await isThere(secrets, ['a-child', 'creds']);
      await annotate(secrets, name, { [annotation]: null });
      await isAway(secrets, ['a-child', 'creds']);
    }
    await configure();
  });

  it('issue 53: a change of a custom object propagates', async () => {
    const ref = { group: 'e2e.example.com', version: 'v1', plural: 'tests', kind: 'Test', namespaced: true };
    type Test = KubeObject & { readonly spec?: { readonly foo: string } };
    const tests = ref as ResourceRef<Test>;
    await make('c-parent');
    await subnamespace('c-child', 'c-parent');
    const definition = customResource({ ref: tests, singular: 'test', spec: record({ foo: text() }) });
    await installDefinitions({ api, clock: realClock, signal: AbortSignal.timeout(20_000) }, [definition]);
    await configure({ group: ref.group, resource: ref.plural });
    const name = { name: 'sample', namespace: 'c-parent' };
    await api.create(tests, { metadata: name, spec: { foo: 'foo' } });
    const foo = async () => (await world.find(tests, { ...name, namespace: 'c-child' }))?.spec?.foo;
    await world.until('copied', async () => (await foo()) === 'foo');
    await api.patch(tests, name, { type: 'merge', patch: { spec: { foo: 'bar' } } });
    await world.until('changed', async () => (await foo()) === 'bar');
    await configure();
  });

  it('issue 501: an anchor that is missing is reported until it is there', async () => {
    await make('m-parent', 'm-sub');
    await set('m-sub', { parent: 'm-parent' });
    await annotate(namespaces, { name: 'm-sub' }, { [SUBNAMESPACE_OF]: 'm-parent' });
    await shows('m-sub', /SubnamespaceAnchorMissing/);
    await subnamespace('m-sub', 'm-parent');
    await shows('m-sub', /No conditions/);
  });

  it('issues 501, 716, 1155: a parent goes with its subnamespaces, and leaves full ones', async () => {
    await make('d-parent', 'd-child');
    for (const [name, parent] of [
      ['d-sub1', 'd-parent'],
      ['d-sub1-1', 'd-sub1'],
      ['d-sub2', 'd-parent'],
    ] as const)
      await subnamespace(name, parent);
    await set('d-child', { parent: 'd-parent' });
    await subnamespace('d-sub-child', 'd-child');
    await assert.rejects(remove('d-parent'), /contains subnamespaces/);
    await allowCascading('d-parent');
    await world.until('deleted', () => remove('d-parent').then(() => true));
    await gone('d-parent', 'd-sub1', 'd-sub1-1', 'd-sub2');
    await shows('d-child', /ActivitiesHalted \(ParentMissing\)/);
    await shows('d-sub-child', /ActivitiesHalted \(AncestorHaltActivities\)/);
    await set('d-child', { root: true });
    await make('d-parent');
    await world.pass(1_000);
    const hierarchy = { name: 'hierarchy', namespace: 'd-parent' };
    assert.equal(await world.find(hierarchyConfigurations, hierarchy), undefined);
  });

  it('issue 716: a subnamespace that has become a leaf is deleted', async () => {
    await make('l-parent');
    await subnamespace('l-child', 'l-parent');
    await subnamespace('l-leaf', 'l-child');
    await assert.rejects(unanchor('l-child', 'l-parent'), /is not a leaf/);
    await unanchor('l-leaf', 'l-child');
    await gone('l-leaf');
    await unanchor('l-child', 'l-parent');
    await gone('l-child');
  });

  it('issue 1149: an anchor whose namespace is none of its own leaves it', async () => {
    await make('f-parent');
    await subnamespace('f-child', 'f-parent');
    await annotate(namespaces, { name: 'f-child' }, { [SUBNAMESPACE_OF]: null });
    await unanchor('f-child', 'f-parent');
    await isAway(subnamespaceAnchors, ['f-parent', 'f-child']);
    const { metadata } = await api.get(namespaces, { name: 'f-child' });
    assert.equal(metadata.deletionTimestamp, undefined);
  });

  it('issues 772, 1130, 1214: RoleBindings propagate, and hold up no deletion', async () => {
    await make('r-parent', 'r-full', 'r-halted');
    await set('r-full', { parent: 'r-parent' });
    await subnamespace('r-sub', 'r-parent');
    await binding('root', ['r-parent', 'cluster-admin']);
    for (const name of ['r-full', 'r-sub']) await isThere(roleBindings, [name, 'root']);
    await set('r-halted', { parent: 'r-full' });
    await isThere(roleBindings, ['r-halted', 'root']);
    await remove('r-full');
    await gone('r-full');
    await shows('r-halted', /ActivitiesHalted \(ParentMissing\)/);
    await remove('r-halted');
    await unanchor('r-sub', 'r-parent');
    await gone('r-halted', 'r-sub');
  });

  it('issue 1023: the namespaces of the system are left alone', async () => {
    await binding('test', ['kube-system', 'view']);
    await api.delete(roleBindings, { name: 'test', namespace: 'kube-system' });
    for (const value of ['true', 'false'])
      await assert.rejects(
        api.patch(
          namespaces,
          { name: 'kube-system' },
          { type: 'merge', patch: { metadata: { labels: { 'hnc.x-k8s.io/included-namespace': value } } } },
        ),
        /you cannot enforce webhook rules on this unmanaged namespace/,
      );
  });
});
