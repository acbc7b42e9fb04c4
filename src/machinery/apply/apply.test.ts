import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isStatusError, type StatusError } from '../errors.ts';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '../schema.ts';
import { FieldSet, printPath } from './field-set.ts';
import { applyConfiguration } from './apply-configuration.ts';
import { managedFieldsAfterUpdate, managedFieldsBySets } from './managed-fields.ts';
import { compareValues, mergeValues, toFieldSet } from './typed.ts';

const scalar = (type: ScalarType): ValueSchema => ({ kind: 'scalar', type });
const text = scalar('string');
function schema(name: string, fields: Partial<FieldSchema>[]): ObjectSchema {
  const full = fields.map(
    (field) => ({ value: text, required: false, zero: 'omitted', ...field }) as FieldSchema,
  );
  return { name, fields: full, byName: new Map(full.map((field) => [field.name, field])) };
}
const listOf = (items: ObjectSchema, ...mapKeys: string[]): ValueSchema => ({
  kind: 'list',
  items: { kind: 'object', type: () => items },
  listType: 'map',
  mapKeys,
});

const port = schema('x.v1.Port', [
  { name: 'port', value: scalar('int32'), zero: 'written', default: 0 },
  { name: 'protocol', default: 'TCP' },
  { name: 'name' },
]);
const container = schema('x.v1.Container', [
  { name: 'name', zero: 'written', default: '' },
  { name: 'image' },
  { name: 'args', value: { kind: 'list', items: text, listType: 'atomic' } },
  { name: 'ports', value: listOf(port, 'port', 'protocol') },
]);
const spec = schema('x.v1.Spec', [
  { name: 'replicas', value: scalar('int32'), zero: 'distinct' },
  { name: 'containers', value: listOf(container, 'name') },
  {
    name: 'strategy',
    value: { kind: 'object', type: () => schema('x.v1.Strategy', [{ name: 'type' }]) },
    zero: 'written',
    default: {},
  },
]);
const meta = schema('x.v1.ObjectMeta', [
  { name: 'name' },
  { name: 'labels', value: { kind: 'map', values: text } },
  { name: 'finalizers', value: { kind: 'list', items: text, listType: 'set' } },
]);
const thing = schema('x.v1.Thing', [
  { name: 'apiVersion' },
  { name: 'kind' },
  { name: 'metadata', value: { kind: 'object', type: () => meta }, zero: 'written' },
  { name: 'spec', value: { kind: 'object', type: () => spec }, zero: 'written', default: {} },
  { name: 'status', value: { kind: 'map', values: text } },
]);
const type: ValueSchema = { kind: 'object', type: () => thing };

const base = { schema: thing, apiVersion: 'x/v1', nowMs: 0 };
const head = { apiVersion: 'x/v1', kind: 'Thing' };
const apply = (
  live: KubeObject | undefined,
  manager: string,
  config: object,
  force = false,
): Promise<KubeObject> =>
  applyConfiguration({ ...base, live, manager, force, config: { ...head, ...config } });
async function update(live: KubeObject | undefined, manager: string, next: object): Promise<KubeObject> {
  const object = { ...head, ...next } as KubeObject;
  return {
    ...object,
    metadata: {
      ...object.metadata,
      managedFields: await managedFieldsAfterUpdate({ ...base, live, next: object, manager }),
    },
  };
}
const fieldsOf = (object: KubeObject, manager: string): unknown =>
  object.metadata?.managedFields?.find((entry) => entry.manager === manager)?.fieldsV1;
const bare = ({ metadata, ...rest }: KubeObject): unknown => {
  const { managedFields: _, ...kept } = metadata ?? {};
  return { ...rest, metadata: kept };
};

