/** What HNC's webhooks refuse, refused by the API server: on a real one, with the controller, as administrators and as users who have less. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { hierarchyConfigurations, hncConfigurations, subnamespaceAnchors } from '#addons/hierarchy/api.ts';
import { enableHierarchy } from '#addons/hierarchy/enable.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import type { Client } from '#client/client.ts';
import {
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  customResourceDefinitions,
  namespaces,
  roleBindings,
  secrets,
} from '#client/refs.ts';
import type { ResourceSpec } from '#component-helpers/hierarchy/names.ts';
import { namespaceController } from '#controllers/core/namespace-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { isStatusError } from '#machinery/errors.ts';
import { realClock } from '#stdx/clock.ts';

type StatusReason = Parameters<typeof isStatusError>[1];

const FROM = 'hnc.x-k8s.io/inherited-from';
const GROUP = 'hnc.x-k8s.io';

describe('admission to trees of namespaces', () => {
  let world: TestWorld;
  let api: Client;
  /** May write hierarchies and anchors in the namespaces of her RoleBindings. */
  let jane: Client;
  before(async () => {
    world = await startTestWorld([hierarchyController, namespaceController]);
    ({ api } = world);
    jane = world.test.clientAs({ name: 'jane', groups: ['system:authenticated'] });
    await enableHierarchy({ api, clock: realClock, signal: AbortSignal.timeout(20_000) });
    const resources = ['hierarchyconfigurations', 'subnamespaceanchors'];
    const rules = [{ apiGroups: [GROUP], resources, verbs: ['*'] }];
    await api.create(clusterRoles, { metadata: { name: 'tree-admin' }, rules });
    await world.until('config', () => api.get(hncConfigurations, { name: 'config' }));
    await configure({ resource: 'configmaps' }, { resource: 'secrets', mode: 'AllowPropagate' });
  });
  after(() => world?.stop());

  async function refused(asked: Promise<unknown>, reason: StatusReason, message: RegExp): Promise<void> {
    const error: unknown = await asked.then(
      () => undefined,
      (failed: unknown) => failed,
    );
    assert.ok(isStatusError(error, reason), `${reason} expected, got ${String(error)}`);
    assert.match(error.message, message);
  }
  async function configure(...resources: ResourceSpec[]): Promise<void> {
    const patch = { spec: { resources } };
    await api.patch(hncConfigurations, { name: 'config' }, { type: 'merge', patch });
  }
  async function setParent(namespace: string, parent: string, as: Client = api): Promise<void> {
    const name = { name: 'hierarchy', namespace };
    const patch = {
      apiVersion: `${GROUP}/v1alpha2`,
      kind: 'HierarchyConfiguration',
      metadata: name,
      spec: { parent },
    };
    await as.patch(hierarchyConfigurations, name, { type: 'apply', patch, fieldManager: 't', force: true });
  }
  const bind = (
    namespace: string,
    { role, user }: { readonly role: string; readonly user: string },
  ): Promise<unknown> =>
    api.create(roleBindings, {
      metadata: { name: user, namespace, annotations: { [`propagate.${GROUP}/none`]: 'true' } },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: user }],
    });
  const grant = (namespace: string): Promise<unknown> =>
    bind(namespace, { role: 'tree-admin', user: 'jane' });
  const anchor = (name: string, namespace: string, as: Client = api): Promise<unknown> =>
    as.create(subnamespaceAnchors, { metadata: { name, namespace } });
  async function subnamespace(name: string, parent: string): Promise<void> {
    await anchor(name, parent);
    await world.until(`anchor ${name}`, async () => {
      const { status } = await api.get(subnamespaceAnchors, { name, namespace: parent });
      return status?.status === 'Ok' && (await labelsOf(name))[`${parent}.tree.${GROUP}/depth`] === '1';
    });
  }
  const labelsOf = async (name: string) => (await api.get(namespaces, { name })).metadata.labels ?? {};
  const makeMap = (name: string, namespace: string, annotations: Record<string, string> = {}) =>
    api.create(configMaps, { metadata: { name, namespace, annotations }, data: { a: '1' } });
  const copied = (name: string, namespace: string) =>
    world.until(`${name} in ${namespace}`, () => world.find(configMaps, { name, namespace }));
  async function make(...names: string[]): Promise<void> {
    for (const name of names) await world.namespace(name);
  }

  it('lets administrators, editors and viewers of namespaces do what HNC lets them', async () => {
    await make('ro-a');
    const as = async (role: string): Promise<Client> => {
      await bind('ro-a', { role, user: role });
      return world.test.clientAs({ name: role, groups: ['system:authenticated'] });
    };
    const hierarchy = (api: Client, allowCascadingDeletion: boolean): Promise<unknown> =>
      api.patch(
        hierarchyConfigurations,
        { name: 'hierarchy', namespace: 'ro-a' },
        { type: 'merge', patch: { spec: { allowCascadingDeletion } } },
      );
    const [admin, edit, view] = [await as('admin'), await as('edit'), await as('view')];
    // Roles are aggregated a moment later.
    await world.until('edit', () => anchor('ro-b', 'ro-a', edit));
    await world.until('view', async () => {
      const { items } = await view.list(hierarchyConfigurations, { namespace: 'ro-a' });
      return items.length === 1;
    });
    await world.until('admin', () => hierarchy(admin, true).then(() => true));
    await refused(hierarchy(edit, false), 'Forbidden', /User "edit" cannot patch resource/);
    await refused(anchor('ro-c', 'ro-a', view), 'Forbidden', /User "view" cannot create resource/);
  });

  it('refuses parents that make a cycle, do not exist or are not managed', async () => {
    await make('cy-a', 'cy-b', 'cy-c');
    await setParent('cy-b', 'cy-a');
    await setParent('cy-c', 'cy-b');
    await refused(setParent('cy-a', 'cy-a'), 'Conflict', /"cy-a" cannot be set as its own parent/);
    await refused(
      setParent('cy-a', 'cy-c'),
      'Conflict',
      /illegal parent: cycle when making "cy-c" the parent of "cy-a": current ancestry is cy-c -> cy-b -> cy-a/,
    );
    await refused(setParent('cy-a', 'gone'), 'Forbidden', /requested parent "gone" does not exist/);
    await refused(
      setParent('cy-a', 'kube-system'),
      'Forbidden',
      /"kube-system" is not managed by HNC .* cannot be set as the parent/,
    );
    await refused(setParent('kube-system', 'cy-a'), 'Forbidden', /cannot be set as a child of another/);
    await refused(
      api.create(hierarchyConfigurations, {
        metadata: { name: 'hierarchy', namespace: 'cy-a' },
        spec: { labels: [{ key: 'team', value: 'a' }] },
      }),
      'Invalid',
      /spec\.labels: Invalid value: "team": not a managed label and cannot be configured/,
    );
    await refused(
      api.create(hierarchyConfigurations, { metadata: { name: 'other', namespace: 'cy-a' } }),
      'Invalid',
      /metadata\.name/,
    );
  });

  it('asks for authority over the old root and the new parent, or what they have in common', async () => {
    await make('au-root', 'au-left', 'au-right', 'au-own', 'au-other');
    for (const child of ['au-left', 'au-right']) await setParent(child, 'au-root');
    for (const namespace of ['au-own', 'au-left', 'au-right']) await grant(namespace);
    await refused(
      setParent('au-own', 'au-root', jane),
      'Forbidden',
      /User jane is not authorized to modify the subtree of au-root, which is the proposed parent/,
    );
    await setParent('au-own', 'au-left', jane);
    await refused(
      setParent('au-own', 'au-right', jane),
      'Forbidden',
      /subtree of au-root, which is the most recent common ancestor of current parent "au-left" and proposed parent "au-right"/,
    );
    await refused(setParent('au-own', '', jane), 'Forbidden', /au-root, which is the current root ancestor/);
    await refused(
      jane.delete(hierarchyConfigurations, { name: 'hierarchy', namespace: 'au-own' }),
      'Forbidden',
      /au-root, which is the current root ancestor/,
    );
    await refused(
      setParent('au-own', 'au-other', jane),
      'Forbidden',
      /au-root, which is the current root ancestor/,
    );
    await grant('au-root');
    await setParent('au-own', 'au-right', jane);
    await setParent('au-own', '', jane);
  });

  it('changes nothing below an ancestor that is halted, only that one', async () => {
    await make('ha-a', 'ha-b', 'ha-c', 'ha-d');
    await setParent('ha-b', 'ha-a');
    await setParent('ha-c', 'ha-b');
    await api.delete(namespaces, { name: 'ha-a' });
    await world.until('gone', async () => !(await world.find(namespaces, { name: 'ha-a' })));
    await refused(
      setParent('ha-c', 'ha-d'),
      'Forbidden',
      /ancestor "ha-b" of namespace "ha-c" has a critical condition, which must be resolved before/,
    );
    await setParent('ha-b', 'ha-d');
    await setParent('ha-c', 'ha-d');
  });

  it('leaves the namespaces of another manager to it', async () => {
    const annotations = { [`${GROUP}/managed-by`]: 'other' };
    await api.create(namespaces, { metadata: { name: 'ot-a', annotations } });
    await make('ot-b');
    await refused(
      setParent('ot-a', 'ot-b'),
      'Forbidden',
      /namespace "ot-a" is managed by "other", not HNC, so it cannot have a parent in HNC/,
    );
    await setParent('ot-b', 'ot-a');
  });

  it('takes no parent by an annotation that the user might not set', async () => {
    const rules = [{ apiGroups: [''], resources: ['namespaces'], verbs: ['*'] }];
    await api.create(clusterRoles, { metadata: { name: 'all-namespaces' }, rules });
    await api.create(clusterRoleBindings, {
      metadata: { name: 'kim' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'all-namespaces' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'kim' }],
    });
    const kim = world.test.clientAs({ name: 'kim', groups: ['system:authenticated'] });
    await make('an-victim');
    const annotations = { [`${GROUP}/subnamespace-of`]: 'an-victim' };
    await refused(
      kim.create(namespaces, { metadata: { name: 'an-thief', annotations } }),
      'Forbidden',
      /User kim is not authorized to modify the subtree of an-victim, which is the proposed parent/,
    );
    await kim.create(namespaces, { metadata: { name: 'an-thief' } });
    const patch = { metadata: { annotations } };
    await refused(
      kim.patch(namespaces, { name: 'an-thief' }, { type: 'merge', patch }),
      'Forbidden',
      /subtree of an-victim/,
    );
    await api.patch(namespaces, { name: 'an-thief' }, { type: 'merge', patch });
  });

  it('keeps subnamespaces with their parents, and anchors with what they stand for', async () => {
    await make('su-a', 'su-b');
    await subnamespace('su-child', 'su-a');
    await subnamespace('su-leaf', 'su-child');
    await world.until('hierarchy', () =>
      world.find(hierarchyConfigurations, { name: 'hierarchy', namespace: 'su-child' }),
    );
    await refused(
      setParent('su-child', 'su-b'),
      'Conflict',
      /Cannot set the parent of "su-child" to "su-b" because it's a subnamespace of "su-a"/,
    );
    await refused(
      anchor('su-b', 'su-a'),
      'Conflict',
      /cannot create a subnamespace using an existing namespace/,
    );
    await refused(
      anchor('kube-system', 'su-a'),
      'Forbidden',
      /using the unmanaged namespace name "kube-system"/,
    );
    await refused(anchor('x', 'kube-system'), 'Forbidden', /in the unmanaged namespace "kube-system"/);
    await refused(anchor('a.b', 'su-a'), 'Invalid', /metadata\.name: .* not a valid namespace name/);
    await refused(
      api.delete(namespaces, { name: 'su-child' }),
      'Forbidden',
      /is a subnamespace\. Please delete the anchor from the parent namespace su-a/,
    );
    await refused(api.delete(namespaces, { name: 'su-a' }), 'Forbidden', /contains subnamespaces/);
    const child = { name: 'su-child', namespace: 'su-a' };
    await refused(
      api.delete(subnamespaceAnchors, child),
      'Forbidden',
      /subnamespace su-child is not a leaf and doesn't allow cascading deletion/,
    );
    const patch = { spec: { allowCascadingDeletion: true } };
    const hierarchy = { name: 'hierarchy', namespace: 'su-child' };
    await api.patch(hierarchyConfigurations, hierarchy, { type: 'merge', patch });
    await api.delete(subnamespaceAnchors, child);
    await world.until('gone', async () => {
      const left = (await api.list(namespaces)).items.map(({ metadata }) => metadata.name);
      return !left.includes('su-child') && !left.includes('su-leaf');
    });
  });

  it('leaves the labels of trees to the controller', async () => {
    await api.create(namespaces, { metadata: { name: 'la-a' } });
    assert.equal((await labelsOf('la-a'))[`${GROUP}/included-namespace`], 'true');
    await world.until('depth', async () => (await labelsOf('la-a'))[`la-a.tree.${GROUP}/depth`]);
    const relabel = (labels: Record<string, string | null>) =>
      api.patch(namespaces, { name: 'la-a' }, { type: 'merge', patch: { metadata: { labels } } });
    const forged = { [`prod.tree.${GROUP}/depth`]: '1' };
    await refused(relabel(forged), 'Forbidden', /cannot set or modify tree label "prod\.tree/);
    await refused(
      relabel({ [`la-a.tree.${GROUP}/depth`]: null }),
      'Forbidden',
      /cannot remove tree label "la-a\.tree\.hnc\.x-k8s\.io\/depth" in namespace "la-a"/,
    );
    await refused(
      relabel({ [`${GROUP}/included-namespace`]: 'no' }),
      'Forbidden',
      /has to be set as true on all managed namespaces/,
    );
    await refused(
      api.create(namespaces, { metadata: { name: 'la-b', labels: forged } }),
      'Forbidden',
      /tree label/,
    );
    await relabel({ team: 'a' });
    await make('la-c');
    await setParent('la-c', 'la-a');
    const annotations = { [`${GROUP}/managed-by`]: 'other' };
    await refused(
      api.patch(namespaces, { name: 'la-c' }, { type: 'merge', patch: { metadata: { annotations } } }),
      'Forbidden',
      /is a child of "la-a"\. Namespaces with parents defined by HNC cannot also be managed externally/,
    );
  });

  it('leaves copies to the controller', async () => {
    await make('co-a', 'co-b');
    await setParent('co-b', 'co-a');
    await makeMap('settings', 'co-a');
    await copied('settings', 'co-b');
    const name = { name: 'settings', namespace: 'co-b' };
    const change = (patch: object) => api.patch(configMaps, name, { type: 'merge', patch });
    await refused(
      change({ data: { a: '2' } }),
      'Forbidden',
      /configmaps "co-b\/settings" is forbidden: cannot modify object propagated from namespace "co-a"/,
    );
    await refused(change({ metadata: { labels: { mine: 'true' } } }), 'Forbidden', /cannot modify object/);
    await refused(
      change({ metadata: { labels: { [FROM]: null } } }),
      'Forbidden',
      /cannot modify the label "hnc\.x-k8s\.io\/inherited-from"/,
    );
    await refused(
      api.delete(configMaps, name),
      'Forbidden',
      /cannot delete object propagated from namespace "co-a"/,
    );
    await refused(
      api.create(configMaps, { metadata: { name: 'x', namespace: 'co-b', labels: { [FROM]: 'co-a' } } }),
      'Forbidden',
      /cannot create objects with the label "hnc\.x-k8s\.io\/inherited-from"/,
    );
    await api.delete(namespaces, { name: 'co-b' });
    await world.until('gone', async () => !(await world.find(namespaces, { name: 'co-b' })));
  });

  it('refuses what would overwrite an object below', async () => {
    await make('ow-a', 'ow-b', 'ow-c');
    await setParent('ow-b', 'ow-a');
    await makeMap('taken', 'ow-b');
    const treeSelect = `propagate.${GROUP}/treeSelect`;
    await refused(
      makeMap('taken', 'ow-a'),
      'Conflict',
      /"ow-a\/taken": would overwrite objects in the following descendant namespace\(s\): ow-b\. To fix this/,
    );
    await makeMap('taken', 'ow-a', { [treeSelect]: '!ow-b' });
    await refused(
      api.patch(
        configMaps,
        { name: 'taken', namespace: 'ow-a' },
        { type: 'merge', patch: { metadata: { annotations: { [treeSelect]: null } } } },
      ),
      'Conflict',
      /would overwrite objects/,
    );
    await makeMap('other', 'ow-a');
    await makeMap('other', 'ow-c');
    await refused(
      setParent('ow-c', 'ow-a'),
      'Conflict',
      /would overwrite the following object\(s\):\n {2}\* Namespace "ow-c": other \(\/v1, Kind=ConfigMap\)\nTo fix/,
    );
    await configure({ resource: 'configmaps', mode: 'Ignore' });
    await setParent('ow-c', 'ow-a');
    await refused(
      configure({ resource: 'configmaps' }),
      'Conflict',
      /setting type "\/v1, Kind=ConfigMap" .*\n {2}Object "other" in namespace "ow-a" would overwrite the one in "ow-c"\n/,
    );
    await setParent('ow-c', '');
    await configure({ resource: 'configmaps' }, { resource: 'secrets', mode: 'AllowPropagate' });
  });

  it('reads the exceptions of sources', async () => {
    await make('ex-a');
    const secret = (key: string, value: string, more = {}) =>
      api.create(secrets, {
        metadata: {
          name: 's',
          namespace: 'ex-a',
          annotations: { [`propagate.${GROUP}/${key}`]: value, ...more },
        },
      });
    for (const [key, value, message] of [
      ['select', 'a=(', /^invalid Kubernetes labelSelector: while parsing "propagate/],
      ['treeSelect', 'a, b', /invalid HNC "propagate.*\/treeSelect" value: should only have one non-negated/],
      ['treeSelect', 'A', /"A" is not a valid namespace name: a lowercase RFC 1123 label/],
      [
        'none',
        'maybe',
        /invalid propagate.*\/none value: strconv\.ParseBool: parsing "maybe": invalid syntax/,
      ],
      ['every', 'true', /invalid HNC exceptions annotation: propagate.*\/every, should be one of/],
    ] as const)
      await refused(secret(key, value), 'BadRequest', message);
    await refused(
      secret('select', 'a', { [`propagate.${GROUP}/all`]: 'true' }),
      'BadRequest',
      /cannot have more than one selector at the same time, but got multiple: propagate.*\/select, propagate.*\/all/,
    );
    await secret('treeSelect', '!b, !c');
  });

  it('takes kinds that exist, once, and not those that always propagate', async () => {
    await refused(
      configure(
        { resource: 'nothings' },
        { resource: 'nodes' },
        { group: 'rbac.authorization.k8s.io', resource: 'roles' },
        { resource: 'secrets' },
        { resource: 'secrets', mode: 'Remove' },
      ),
      'Invalid',
      /spec\.resources\[0\]: .*no matches for \/, Resource=nothings, spec\.resources\[1\]: .*resource "nodes" is not namespaced, spec\.resources\[2\]: .*always uses the 'Propagate' mode and cannot be configured, spec\.resources\[4\]: Duplicate value/,
    );
    await refused(
      api.delete(hncConfigurations, { name: 'config' }),
      'Forbidden',
      /deleting the 'config' object is forbidden/,
    );
    await refused(
      api.create(hncConfigurations, { metadata: { name: 'other' } }),
      'Invalid',
      /metadata\.name/,
    );
  });

  it('ends with the definitions, and comes back with them', async () => {
    await make('en-a', 'en-b');
    for (const name of [
      'hierarchicalresourcequotas',
      'subnamespaceanchors',
      'hncconfigurations',
      'hierarchyconfigurations',
    ])
      await api.delete(customResourceDefinitions, { name: `${name}.${GROUP}` });
    await world.until('gone', async () => {
      const { items } = await api.list(customResourceDefinitions);
      return !items.some(({ spec }) => spec.group === GROUP);
    });
    await api.create(namespaces, {
      metadata: { name: 'en-c', labels: { [`x.tree.${GROUP}/depth`]: '1' } },
    });
    await enableHierarchy({ api, clock: realClock, signal: AbortSignal.timeout(20_000) });
    await setParent('en-b', 'en-a');
    await refused(setParent('en-a', 'en-b'), 'Conflict', /illegal parent: cycle/);
  });
});
