/** Managers that wrote in different versions of a kind, under older schemas, or through subresources. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import type { FieldSchema, ObjectSchema, ValueSchema } from '../schema.ts';
import { applyConfiguration } from './apply-configuration.ts';
import { FieldSet } from './field-set.ts';
import type { KindVersions } from './kind-versions.ts';
import { managedFieldsAfterUpdate, type UpdateRequest } from './managed-fields.ts';
import { capped, listEntries, ownersOf, parseOwners } from './owners.ts';
import { reconciledFields } from './reconcile.ts';
import { managedFieldsWithScale, scaleManagedFields } from './scale-fields.ts';

const text: ValueSchema = { kind: 'scalar', type: 'string' };
function schema(fields: readonly (Partial<FieldSchema> & { readonly name: string })[]): ObjectSchema {
  const full = fields.map((field) => ({ value: text, required: false, ...field }));
  return { name: 'x.Thing', fields: full, byName: new Map(full.map((field) => [field.name, field])) };
}
const object = (of: ObjectSchema): ValueSchema => ({ kind: 'object', type: () => of });
const meta = {
  name: 'metadata',
  value: object(schema([{ name: 'name' }, { name: 'labels', value: { kind: 'map', values: text } }])),
};
const head = [{ name: 'apiVersion' }, { name: 'kind' }, meta, { name: 'status' }];

/** v1 has size where v2 has spec.size. */
const SCHEMAS: Readonly<Record<string, ObjectSchema>> = {
  'x/v1': schema([...head, { name: 'size' }]),
  'x/v2': schema([...head, { name: 'spec', value: object(schema([{ name: 'size' }, { name: 'more' }])) }]),
};
const versions: KindVersions = {
  schemaOf: (apiVersion) => SCHEMAS[apiVersion],
  convert: (from, to) => {
    if (from.apiVersion === to) return from;
    const { size, spec, ...rest } = from as KubeObject & { size?: string; spec?: { size?: string } };
    if (to === 'x/v1')
      return { ...rest, apiVersion: to, ...(spec?.size !== undefined && { size: spec.size }) };
    return { ...rest, apiVersion: to, ...(size !== undefined && { spec: { size } }) };
  },
};
const inVersion = (
  apiVersion: string,
): Pick<UpdateRequest, 'schema' | 'apiVersion' | 'versions' | 'nowMs'> => ({
  schema: SCHEMAS[apiVersion]!,
  apiVersion,
  versions,
  nowMs: 0,
});
const owners = (entries: readonly ManagedFieldsEntry[] | undefined): unknown =>
  Object.fromEntries((entries ?? []).map(({ manager, fieldsV1 }) => [manager, fieldsV1]));
const base = { kind: 'Thing', metadata: { name: 'a' } };

test('a field with another name in another version is the same field', async () => {
  const one = await applyConfiguration({
    ...inVersion('x/v1'),
    live: undefined,
    manager: 'one',
    force: false,
    config: { ...base, apiVersion: 'x/v1', size: '1' } as KubeObject,
  });
  const asTwo = versions.convert(one, 'x/v2') as KubeObject;
  const config = { ...base, apiVersion: 'x/v2', spec: { size: '2', more: 'm' } } as KubeObject;
  await assert.rejects(
    applyConfiguration({ ...inVersion('x/v2'), live: asTwo, manager: 'two', force: false, config }),
    { message: 'Apply failed with 1 conflict: conflict with "one": .size' },
  );
  const forced = await applyConfiguration({
    ...inVersion('x/v2'),
    live: asTwo,
    manager: 'two',
    force: true,
    config,
  });
  assert.deepEqual(owners(forced.metadata?.managedFields), {
    two: { 'f:spec': { 'f:more': {}, 'f:size': {} } },
  });
  const updated = await managedFieldsAfterUpdate({
    ...inVersion('x/v2'),
    live: asTwo,
    next: { ...asTwo, spec: { size: '3' } } as KubeObject,
    manager: 'three',
  });
  assert.deepEqual(owners(updated), { three: { 'f:spec': { 'f:size': {} } } });
  const gone = {
    ...asTwo,
    metadata: {
      ...asTwo.metadata,
      managedFields: [{ ...one.metadata!.managedFields![0]!, apiVersion: 'x/v0' }],
    },
  };
  assert.deepEqual(
    await managedFieldsAfterUpdate({ ...inVersion('x/v2'), live: gone, next: gone, manager: 'three' }),
    [],
    'owners of a version that is gone are',
  );
});