test('the first apply owns its fields, in the form of FieldsV1', async () => {
  const object = await apply(undefined, 'kubectl', {
    metadata: { name: 'a', labels: { app: 'x' }, finalizers: ['f/g'] },
    spec: { replicas: 1, containers: [{ name: 'c', args: ['1'], ports: [{ port: 80 }] }] },
  });
  assert.deepEqual(object.metadata?.managedFields, [
    {
      manager: 'kubectl',
      operation: 'Apply',
      apiVersion: 'x/v1',
      time: '1970-01-01T00:00:00Z',
      fieldsType: 'FieldsV1',
      fieldsV1: {
        'f:metadata': { 'f:finalizers': { 'v:"f/g"': {} }, 'f:labels': { 'f:app': {} } },
        'f:spec': {
          'f:containers': {
            'k:{"name":"c"}': {
              '.': {},
              'f:args': {},
              'f:name': {},
              'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:port': {} } },
            },
          },
          'f:replicas': {},
        },
      },
    },
  ] satisfies ManagedFieldsEntry[]);
});

test('removes fields that are no longer applied, unless another manager owns them', async () => {
  const first = await apply(undefined, 'a', {
    metadata: { name: 'x', labels: { one: '1', two: '2', three: '3' } },
    spec: { containers: [{ name: 'c' }, { name: 'd' }] },
  });
  const shared = await apply(first, 'b', { metadata: { name: 'x', labels: { two: '2' } } });
  const second = await apply(shared, 'a', {
    metadata: { name: 'x', labels: { one: '1' } },
    spec: { containers: [{ name: 'd' }] },
  });
  assert.deepEqual(bare(second), {
    ...head,
    metadata: { name: 'x', labels: { one: '1', two: '2' } },
    spec: { containers: [{ name: 'd' }] },
  });
  assert.equal(
    await apply(second, 'a', {
      metadata: { name: 'x', labels: { one: '1' } },
      spec: { containers: [{ name: 'd' }] },
    }),
    second,
  );
});

test('the time of an applier is that of its last apply that changed anything', async () => {
  const at = (live: KubeObject | undefined, nowMs: number, spec: object): Promise<KubeObject> =>
    applyConfiguration({
      ...base,
      live,
      nowMs,
      manager: 'a',
      force: false,
      config: { ...head, metadata: { name: 'x' }, spec },
    });
  const timeOf = (object: KubeObject): string | undefined => object.metadata?.managedFields?.[0]?.time;
  const first = await at(undefined, 0, { replicas: 1 });
  const same = await at(first, 1_000, { replicas: 1 });
  const other = await at(same, 2_000, { replicas: 2 });
  assert.deepEqual([first, same, other].map(timeOf), [
    '1970-01-01T00:00:00Z',
    '1970-01-01T00:00:00Z',
    '1970-01-01T00:00:02Z',
  ]);
});

test('changing fields of others is a conflict, force takes them over', async () => {
  const created = await update(undefined, 'kubectl-edit', {
    metadata: { name: 'x' },
    spec: { replicas: 1, strategy: { type: 'A' } },
  });
  await assert.rejects(
    apply(created, 'a', { metadata: { name: 'x' }, spec: { replicas: 2 } }),
    (error: StatusError) =>
      isStatusError(error, 'Conflict') &&
      error.message ===
        'Apply failed with 1 conflict: conflict with "kubectl-edit" using x/v1: .spec.replicas' &&
      error.status.details?.causes?.[0]?.reason === 'FieldManagerConflict',
  );
  await assert.rejects(apply(created, 'a', { spec: { replicas: 2, strategy: { type: 'B' } } }), {
    message:
      'Apply failed with 2 conflicts: conflicts with "kubectl-edit" using x/v1:\n- .spec.replicas\n- .spec.strategy.type',
  });
  const agreed = await apply(created, 'a', { metadata: { name: 'x' }, spec: { replicas: 1 } });
  assert.deepEqual(fieldsOf(agreed, 'kubectl-edit'), {
    'f:spec': { 'f:replicas': {}, 'f:strategy': { 'f:type': {} } },
  });
  const forced = await apply(created, 'a', { metadata: { name: 'x' }, spec: { replicas: 2 } }, true);
  assert.deepEqual(fieldsOf(forced, 'kubectl-edit'), { 'f:spec': { 'f:strategy': { 'f:type': {} } } });
  assert.deepEqual(fieldsOf(forced, 'a'), { 'f:spec': { 'f:replicas': {} } });
});

