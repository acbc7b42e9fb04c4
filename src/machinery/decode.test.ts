import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseJsonCounted } from './json.ts';
import { cannotBeHandled, decodeObject, strictProblems } from './decode.ts';
import { isGiven, isGivenEmpty } from './given-empty.ts';
import { isStatusError } from './errors.ts';
import { deepClone } from './json.ts';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from './schema.ts';

const scalar = (type: ScalarType): ValueSchema => ({ kind: 'scalar', type });
function schema(
  name: string,
  fields: Partial<FieldSchema>[],
  rest: Partial<ObjectSchema> = {},
): ObjectSchema {
  const full = fields.map(
    (field) => ({ value: scalar('string'), required: false, zero: 'omitted', ...field }) as FieldSchema,
  );
  return { name, fields: full, byName: new Map(full.map((field) => [field.name, field])), ...rest };
}

const port = schema('io.x.v1.Port', [
  { name: 'port', value: scalar('int32'), zero: 'written', default: 0 },
  { name: 'protocol', default: 'TCP' },
  { name: 'target', value: scalar('int-or-string') },
]);
const meta = schema('io.x.v1.ObjectMeta', [
  { name: 'name' },
  { name: 'labels', value: { kind: 'map', values: scalar('string') } },
  { name: 'at', value: scalar('time') },
]);
const spec: ObjectSchema = schema('io.x.v1.ThingSpec', [
  { name: 'replicas', value: scalar('int32'), zero: 'distinct' },
  { name: 'paused', value: scalar('bool') },
  { name: 'ports', value: { kind: 'list', items: { kind: 'object', type: () => port }, listType: 'atomic' } },
  { name: 'limits', value: { kind: 'map', values: scalar('quantity') } },
  { name: 'data', value: scalar('bytes') },
  { name: 'timeout', value: scalar('duration'), zero: 'distinct' },
  { name: 'words', value: { kind: 'list', items: scalar('string'), listType: 'atomic' } },
  { name: 'raw', value: scalar('raw-extension') },
  { name: 'child', value: { kind: 'object', type: () => spec }, zero: 'distinct' },
]);
const thing = schema('io.x.v1.Thing', [
  { name: 'apiVersion' },
  { name: 'kind' },
  { name: 'metadata', value: { kind: 'object', type: () => meta }, zero: 'written' },
  { name: 'spec', value: { kind: 'object', type: () => spec }, zero: 'written', default: Object.freeze({}) },
]);

const decode = (value: object, mode: 'strict' | 'ignore' = 'strict') =>
  decodeObject(thing, deepClone(value), mode);