test('an applier in another version than before abandons fields that it no longer applies', async () => {
  const one = await applyConfiguration({
    ...inVersion('x/v1'),
    live: undefined,
    manager: 'one',
    force: false,
    config: { ...base, apiVersion: 'x/v1', size: '1' } as KubeObject,
  });
  const again = await applyConfiguration({
    ...inVersion('x/v2'),
    live: versions.convert(one, 'x/v2') as KubeObject,
    manager: 'one',
    force: false,
    config: { ...base, apiVersion: 'x/v2', metadata: { name: 'a', labels: { l: '1' } } },
  });
  assert.deepEqual(
    [
      (again['spec'] as { size?: string } | undefined)?.size,
      again.metadata?.managedFields?.map(({ apiVersion }) => apiVersion),
    ],
    [undefined, ['x/v2']],
  );
});

test('fields that a subresource does not write neither gain nor lose owners through it', async () => {
  const live = { ...base, apiVersion: 'x/v1', size: '1', status: 's' };
  const entry = {
    manager: 'm',
    operation: 'Update',
    apiVersion: 'x/v1',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:size': {}, 'f:status': {} },
  } as const;
  const owned = { ...live, metadata: { name: 'a', managedFields: [entry] } } as KubeObject;
  const next = { ...live, size: '2', status: 't' } as KubeObject;
  const after = await managedFieldsAfterUpdate({
    ...inVersion('x/v1'),
    live: owned,
    next,
    manager: 'n',
    subresource: 'status',
    written: { without: ['size'] },
  });
  assert.deepEqual(after, [
    { ...entry, fieldsV1: { 'f:size': {} } },
    {
      ...entry,
      manager: 'n',
      subresource: 'status',
      time: '1970-01-01T00:00:00Z',
      fieldsV1: { 'f:status': {} },
    },
  ]);
});

test('entries that a client sends are used if all can be parsed', async () => {
  const entry = (more: object): ManagedFieldsEntry => ({
    manager: 'm',
    operation: 'Update',
    apiVersion: 'x/v1',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:size': {} },
    ...more,
  });
  for (const more of [
    { operation: 'Nope' },
    { apiVersion: '' },
    { fieldsType: '' },
    { fieldsV1: 'x' },
    { fieldsV1: { nope: {} } },
    { fieldsV1: { 'f:a': 1 } },
    { fieldsV1: { 'k:[]': {} } },
  ])
    assert.equal(parseOwners([entry(more)]), undefined, JSON.stringify(more));
  assert.deepEqual(
    listEntries(parseOwners([entry({ fieldsV1: { 'f:size': { 'z:new': {} } } })])!),
    [entry({})],
    'elements of a kind to come are left out',
  );
  const live = {
    ...base,
    apiVersion: 'x/v1',
    metadata: { name: 'a', managedFields: [entry({})] },
    size: '1',
  } as KubeObject;
  const sent = (managedFields: object[]): unknown =>
    managedFieldsAfterUpdate({
      ...inVersion('x/v1'),
      live,
      next: { ...live, metadata: { name: 'a', managedFields: managedFields as ManagedFieldsEntry[] } },
      manager: 'n',
    });
  assert.deepEqual(
    [
      await sent([]),
      await sent([{}]),
      owners((await sent([entry({ operation: 'Nope' })])) as ManagedFieldsEntry[]),
      owners((await sent([entry({ manager: 'o' })])) as ManagedFieldsEntry[]),
    ],
    [[], [], { m: { 'f:size': {} } }, { o: { 'f:size': {} } }],
  );
});

test('the oldest of too many updaters are merged per version, appliers are kept', () => {
  const entries = Array.from({ length: 13 }, (_, at): ManagedFieldsEntry => ({
    manager: `m${at}`,
    operation: at === 5 ? 'Apply' : 'Update',
    apiVersion: at % 2 === 0 ? 'x/v1' : 'x/v2',
    time: `2020-01-01T00:00:${10 + at}Z`,
    fieldsType: 'FieldsV1',
    fieldsV1: { [`f:${at}`]: {} },
    ...(at === 2 && { subresource: 'status' }),
  }));
  const kept = listEntries(capped(ownersOf(entries)));
  assert.deepEqual(kept.map(({ manager }) => manager).toSorted(), [
    'ancient-changes',
    'ancient-changes',
    'm10',
    'm11',
    'm12',
    'm4',
    'm5',
    'm6',
    'm7',
    'm8',
    'm9',
  ]);
  assert.deepEqual(
    kept
      .filter(({ manager }) => manager === 'ancient-changes')
      .map(({ apiVersion, time, fieldsV1, subresource }) => [apiVersion, time, fieldsV1, subresource]),
    [
      ['x/v1', '2020-01-01T00:00:12Z', { 'f:0': {}, 'f:2': {} }, undefined],
      ['x/v2', '2020-01-01T00:00:13Z', { 'f:1': {}, 'f:3': {} }, undefined],
    ],
  );
});