test('an update takes changed fields from appliers', async () => {
  const applied = await apply(undefined, 'a', {
    metadata: { name: 'x' },
    spec: { replicas: 1, containers: [{ name: 'c', image: '1' }] },
  });
  const scaled = await update(applied, 'hpa', {
    metadata: { name: 'x' },
    spec: { replicas: 5, containers: [{ name: 'c', image: '1' }] },
  });
  assert.deepEqual(fieldsOf(scaled, 'a'), {
    'f:spec': { 'f:containers': { 'k:{"name":"c"}': { '.': {}, 'f:image': {}, 'f:name': {} } } },
  });
  assert.deepEqual(fieldsOf(scaled, 'hpa'), { 'f:spec': { 'f:replicas': {} } });
  assert.deepEqual(
    (await update(scaled, 'x', { ...(bare(scaled) as object), metadata: { name: 'x', managedFields: [] } }))
      .metadata?.managedFields,
    [],
  );
});

test('an object without owners gets one at the first apply; at most ten updaters are kept', async () => {
  const live = { ...head, metadata: { name: 'x' }, spec: { replicas: 1 } };
  await assert.rejects(
    apply(live, 'a', { spec: { replicas: 2 } }),
    /conflict with "before-first-apply" using x\/v1: \.spec\.replicas/,
  );
  let object = await update(undefined, 'm', { metadata: { name: 'x', labels: { l: 'x' } } });
  for (let index = 0; index < 14; index++) {
    const next = {
      metadata: { ...object.metadata!, labels: { ...object.metadata!.labels, [`l${index}`]: 'x' } },
    };
    object = {
      ...head,
      ...next,
      metadata: {
        ...next.metadata,
        managedFields: await managedFieldsAfterUpdate({
          ...base,
          live: object,
          next: { ...head, ...next },
          manager: `m${index}`,
          nowMs: index * 1000,
        }),
      },
    };
  }
  const managers = object.metadata!.managedFields!.map((entry) => entry.manager);
  assert.equal(managers.length, 10);
  assert.ok(managers.includes('ancient-changes') && managers.includes('m13') && !managers.includes('m0'));
});

test('reset fields and server fields have no owner; a configuration must not have managedFields', async () => {
  const written = await managedFieldsAfterUpdate({
    ...base,
    live: undefined,
    manager: 'm',
    written: { without: ['status'] },
    next: { ...head, metadata: { name: 'x', uid: 'u' }, status: { phase: 'A' }, spec: { replicas: 1 } },
  });
  assert.deepEqual(written[0]?.fieldsV1, { 'f:spec': { 'f:replicas': {} } });
  await assert.rejects(
    apply(undefined, 'a', { metadata: { managedFields: [] } }),
    /metadata.managedFields must be nil/,
  );
});

