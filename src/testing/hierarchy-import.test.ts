/** `capstan tree import`: trees of HNC and of Accurate become those of the controller on a real API server, and no copy is lost on the way. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { customResource, installDefinitions, record } from '#addons/definitions/custom-resource.ts';
import { HIERARCHY_DEFINITIONS, hierarchyConfigurations, hncConfigurations } from '#addons/hierarchy/api.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import { customResourceDefinitions, deployments, namespaces, roles, secrets } from '#client/refs.ts';
import { importTrees } from '#cmd/tree/import.ts';
import { showTrees } from '#cmd/tree/tree.ts';
import { namespaceController } from '#controllers/core/namespace-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { realClock } from '#stdx/clock.ts';

const ACCURATE = 'accurate.cybozu.com';
const FROM = 'hnc.x-k8s.io/inherited-from';
const MANAGED = { 'app.kubernetes.io/managed-by': null };

describe('capstan tree import', () => {
  let world: TestWorld;
  beforeEach(async () => {
    world = await startTestWorld([hierarchyController, namespaceController]);
  });
  afterEach(() => world?.stop());

  const said: string[] = [];
  const print = (line: string): void => void said.push(line);
  const output = (): string => said.splice(0).join('\n');
  const signal = (): AbortSignal => AbortSignal.timeout(20_000);
  /** The controller's clock stands still unless it is advanced. */
  async function imported(dryRun = false): Promise<void> {
    let over = false;
    const work = importTrees({ api: world.api, dryRun }, print).finally(() => (over = true));
    work.catch(() => {});
    await world.until('imported', () => over);
    await work;
  }
  const space = (name: string, labels: Record<string, string> = {}) =>
    world.api.create(namespaces, { metadata: { name, labels } });
  const marks = (values: Record<string, string>): Record<string, string> =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [`${ACCURATE}/${key}`, value]));
  const secret = (name: string, namespace: string, annotations: Record<string, string> = {}) =>
    world.api.create(secrets, {
      metadata: { name, namespace, annotations: marks(annotations) },
      stringData: { a: namespace },
    });
  const role = (name: string, namespace: string, annotations: Record<string, string> = {}) =>
    world.api.create(roles, {
      metadata: { name, namespace, annotations: marks(annotations) },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }],
    });

  async function accurate(): Promise<void> {
    const ref = {
      group: ACCURATE,
      version: 'v2',
      plural: 'subnamespaces',
      kind: 'SubNamespace',
      namespaced: true,
    };
    const definition = customResource({
      ref,
      singular: 'subnamespace',
      isSpecRequired: false,
      spec: record({}),
    });
    await installDefinitions({ api: world.api, clock: realClock, signal: signal() }, [definition]);
    await space('base', marks({ type: 'template' }));
    await space('acme', marks({ type: 'root', template: 'base' }));
    await space('shop', marks({ parent: 'acme' }));
    await space('web', marks({ parent: 'shop' }));
    await secret('pull', 'base', { propagate: 'update' });
    for (const [namespace, from] of [
      ['acme', 'base'],
      ['shop', 'acme'],
      ['web', 'shop'],
    ] as const)
      await secret('pull', namespace, { propagate: 'update', from });
    await secret('once', 'acme', { propagate: 'create' });
    await secret('once', 'shop', { propagate: 'create', from: 'acme' });
    await secret('own', 'acme');
    await role('dev', 'acme', { propagate: 'update' });
    await role('dev', 'shop', { propagate: 'update', from: 'acme' });
    await role('private', 'acme');
  }

  it("takes over Accurate's trees, kinds and copies", async () => {
    await accurate();
    const before = await world.api.get(secrets, { name: 'pull', namespace: 'web' });
    await imported(true);
    assert.match(output(), /shop: subnamespace of acme\n/);
    assert.equal((await world.api.list(customResourceDefinitions)).items.length, 1);
    await imported();
    assert.equal(
      output(),
      [
        'acme: child of base',
        'shop: subnamespace of acme',
        'web: subnamespace of shop',
        'secrets: AllowPropagate',
        'Secret base/pull: propagate.hnc.x-k8s.io/all',
        'Role acme/dev: propagate.hnc.x-k8s.io/all',
        'Role acme/private: propagate.hnc.x-k8s.io/none',
        "4 copies of Accurate's are kept as copies",
        'Secret acme/once: left; Accurate copies it once, here copies are kept true',
        'Hierarchical namespaces are enabled.',
      ].join('\n'),
    );
    await world.until('copy', async () => {
      const { data, metadata } = await world.api.get(secrets, { name: 'pull', namespace: 'web' });
      assert.equal(metadata.uid, before.metadata.uid);
      assert.equal(metadata.labels?.[FROM], 'base');
      return data?.['a'] === Buffer.from('base').toString('base64');
    });
    await world.until('role', () => world.find(roles, { name: 'dev', namespace: 'web' }));
    for (const [ref, name] of [
      [secrets, 'own'],
      [secrets, 'once'],
      [roles, 'private'],
    ] as const)
      assert.equal(await world.find(ref as typeof secrets, { name, namespace: 'web' }), undefined, name);
    assert.ok(await world.find(secrets, { name: 'once', namespace: 'shop' }));
    await world.until('children', async () => {
      await showTrees({ api: world.api, names: ['base'] }, print);
      return output().startsWith('base\n└── acme\n    └── [s] shop\n        └── [s] web\n');
    });
    await assert.rejects(imported(), /has hierarchical namespaces already/);
  });

  it("takes over HNC's objects once its manager is stopped", async () => {
    await assert.rejects(imported(), /neither the definitions of HNC nor those of Accurate/);
    await installDefinitions({ api: world.api, clock: realClock, signal: signal() }, HIERARCHY_DEFINITIONS);
    for (const { metadata } of (await world.api.list(customResourceDefinitions)).items)
      await world.api.patch(
        customResourceDefinitions,
        { name: metadata.name },
        { type: 'merge', patch: { metadata: { labels: MANAGED } } },
      );
    for (const name of ['hnc-system', 'acme', 'shop']) await space(name);
    await world.api.create(hierarchyConfigurations, {
      metadata: { name: 'hierarchy', namespace: 'shop' },
      spec: { parent: 'acme' },
    });
    await role('dev', 'acme');
    const manager = { name: 'hnc-controller-manager', namespace: 'hnc-system' };
    const app = { app: 'hnc' };
    await world.api.create(deployments, {
      metadata: manager,
      spec: {
        replicas: 1,
        selector: { matchLabels: app },
        template: { metadata: { labels: app }, spec: { containers: [{ name: 'm', image: 'm' }] } },
      },
    });
    await assert.rejects(
      imported(),
      /HNC runs: two must not keep the same trees\. `kubectl -n hnc-system scale deployment hnc-controller-manager --replicas=0`/,
    );
    await world.api.patch(deployments, manager, { type: 'merge', patch: { spec: { replicas: 0 } } });
    await imported();
    assert.match(output(), /^1 namespace with a parent; the objects of HNC stay as they are\nHierarchical/);
    await world.until('copy', () => world.find(roles, { name: 'dev', namespace: 'shop' }));
    assert.ok(await world.find(hncConfigurations, { name: 'config' }));
  });
});