test('the owner of a part of a value that became atomic owns the whole', () => {
  const part = object(schema([{ name: 'a' }, { name: 'b' }]));
  const today = schema([
    { name: 'whole', value: part, atomic: true },
    { name: 'list', value: { kind: 'list', items: text, listType: 'atomic' } },
    { name: 'parts', value: part },
  ]);
  const fields = {
    'f:list': { 'v:"x"': {} },
    'f:parts': { 'f:a': {} },
    'f:unknown': { 'f:a': {} },
    'f:whole': { '.': {}, 'f:a': {} },
  };
  assert.deepEqual(reconciledFields(fields, today), {
    'f:list': {},
    'f:parts': { 'f:a': {} },
    'f:unknown': { 'f:a': {} },
    'f:whole': {},
  });
  const fitting = { 'f:list': {}, 'f:parts': { 'f:a': {} }, 'f:whole': {} };
  assert.equal(reconciledFields(fitting, today), fitting);
});

test('a Scale has the owners of replicas; as upstream, an updater of the object gets a second entry', () => {
  const entry = (manager: string, operation: string, fieldsV1: object): ManagedFieldsEntry =>
    ({
      manager,
      operation,
      apiVersion: 'apps/v1',
      time: '2020-01-01T00:00:00Z',
      fieldsType: 'FieldsV1',
      fieldsV1,
    }) as ManagedFieldsEntry;
  const deployment: KubeObject = {
    metadata: {
      managedFields: [
        entry('a', 'Apply', { 'f:spec': { 'f:replicas': {}, 'f:x': {} } }),
        entry('u', 'Update', { 'f:spec': { 'f:replicas': {}, 'f:y': {} } }),
        entry('z', 'Update', { 'f:spec': { 'f:z': {} } }),
      ],
    },
  };
  const paths = (apiVersion: string): readonly string[] | undefined =>
    apiVersion === 'apps/v1' ? ['spec', 'replicas'] : undefined;
  const inScale = scaleManagedFields(deployment, paths);
  assert.deepEqual(
    inScale.map(({ manager, apiVersion, fieldsV1 }) => [manager, apiVersion, fieldsV1]),
    [
      ['a', 'autoscaling/v1', { 'f:spec': { 'f:replicas': {} } }],
      ['u', 'autoscaling/v1', { 'f:spec': { 'f:replicas': {} } }],
    ],
  );
  const back = managedFieldsWithScale(deployment, inScale, { paths, apiVersion: 'apps/v1' });
  assert.deepEqual(
    back.map(({ manager, time, fieldsV1 }) => [manager, time !== undefined, fieldsV1]),
    [
      ['a', true, { 'f:spec': { 'f:replicas': {}, 'f:x': {} } }],
      ['u', false, { 'f:spec': { 'f:replicas': {} } }],
      ['u', true, { 'f:spec': { 'f:y': {} } }],
      ['z', true, { 'f:spec': { 'f:z': {} } }],
    ],
  );
  const stolen = managedFieldsWithScale(deployment, [], { paths, apiVersion: 'apps/v1' });
  assert.deepEqual(owners(stolen), {
    a: { 'f:spec': { 'f:x': {} } },
    u: { 'f:spec': { 'f:y': {} } },
    z: { 'f:spec': { 'f:z': {} } },
  });
});

test('conflicts list the fields of a level before those below it', () => {
  assert.deepEqual(FieldSet.of(['f:b'], ['f:a', 'f:z'], ['f:a', 'f:y', 'f:x'], ['f:c']).paths(), [
    ['f:b'],
    ['f:c'],
    ['f:a', 'f:z'],
    ['f:a', 'f:y', 'f:x'],
  ]);
});