test('an invalid configuration is rejected as a whole, with every path', async () => {
  const refusal = async (config: object): Promise<string> => {
    try {
      await apply(undefined, 'a', config);
    } catch (error) {
      assert.ok(isStatusError(error));
      assert.deepEqual([error.code, error.status.reason], [400, 'BadRequest']);
      return error.message;
    }
    return '';
  };
  assert.equal(
    await refusal({ metadata: { name: 'x' }, spec: { surplus: 1 } }),
    'failed to create typed patch object (/x; x/v1, Kind=Thing): .spec.surplus: field not declared in schema',
  );
  assert.equal(
    await refusal({
      metadata: { labels: { a: 1 }, finalizers: ['f', 'f'] },
      spec: {
        replicas: 'two',
        containers: [{ name: 'c', ports: [{ port: 80 }, { port: 80, protocol: 'TCP' }] }],
      },
    }),
    [
      'failed to create typed patch object (/; x/v1, Kind=Thing): errors:',
      '  .metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}',
      '  .metadata.finalizers: duplicate entries for key [="f"]',
      '  .spec.replicas: expected numeric (int or float), got string',
      '  .spec.containers[name="c"].ports: duplicate entries for key [port=80,protocol="TCP"]',
    ].join('\n'),
  );
  assert.match(await refusal({ metadata: 7 }), /: \.metadata: expected map, got &\{7\}$/);
  assert.match(
    await refusal({ spec: { containers: { b: [1, null], a: true } } }),
    /: \.spec\.containers: expected list, got &\{map\[a:true b:\[1 <nil>\]\]\}$/,
  );
  assert.match(
    await refusal({ spec: { containers: ['x'] } }),
    /: \.spec\.containers: element 0: associative list with keys may not have non-map elements$/,
  );
  // The default of a key is known here.
  assert.equal(await refusal({ spec: { containers: [{ image: 'x' }], replicas: null } }), '');
});

test("merged lists keep the configuration's order and the positions of other items", async () => {
  const names = (list: string[]): KubeObject => ({ spec: { containers: list.map((name) => ({ name })) } });
  const merged = (live: string[], config: string[]): string[] =>
    (
      mergeValues(names(live), names(config), type) as { spec: { containers: { name: string }[] } }
    ).spec.containers.map(({ name }) => name);
  assert.deepEqual(merged(['a', 'b'], ['c', 'a']), ['c', 'a', 'b']);
  assert.deepEqual(merged(['x', 'a', 'b'], ['b', 'a']), ['x', 'b', 'a']);
  const letters = fc.uniqueArray(fc.constantFrom(...'abcdef'));
  fc.assert(
    fc.property(letters, letters, (live, config) => {
      const result = merged(live, config);
      assert.deepEqual(
        result.filter((name) => config.includes(name)),
        config,
      );
      assert.deepEqual(
        result.filter((name) => !config.includes(name)),
        live.filter((name) => !config.includes(name)),
      );
    }),
    { numRuns: 2000 },
  );
});

const word = fc.constantFrom('a', 'b', 'c');
/** Without empty maps and lists, as in typed objects. */
const object = fc.record({
  metadata: fc.record(
    {
      name: fc.constant('x'),
      labels: fc.dictionary(word, word, { minKeys: 1 }),
      finalizers: fc.uniqueArray(word, { minLength: 1 }),
    },
    { requiredKeys: ['name'] },
  ),
  spec: fc.record(
    {
      replicas: fc.nat(2),
      containers: fc.uniqueArray(fc.record({ name: word, image: word }), {
        selector: (item) => item.name,
        minLength: 1,
      }),
    },
    { requiredKeys: ['replicas'] },
  ),
});

test('properties: a set survives its JSON, a value equals itself, an applied configuration is present', async () => {
  fc.assert(
    fc.property(object, object, (left, right) => {
      const set = toFieldSet(left, type);
      assert.ok(FieldSet.fromFieldsV1(JSON.parse(JSON.stringify(set.toFieldsV1()))).equals(set));
      const self = compareValues(left, structuredClone(left), type);
      assert.ok(self.added.isEmpty && self.modified.isEmpty && self.removed.isEmpty);
      const merged = mergeValues(left, right, type);
      assert.ok(toFieldSet(right, type).difference(toFieldSet(merged, type)).isEmpty);
      const difference = compareValues(right, mergeValues(merged, right, type), type);
      assert.ok(difference.modified.isEmpty && difference.removed.isEmpty);
    }),
    { numRuns: 500 },
  );
});

test('a single applier always gets exactly what it applied last', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(object, { minLength: 1, maxLength: 4 }), async (configs) => {
      let live: KubeObject | undefined;
      for (const config of configs) live = await apply(live, 'me', config);
      const set = toFieldSet(bare(live!), type);
      assert.deepEqual(set.toFieldsV1(), toFieldSet({ ...head, ...configs.at(-1)! }, type).toFieldsV1());
    }),
    { numRuns: 500 },
  );
});

