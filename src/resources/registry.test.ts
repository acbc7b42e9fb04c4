import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { builtinResources } from '#api/resources.ts';
import type { KubeObject } from '#machinery/object.ts';
import { RESOURCES, resourceByKind, resourceByPath } from './registry.ts';

const goldenRoot = join(import.meta.dirname, '../../../shared/kubernetes-1.36/golden-objects');
const context = {
  user: { name: 'tester', groups: [] },
  nowMs: 0,
  dryRun: false,
  warn: () => {},
  find: () => undefined,
};

test('every built-in resource in every version has a record', () => {
  for (const fact of builtinResources)
    assert.ok(
      resourceByPath(fact.group, fact.version, fact.plural),
      `${fact.group}/${fact.version}/${fact.plural}`,
    );
});

test("storage prefixes are upstream's, and only events share one", () => {
  const prefixes = RESOURCES.filter(({ virtual }) => !virtual).map(({ storagePrefix }) => storagePrefix);
  assert.deepEqual(
    prefixes.filter((prefix, i) => prefixes.indexOf(prefix) < i),
    ['/registry/events/'],
  );
  const of = (group: string, plural: string): string | undefined =>
    RESOURCES.find((resource) => resource.group === group && resource.plural === plural)?.storagePrefix;
  assert.equal(of('', 'services'), '/registry/services/specs/');
  assert.equal(of('', 'endpoints'), '/registry/services/endpoints/');
  assert.equal(of('', 'nodes'), '/registry/minions/');
  assert.equal(of('', 'replicationcontrollers'), '/registry/controllers/');
  assert.equal(of('networking.k8s.io', 'ingresses'), '/registry/ingress/');
  assert.equal(of('apps', 'deployments'), '/registry/deployments/');
  assert.equal(
    of('apiextensions.k8s.io', 'customresourcedefinitions'),
    '/registry/apiextensions.k8s.io/customresourcedefinitions/',
  );
});

test('lookups', () => {
  assert.equal(
    resourceByPath('autoscaling', 'v1', 'horizontalpodautoscalers')?.storageApiVersion,
    'autoscaling/v2',
  );
  assert.equal(resourceByPath('events.k8s.io', 'v1', 'events')?.storageApiVersion, 'v1');
  assert.equal(resourceByKind('apps', 'v1', 'Deployment')?.plural, 'deployments');
  assert.equal(resourceByPath('apps', 'v2', 'deployments'), undefined);
});

test('a row has as many cells as there are columns, also for an empty object', () => {
  for (const { table, plural } of RESOURCES)
    assert.equal(table.row({ metadata: {} }, { nowMs: 0 }).length, table.columns.length, plural);
});

const GROUP_FOLDERS: Readonly<Record<string, string>> = { '': 'core' };

test(
  'no hook throws on an object with every field set, and defaults and conversions are stable',
  { skip: !existsSync(goldenRoot) && 'the specifications are absent' },
  () => {
    let seen = 0;
    for (const resource of RESOURCES) {
      for (const { version, kind, apiVersion } of resource.versions) {
        const path = join(
          goldenRoot,
          `${GROUP_FOLDERS[resource.group] ?? resource.group}.${version}.${kind}.json`,
        );
        if (resource.virtual || !existsSync(path)) continue;
        seen++;
        const golden = JSON.parse(readFileSync(path, 'utf8')) as KubeObject;
        const object = resource.convert(golden, resource.storageApiVersion);
        assert.equal(object.apiVersion, resource.storageApiVersion);
        resource.applyDefaults(object);
        const once = structuredClone(object);
        resource.applyDefaults(object);
        assert.deepEqual(object, once, `${apiVersion} ${kind}: defaults are not idempotent`);
        resource.validate(object, context);
        resource.warnings(object, undefined);
        resource.table.row(object, { nowMs: 0 });
        for (const selector of Object.values(resource.behaviour.fieldSelectors ?? {}))
          assert.equal(typeof selector(object), 'string');
        resource.scale?.get(object);
        const next = structuredClone(object);
        resource.prepareForUpdate(next, object, context);
        resource.validateUpdate(next, object, context);
        resource.prepareForStatusUpdate(structuredClone(object), object, {
          ...context,
          subresource: 'status',
        });
        resource.validateStatusUpdate(next, object, { ...context, subresource: 'status' });
        const back = resource.convert(resource.convert(once, apiVersion), resource.storageApiVersion);
        assert.equal(back.apiVersion, resource.storageApiVersion);
        resource.prepareForCreate(structuredClone(object), context);
        resource.validate(
          { apiVersion: object.apiVersion!, kind, metadata: { name: 'x' }, spec: {} },
          context,
        );
        const bare: KubeObject = { apiVersion: object.apiVersion!, kind, metadata: { name: 'x' } };
        resource.applyDefaults(bare);
        resource.prepareForCreate(bare, context);
        resource.validate(bare, context);
      }
    }
    assert.ok(seen > 80, `only ${seen} golden objects found`);
  },
);
