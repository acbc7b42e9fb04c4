import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FieldSchema, ObjectSchema, ValueSchema } from '#machinery/schema.ts';
import { builtinResources } from './resources.ts';
import { definitionForKind, schemaForKind, schemaOf, servedSchemaTable } from './schemas.ts';

function field(schema: ObjectSchema | undefined, name: string): FieldSchema {
  const found = schema?.byName.get(name);
  assert.ok(found, `field ${name}`);
  return found;
}

test('fields carry what the specification says of them', () => {
  const podSpec = schemaOf('io.k8s.api.core.v1.PodSpec');
  const containers = field(podSpec, 'containers');
  assert.deepEqual(
    [containers.required, containers.number, containers.patchStrategy, containers.patchMergeKey],
    [true, 2, ['merge'], 'name'],
  );
  assert.ok(containers.value.kind === 'list' && containers.value.listType === 'map');
  assert.deepEqual(containers.value.mapKeys, ['name']);
  assert.deepEqual(field(podSpec, 'volumes').patchStrategy, ['merge', 'retainKeys']);
  assert.deepEqual(
    [field(podSpec, 'priority').zero, field(podSpec, 'hostNetwork').zero],
    ['distinct', 'omitted'],
  );
  const port = schemaOf('io.k8s.api.core.v1.ContainerPort');
  assert.deepEqual([field(port, 'protocol').default, field(port, 'containerPort').default], ['TCP', 0]);
  assert.deepEqual(field(schemaOf('io.k8s.api.core.v1.Volume'), 'emptyDir').embeddedIn, [2]);
  assert.equal(field(schemaOf('io.k8s.api.core.v1.EnvVarSource'), 'secretKeyRef').atomic, true);
});

test('types that refer to themselves are one schema', () => {
  const properties = schemaOf('io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps');
  const value = field(properties, 'properties').value;
  assert.ok(value.kind === 'map' && value.values.kind === 'object');
  assert.equal(value.values.type(), properties);
});

test('every resource, its list and its subresources have schemas', () => {
  for (const { group, version, kind, verbs, subresources = [] } of builtinResources) {
    assert.ok(schemaForKind({ group, version, kind }), kind);
    if (verbs.includes('list'))
      assert.ok(schemaForKind({ group, version, kind: `${kind}List` }), `${kind}List`);
    for (const subresource of subresources) {
      assert.ok(
        schemaForKind({
          group: subresource.group ?? group,
          version: subresource.version ?? version,
          kind: subresource.kind,
        }),
        subresource.name,
      );
    }
  }
});

test('every reference in the tables leads somewhere', () => {
  const inner = (value: ValueSchema): ValueSchema =>
    value.kind === 'list' ? inner(value.items) : value.kind === 'map' ? inner(value.values) : value;
  for (const [packageName, types] of Object.entries(servedSchemaTable())) {
    for (const [name, entry] of Object.entries(types)) {
      for (const { value } of entry.f ? schemaOf(`${packageName}.${name}`).fields : []) {
        const element = inner(value);
        if (element.kind === 'object') assert.ok(element.type().fields);
      }
    }
  }
});

test('kinds outside the specification are known, unknown ones are not', () => {
  assert.equal(
    definitionForKind({ group: 'admission.k8s.io', version: 'v1', kind: 'AdmissionReview' }),
    'io.k8s.api.admission.v1.AdmissionReview',
  );
  assert.equal(
    definitionForKind({ group: 'apps', version: 'v1', kind: 'DeleteOptions' }),
    'io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions',
  );
  assert.equal(
    definitionForKind({ group: 'meta.k8s.io', version: 'v1', kind: 'PartialObjectMetadata' }),
    'io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata',
  );
  assert.equal(schemaForKind({ group: 'stable.example.com', version: 'v1', kind: 'Widget' }), undefined);
  assert.throws(() => schemaOf('io.k8s.api.core.v1.Nothing'), /No schema of type io.k8s.api.core.v1.Nothing/);
  assert.throws(
    () => schemaOf('io.k8s.apimachinery.pkg.api.resource.Quantity'),
    /is a quantity, not an object/,
  );
});