test('paths have the format of conflicts', async () => {
  assert.equal(
    printPath(['f:spec', 'f:containers', 'k:{"name":"a"}', 'f:image']),
    '.spec.containers[name="a"].image',
  );
  assert.equal(printPath(['f:metadata', 'f:finalizers', 'v:"x"']), '.metadata.finalizers[="x"]');
});

test('random histories of writes: the fast path equals the sets', async () => {
  const step = fc.record({
    manager: fc.constantFrom('one', 'two', 'three'),
    next: object,
    applies: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 6 }), async (steps) => {
      let live: KubeObject | undefined;
      for (const [index, { manager, next, applies }] of steps.entries()) {
        const request = { ...base, nowMs: index * 1000, manager };
        if (applies) {
          live = await applyConfiguration({
            ...request,
            live,
            config: { ...head, ...structuredClone(next) } as KubeObject,
            force: true,
          });
          continue;
        }
        const written = { ...head, ...structuredClone(next) } as KubeObject;
        const managedFields = await managedFieldsAfterUpdate({ ...request, live, next: written });
        if (live)
          assert.equal(
            JSON.stringify(managedFields),
            JSON.stringify(await managedFieldsBySets({ ...request, live, next: written })),
          );
        live = { ...written, metadata: { ...written.metadata, managedFields } };
      }
    }),
    { numRuns: 500 },
  );
});

test('kubectl takes over unchanged fields of client-side apply, and updates the annotation', async () => {
  const LAST = 'kubectl.kubernetes.io/last-applied-configuration';
  const config = { ...head, metadata: { name: 'x', labels: { a: '<1>' } }, spec: { replicas: 1 } };
  const noted = schema('x.v1.NotedMeta', [
    { name: 'name' },
    { name: 'labels', value: { kind: 'map', values: text } },
    { name: 'annotations', value: { kind: 'map', values: text } },
  ]);
  const notedThing = schema('x.v1.NotedThing', [
    { name: 'apiVersion' },
    { name: 'kind' },
    { name: 'metadata', value: { kind: 'object', type: () => noted } },
    { name: 'spec', value: { kind: 'object', type: () => spec } },
  ]);
  const as = (live: KubeObject, manager: string, changes: object): Promise<KubeObject> =>
    applyConfiguration({
      ...base,
      schema: notedThing,
      live,
      manager,
      force: false,
      config: { ...config, ...changes },
    });
  const made = {
    ...config,
    metadata: { ...config.metadata, annotations: { [LAST]: JSON.stringify(config) } },
  };
  const live = {
    ...made,
    metadata: {
      ...made.metadata,
      managedFields: await managedFieldsAfterUpdate({
        ...base,
        schema: notedThing,
        live: undefined,
        next: made,
        manager: 'kubectl-client-side-apply',
      }),
    },
  };
  const taken = await as(live, 'kubectl', { spec: { replicas: 2 } });
  assert.deepEqual(taken['spec'], { replicas: 2 });
  assert.equal(
    taken.metadata?.annotations?.[LAST],
    '{"apiVersion":"x/v1","kind":"Thing","metadata":{"labels":{"a":"\\u003c1\\u003e"},"name":"x"},"spec":{"replicas":2}}\n',
  );
  await assert.rejects(
    as(live, 'other', { spec: { replicas: 2 } }),
    /1 conflict: conflict with "kubectl-client-side-apply" using x\/v1: \.spec\.replicas/,
  );
  assert.equal(
    (await as(live, 'other', {})).metadata?.annotations?.[LAST],
    JSON.stringify(config),
    'others leave it alone',
  );
  // It was scaled since: that field has another owner.
  const scaled = { ...live, spec: { replicas: 5 } };
  await assert.rejects(as(scaled, 'kubectl', { spec: { replicas: 2 } }), /conflict/);
});
