import assert from 'node:assert/strict';
import { test } from 'node:test';
import { customResourceDocument, customSchemas } from './custom-resources.ts';
import type { Operation } from './paths.ts';
import { definitionsIn } from './v3.ts';
import type { ResourceFacts } from '#api/resources.ts';

const facts: ResourceFacts = {
  group: 'stable.example.com',
  version: 'v1',
  plural: 'crontabs',
  singular: 'crontab',
  kind: 'CronTab',
  namespaced: true,
  verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'],
  returnsDeleted: false,
  subresources: [
    { name: 'status', kind: 'CronTab', verbs: ['get', 'patch', 'update'] },
    { name: 'scale', kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: ['get', 'patch', 'update'] },
  ],
};

test('a custom resource has a document like the built-in ones', () => {
  const schema = {
    type: 'object',
    description: 'A table of times.',
    properties: { spec: { type: 'object', properties: { cronSpec: { type: 'string' } } } },
  };
  const document = customResourceDocument([{ facts, schema }]);
  const object = document.paths['/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}']!;
  const patch = object['patch'] as Operation;
  assert.equal(patch.operationId, 'patchStableExampleComV1NamespacedCronTab');
  assert.deepEqual(Object.keys(patch.requestBody!.content), [
    'application/apply-patch+yaml',
    'application/json-patch+json',
    'application/merge-patch+json',
  ]);
  assert.deepEqual(patch['x-kubernetes-group-version-kind'], {
    group: 'stable.example.com',
    version: 'v1',
    kind: 'CronTab',
  });
  const schemas = document.components.schemas!;
  const definition = schemas['com.example.stable.v1.CronTab']!;
  assert.deepEqual(definition['x-kubernetes-group-version-kind'], [
    { group: 'stable.example.com', kind: 'CronTab', version: 'v1' },
  ]);
  assert.deepEqual(Object.keys(definition['properties'] as object), [
    'spec',
    'apiVersion',
    'kind',
    'metadata',
  ]);
  assert.ok(schemas['io.k8s.api.autoscaling.v1.Scale']);
  assert.equal(Object.hasOwn(schema.properties, 'metadata'), false, "the author's schema is not changed");
  for (const name of definitionsIn(document)) assert.ok(schemas[name], `${name} is defined`);
});

test('lists are of the kind that their author gave them', () => {
  const document = customResourceDocument([{ facts, listKind: 'Timetable' }]);
  const list = document.paths['/apis/stable.example.com/v1/crontabs']!['get'] as Operation;
  assert.deepEqual(list.responses['200']!.content!['application/json'], {
    schema: { $ref: '#/components/schemas/com.example.stable.v1.Timetable' },
  });
  assert.ok(document.components.schemas!['com.example.stable.v1.Timetable']);
});

test('an object that takes any field has none of its own in version 2, and none at all without a schema', () => {
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const of = (openapi: 2 | 3, schema?: object): object =>
    customSchemas([{ facts, ...(schema && { schema: { ...schema } }) }], { paths: {}, style: { openapi } })[
      'com.example.stable.v1.CronTab'
    ]!;
  const bare = {
    type: 'object',
    'x-kubernetes-group-version-kind': [{ group: 'stable.example.com', kind: 'CronTab', version: 'v1' }],
  };
  assert.deepEqual([of(2), of(3), of(2, open)], [bare, bare, bare]);
  assert.deepEqual(Object.keys((of(3, open) as { properties: object }).properties), [
    'apiVersion',
    'kind',
    'metadata',
  ]);
});