test('normalises values, drops empty ones, sets defaults', () => {
  const { object, problems } = decode({
    kind: 'Thing',
    apiVersion: 'x/v1',
    metadata: { name: 'a', labels: {}, at: '2026-01-01T01:00:00.5+01:00' },
    spec: {
      replicas: 0,
      paused: false,
      ports: [{ target: 'http', protocol: '' }, null],
      limits: { cpu: 0.5, memory: '1024Mi' },
      data: 'aGk=\n',
      timeout: '60s',
      words: ['a', null],
      raw: { any: { thing: null } },
      child: null,
    },
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(object, {
    apiVersion: 'x/v1',
    kind: 'Thing',
    metadata: { name: 'a', at: '2026-01-01T00:00:00Z' },
    spec: {
      replicas: 0,
      ports: [
        { port: 0, protocol: 'TCP', target: 'http' },
        { port: 0, protocol: 'TCP' },
      ],
      limits: { cpu: '500m', memory: '1Gi' },
      data: 'aGk=',
      timeout: '1m0s',
      words: ['a', ''],
      raw: { any: { thing: null } },
    },
  });
  assert.deepEqual(decode({}).object, { metadata: {}, spec: {} });
});

test('distinguishes empty from absent', () => {
  const { spec: given, metadata } = decode({
    metadata: { labels: {} },
    spec: { ports: [], limits: {}, words: null, child: {}, data: '' },
  }).object as { spec: object; metadata: object };
  assert.deepEqual(given, { child: {} });
  const tell = (holder: object, ...fields: string[]): boolean[] =>
    fields.map((field) => isGivenEmpty(holder, field));
  assert.deepEqual(
    [
      ...tell(given, 'ports', 'limits', 'words', 'paused', 'data', 'child'),
      ...tell(metadata, 'labels', 'name'),
    ],
    [true, true, false, false, false, false, true, false],
  );
  assert.deepEqual(
    [
      isGiven(given as { ports?: [] }, 'ports'),
      isGiven(given as { child?: object }, 'child'),
      isGiven({ words: null } as { words: unknown }, 'words'),
    ],
    [true, true, false],
  );
});

test('reports unknown and duplicate fields with their path', () => {
  const text =
    '{"speck":1,"spec":{"ports":[{},{"prot":1}],"paused":true,"paused":true,"raw":{"x":1}},"metadata":{"Name":"a"},"__proto__":{}}';
  const decoded = decodeObject(thing, JSON.parse(text), 'strict');
  assert.deepEqual(strictProblems(decoded, { text, fields: parseJsonCounted(text).fields, schema: thing }), [
    'unknown field "speck"',
    'unknown field "spec.ports[1].prot"',
    'duplicate field "spec.paused"',
    'unknown field "metadata.Name"',
    'unknown field "__proto__"',
  ]);
  assert.equal('speck' in decoded.object, false);
  // Duplicates are found by counting; uncounted text is searched.
  for (const repeated of [
    '{"spec":{"paused":true,"paused":true}}',
    '{"metadata":{"name":"a","name":"a"}}',
    '{"spec":{"limits":{"cpu":1,"cpu":1}}}',
    '{"spec":{"ports":[{"port":1}]},"spec":{}}',
  ]) {
    const { value, fields } = parseJsonCounted(repeated);
    assert.equal(
      strictProblems(decodeObject(thing, value, 'strict'), { text: repeated, fields, schema: thing }).length,
      1,
      repeated,
    );
  }
  // Contents of unknown fields and of opaque values are not checked.
  const inside = '{"spec":{"raw":{"x":{"y":1,"y":2}}},"speck":{"a":1,"a":2}}';
  const { value, fields } = parseJsonCounted(inside);
  assert.deepEqual(
    strictProblems(decodeObject(thing, value, 'strict'), { text: inside, fields, schema: thing }),
    ['unknown field "speck"'],
  );
  assert.deepEqual(
    strictProblems(decodeObject(thing, JSON.parse(inside), 'strict'), { text: inside, fields }),
    ['duplicate field "spec.raw.x.y"', 'duplicate field "speck.a"', 'unknown field "speck"'],
  );
  assert.deepEqual(decode(JSON.parse(text) as object, 'ignore').problems, []);
});

test("rejects wrong types with Go's messages", () => {
  const faults: [unknown, string][] = [
    [
      { replicas: '3' },
      'json: cannot unmarshal string into Go struct field ThingSpec.spec.replicas of type int32',
    ],
    [
      { replicas: 1.5 },
      'json: cannot unmarshal number 1.5 into Go struct field ThingSpec.spec.replicas of type int32',
    ],
    [
      { replicas: 2 ** 31 },
      'json: cannot unmarshal number 2147483648 into Go struct field ThingSpec.spec.replicas of type int32',
    ],
    [
      { ports: {} },
      'json: cannot unmarshal object into Go struct field ThingSpec.spec.ports of type []v1.Port',
    ],
    [
      { ports: [{ protocol: 1 }] },
      'json: cannot unmarshal number into Go struct field Port.spec.ports.protocol of type string',
    ],
    [
      { words: [true] },
      'json: cannot unmarshal bool into Go struct field ThingSpec.spec.words of type string',
    ],
    [
      { limits: { cpu: 'x' } },
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
    [{ data: 'a' }, 'illegal base64 data at input byte 0'],
    [{ timeout: 'soon' }, 'time: invalid duration "soon"'],
    ['x', 'json: cannot unmarshal string into Go struct field Thing.spec of type v1.ThingSpec'],
  ];
  for (const [value, message] of faults) {
    assert.throws(
      () => decode({ kind: 'Thing', apiVersion: 'x/v1', spec: value }),
      (error) =>
        isStatusError(error, 'BadRequest') &&
        error.message === `Thing in version "v1" cannot be handled as a Thing: ${message}`,
      message,
    );
  }
  assert.throws(
    () => decodeObject(thing, [], 'strict'),
    /json: cannot unmarshal array into Go value of type v1.Thing/,
  );
  assert.equal(
    cannotBeHandled(thing, {}, 'why').message,
    'Thing in version "v1" cannot be handled as a Thing: why',
  );
});

test('bounds the depth of recursive types', () => {
  let nested: object = {};
  for (let depth = 0; depth < 900; depth++) nested = { child: nested };
  assert.throws(() => decodeObject(thing, { spec: nested }, 'strict'), /exceeded max depth/);
});

test('open types keep unknown fields', () => {
  const open = schema('io.x.v1.Open', [{ name: 'a' }], { open: true });
  assert.deepEqual(decodeObject(open, { a: 'x', b: { c: null } }, 'strict'), {
    object: { a: 'x', b: { c: null } },
    problems: [],
    fields: 2,
  });
});

test('unions with a schema: a value that matches neither is dropped', () => {
  const union = (
    name: string,
    wire: NonNullable<Extract<ValueSchema, { kind: 'scalar' }>['wire']>,
  ): Partial<FieldSchema> => ({ name, value: { kind: 'scalar', type: 'json', wire }, zero: 'distinct' });
  const unions = schema('io.x.v1.Unions', [
    union('items', 'schema-or-array'),
    { name: 'dependencies', value: { kind: 'map', values: union('', 'schema-or-strings').value! } },
  ]);
  const read = (value: object): object => decodeObject(unions, value, 'strict').object;
  assert.deepEqual(read({ items: 'x', dependencies: { a: { type: 'string' }, b: ['c', null], d: 5 } }), {
    items: null,
    dependencies: { a: { type: 'string' }, b: ['c', ''], d: null },
  });
  assert.deepEqual(read({ items: [{}] }), { items: [{}] });
  assert.throws(
    () => read({ dependencies: { a: [1] } }),
    /cannot unmarshal number into Go struct field Unions.dependencies of type string/,
  );
});

test("messages contain Go's types and embedded structs", () => {
  const source = schema('io.x.v1.Source', [{ name: 'path' }]);
  const list = (items: ValueSchema): ValueSchema => ({ kind: 'list', items, listType: 'atomic' });
  const named = schema('io.x.v1.Named', [
    {
      name: 'source',
      value: { kind: 'object', type: () => source },
      zero: 'distinct',
      within: ['AnySource'],
    },
    { name: 'protocol', goType: 'v1.Protocol' },
    { name: 'modes', value: list(scalar('string')), goType: '[]v1.Mode' },
    { name: 'limits', value: { kind: 'map', values: scalar('string') }, goType: 'v1.Limits' },
  ]);
  const faults: [object, string][] = [
    [{ source: 1 }, 'number into Go struct field Named.AnySource.source of type v1.Source'],
    [{ source: { path: 1 } }, 'number into Go struct field Source.AnySource.source.path of type string'],
    [{ protocol: 1 }, 'number into Go struct field Named.protocol of type v1.Protocol'],
    [{ modes: {} }, 'object into Go struct field Named.modes of type []v1.Mode'],
    [{ modes: [1] }, 'number into Go struct field Named.modes of type v1.Mode'],
    [{ limits: [] }, 'array into Go struct field Named.limits of type v1.Limits'],
    [{ limits: { a: 1 } }, 'number into Go struct field Named.limits of type string'],
  ];
  for (const [value, message] of faults)
    assert.throws(
      () => decodeObject(named, value, 'strict'),
      new RegExp(`cannot unmarshal ${message.replace(/[[\]]/g, '\\$&')}$`),
    );
});
