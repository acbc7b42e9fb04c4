import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isStatusError, type StatusError } from '../errors.ts';
import { jsonEqual, type JsonObject } from '../json.ts';
import type { FieldSchema, ObjectSchema, ValueSchema } from '../schema.ts';
import { applyJsonPatch, inapplicable, InapplicableError } from './json-patch.ts';
import { applyMergePatch, createMergePatch } from './merge-patch.ts';
import { restoreWords } from './restore.ts';
import { applyStrategicMergePatch, createStrategicMergePatch } from './strategic-merge.ts';

function code(run: () => unknown): number {
  try {
    run();
  } catch (error) {
    if (isStatusError(error)) return error.code;
    if (error instanceof InapplicableError) return 422;
    throw error;
  }
  return 0;
}

test('JSON patch: the examples of RFC 6902', () => {
  const cases: [unknown, unknown[] | null, unknown][] = [
    [{ foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'qux' }], { baz: 'qux', foo: 'bar' }],
    [{ foo: ['bar', 'baz'] }, [{ op: 'add', path: '/foo/1', value: 'qux' }], { foo: ['bar', 'qux', 'baz'] }],
    [{ baz: 'qux', foo: 'bar' }, [{ op: 'remove', path: '/baz' }], { foo: 'bar' }],
    [{ foo: ['bar', 'qux', 'baz'] }, [{ op: 'remove', path: '/foo/1' }], { foo: ['bar', 'baz'] }],
    [{ baz: 'qux', foo: 'bar' }, [{ op: 'replace', path: '/baz', value: 'boo' }], { baz: 'boo', foo: 'bar' }],
    [
      { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
      [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
      { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
    ],
    [
      { foo: ['all', 'grass', 'cows', 'eat'] },
      [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
      { foo: ['all', 'cows', 'eat', 'grass'] },
    ],
    [
      { baz: 'qux', foo: ['a', 2, 'c'] },
      [
        { op: 'test', path: '/baz', value: 'qux' },
        { op: 'test', path: '/foo/1', value: 2 },
      ],
      { baz: 'qux', foo: ['a', 2, 'c'] },
    ],
    [
      { foo: 'bar' },
      [{ op: 'add', path: '/child', value: { grandchild: {} } }],
      { foo: 'bar', child: { grandchild: {} } },
    ],
    [{ '/': 9, '~1': 10 }, [{ op: 'test', path: '/~01', value: 10 }], { '/': 9, '~1': 10 }],
    [
      { foo: ['bar'] },
      [{ op: 'add', path: '/foo/-', value: ['abc', 'def'] }],
      { foo: ['bar', ['abc', 'def']] },
    ],
    [{ a: 1 }, [{ op: 'replace', path: '', value: [1] }], [1]],
    [
      { a: [1] },
      [
        { op: 'copy', from: '/a', path: '/b' },
        { op: 'add', path: '/b/-', value: 2 },
      ],
      { a: [1], b: [1, 2] },
    ],
    [{ a: 1 }, [{ op: 'test', path: '/b', value: null }], { a: 1 }],
    // Beyond the RFC.
    [
      { a: 1 },
      [
        { op: 'replace', path: '/b', value: 2 },
        { op: 'add', path: '/c' },
        { op: 'copy', from: '/none', path: '/d' },
      ],
      { a: 1, b: 2, c: null, d: null },
    ],
    [
      { a: [1, 2] },
      [
        { op: 'add', path: '/a/-1', value: 3 },
        { op: 'remove', path: '/a/-3' },
        { op: 'test', path: 'x/a/01', value: 3 },
      ],
      { a: [2, 3] },
    ],
    [{ a: 1 }, null, { a: 1 }],
  ];
  for (const [document, patch, expected] of cases) {
    const before = structuredClone(document);
    assert.deepEqual(applyJsonPatch(document, patch), expected);
    assert.deepEqual(document, before);
  }
});

test('JSON patch: an inapplicable patch is 422, an invalid one 400', () => {
  const document = { foo: 'bar', list: [1] };
  for (const operation of [
    { op: 'test', path: '/foo', value: 'x' },
    { op: 'add', path: '/a/b', value: 1 },
    { op: 'remove', path: '/nope' },
    { op: 'replace', path: '/list/1', value: 1 },
    { op: 'add', path: '/list/3', value: 1 },
    { op: 'remove', path: '/list/1' },
    { op: 'add', path: '/list/x', value: 1 },
    { op: 'spin', path: '/foo' },
    { op: 'add', path: 'foo', value: 1 },
    { op: 'move', from: '/foo', path: '/foo/x' },
    { op: 'copy', path: '/x' },
    { op: 'test', path: '/list/5', value: null },
  ])
    assert.equal(
      code(() => applyJsonPatch(document, [operation])),
      422,
      JSON.stringify(operation),
    );
  for (const patch of [[null], [{ path: '/a' }], [{ op: 'add' }], [{ op: 1, path: '/foo' }]])
    assert.equal(
      code(() => applyJsonPatch(document, patch)),
      422,
    );
  for (const patch of [{}, [1], 'x'])
    assert.equal(
      code(() => applyJsonPatch(document, patch)),
      400,
    );
  assert.equal(
    code(() =>
      applyJsonPatch(
        document,
        Array.from({ length: 3 }, () => ({ op: 'test', path: '/foo', value: 'bar' })),
        { maximumOperations: 2 },
      ),
    ),
    413,
  );
  const doubling = Array.from({ length: 40 }, () => ({ op: 'copy', from: '/list', path: '/list/-' }));
  assert.equal(
    code(() => applyJsonPatch(document, doubling)),
    422,
  );
  assert.throws(
    () => applyJsonPatch(document, [{ op: 'test', path: '/foo', value: 1 }]),
    (error: InapplicableError) =>
      error.message === 'testing value /foo failed: test failed' && inapplicable(error).code === 422,
  );
});

test('no patch pollutes prototypes', () => {
  applyJsonPatch({}, [{ op: 'add', path: '/__proto__/polluted', value: 1 }].slice(1));
  assert.equal(
    code(() => applyJsonPatch({}, [{ op: 'add', path: '/__proto__/polluted', value: 1 }])),
    422,
  );
  assert.equal(
    code(() => applyJsonPatch({}, [{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }])),
    422,
  );
  applyMergePatch({}, JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'));
  applyStrategicMergePatch(podSpec, {}, JSON.parse('{"__proto__":{"polluted":1}}'));
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

test('merge patch: the table of RFC 7386', () => {
  const cases: [string, string, string][] = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ];
  for (const [target, patch, expected] of cases)
    assert.equal(JSON.stringify(applyMergePatch(JSON.parse(target), JSON.parse(patch))), expected);
});

const jsonObject = fc.dictionary(
  fc.string({ maxLength: 3 }),
  fc.letrec((tie) => ({
    value: fc.oneof(
      fc.integer(),
      fc.string({ maxLength: 3 }),
      fc.boolean(),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.string({ maxLength: 3 }), tie('value'), { maxKeys: 3 }),
    ),
  })).value,
  { maxKeys: 4 },
);

test('a merge patch made from two objects converts one to the other', () => {
  fc.assert(
    fc.property(jsonObject, jsonObject, (from, to) =>
      jsonEqual(applyMergePatch(from, createMergePatch(from, to as Record<string, unknown>)), to),
    ),
  );
});

const text: ValueSchema = { kind: 'scalar', type: 'string' };

function schema(name: string, fields: Partial<FieldSchema>[]): ObjectSchema {
  const full = fields.map((field) => ({ value: text, required: false, ...field }) as FieldSchema);
  return { name, fields: full, byName: new Map(full.map((field) => [field.name, field])) };
}

const envVar = schema('x.v1.EnvVar', [{ name: 'name' }, { name: 'value' }]);
const container = schema('x.v1.Container', [
  { name: 'name' },
  { name: 'image' },
  { name: 'args', value: { kind: 'list', items: text, listType: 'atomic' } },
  {
    name: 'env',
    value: {
      kind: 'list',
      items: { kind: 'object', type: () => envVar },
      listType: 'map',
      mapKeys: ['name'],
    },
    patchStrategy: ['merge'],
    patchMergeKey: 'name',
  },
]);
const strategy = schema('x.v1.Strategy', [
  { name: 'type' },
  { name: 'rolling', value: { kind: 'map', values: text } },
]);
const podSpec = schema('x.v1.PodSpec', [
  {
    name: 'containers',
    value: {
      kind: 'list',
      items: { kind: 'object', type: () => container },
      listType: 'map',
      mapKeys: ['name'],
    },
    patchStrategy: ['merge'],
    patchMergeKey: 'name',
  },
  { name: 'finalizers', value: { kind: 'list', items: text, listType: 'set' }, patchStrategy: ['merge'] },
  { name: 'labels', value: { kind: 'map', values: text } },
  { name: 'strategy', value: { kind: 'object', type: () => strategy }, patchStrategy: ['retainKeys'] },
  {
    name: 'plain',
    value: { kind: 'list', items: { kind: 'object', type: () => envVar }, listType: 'atomic' },
  },
]);

test('strategic merge patch', () => {
  const cases: [string, object, JsonObject, object][] = [
    [
      'items merge by key, new ones follow the patch',
      { containers: [{ name: 'a', image: '1' }, { name: 'b' }] },
      { containers: [{ name: 'c' }, { name: 'a', image: '2' }] },
      { containers: [{ name: 'c' }, { name: 'a', image: '2' }, { name: 'b' }] },
    ],
    [
      'an item is deleted',
      { containers: [{ name: 'a' }, { name: 'b' }] },
      { containers: [{ name: 'a', $patch: 'delete' }] },
      { containers: [{ name: 'b' }] },
    ],
    [
      'a list is replaced',
      { containers: [{ name: 'a' }, { name: 'b' }] },
      { containers: [{ name: 'z' }, { $patch: 'replace' }] },
      { containers: [{ name: 'z' }] },
    ],
    [
      'the order is set',
      { containers: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] },
      {
        '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }],
        containers: [{ name: 'a', image: 'x' }],
      },
      { containers: [{ name: 'b' }, { name: 'c' }, { name: 'a', image: 'x' }] },
    ],
    [
      'nested lists merge',
      { containers: [{ name: 'a', env: [{ name: 'X', value: '1' }] }] },
      { containers: [{ name: 'a', env: [{ name: 'Y', value: '2' }] }] },
      {
        containers: [
          {
            name: 'a',
            env: [
              { name: 'Y', value: '2' },
              { name: 'X', value: '1' },
            ],
          },
        ],
      },
    ],
    [
      'atomic lists replace',
      { containers: [{ name: 'a', args: ['1'] }] },
      { containers: [{ name: 'a', args: ['2', '3'] }] },
      { containers: [{ name: 'a', args: ['2', '3'] }] },
    ],
    [
      'primitive lists unite',
      { finalizers: ['a', 'b'] },
      { finalizers: ['b', 'c'] },
      { finalizers: ['a', 'b', 'c'] },
    ],
    [
      'primitives are deleted',
      { finalizers: ['a', 'b'] },
      { '$deleteFromPrimitiveList/finalizers': ['a'] },
      { finalizers: ['b'] },
    ],
    [
      'maps merge and null deletes',
      { labels: { a: '1', b: '2' } },
      { labels: { a: null, c: '3' } },
      { labels: { b: '2', c: '3' } },
    ],
    [
      'a map is replaced',
      { labels: { a: '1' } },
      { labels: { $patch: 'replace', b: '2' } },
      { labels: { b: '2' } },
    ],
    [
      'keys are retained',
      { strategy: { type: 'RollingUpdate', rolling: { x: '1' } } },
      { strategy: { $retainKeys: ['type'], type: 'Recreate' } },
      { strategy: { type: 'Recreate' } },
    ],
    [
      'nulls and directives do not get in with new values',
      {},
      {
        labels: { a: null, b: '1' },
        containers: [
          { name: 'a', $patch: 'delete' },
          { name: 'b', image: null },
        ],
      },
      { labels: { b: '1' }, containers: [{ name: 'b' }] },
    ],
  ];
  for (const [name, original, patch, expected] of cases) {
    const before = structuredClone(original);
    assert.deepEqual(applyStrategicMergePatch(podSpec, original, patch), expected, name);
    assert.deepEqual(original, before, `${name}: the original is unchanged`);
  }
});

test('strategic merge patch: errors', () => {
  const faults: [JsonObject, RegExp, number][] = [
    [{ containers: [{ image: 'x' }] }, /map: map\[image:x\] does not contain declared merge key: name/, 400],
    [{ containers: [{ name: 'a', $patch: 'spin' }] }, /unknown patch type: spin/, 400],
    [{ strategy: { $retainKeys: ['type'], rolling: { a: '1' } } }, /invalid patch format of retainKeys/, 400],
    [
      { '$setElementOrder/containers': [{ name: 'a' }], containers: [{ name: 'z' }] },
      /doesn't match \$setElementOrder list/,
      400,
    ],
    [{ $deleteFromPrimitiveList: ['a'] }, /invalid patch format of primitive list/, 400],
    [{ finalizers: ['a', 1] }, /list element types are not identical/, 400],
  ];
  const original = { containers: [{ name: 'a' }], strategy: { type: 'x' }, finalizers: ['f'] };
  for (const [patch, message, expected] of faults)
    assert.throws(
      () => applyStrategicMergePatch(podSpec, original, patch),
      (error: StatusError) => error.code === expected && message.test(error.message),
      String(message),
    );
});

test('a strategic merge patch made from two objects converts one to the other', () => {
  const word = fc.constantFrom('a', 'b', 'c', 'd');
  const list = fc.uniqueArray(fc.record({ name: word, image: fc.option(word, { nil: undefined }) }), {
    selector: (item) => item.name,
    maxLength: 4,
  });
  const spec = fc.record({
    containers: list,
    finalizers: fc.uniqueArray(word),
    labels: fc.dictionary(word, word),
  });
  fc.assert(
    fc.property(spec, spec, (from, to) => {
      const patched = applyStrategicMergePatch(podSpec, from, createStrategicMergePatch(podSpec, from, to));
      assert.deepEqual(JSON.parse(JSON.stringify(patched)), JSON.parse(JSON.stringify(to)));
    }),
    { numRuns: 1000 },
  );
});

test("a value of the wrong type gives the converter's error, for the first field in struct order", () => {
  const scalar = (type: 'int32' | 'bool' | 'double'): ValueSchema => ({ kind: 'scalar', type });
  const structure = schema('x.v1.All', [
    { name: 'b', number: 2, value: scalar('int32') },
    { name: 'a', number: 3, value: scalar('bool') },
    { name: 'd', number: 4, value: scalar('double') },
    { name: 's', number: 1 },
    { name: 'm', number: 5, value: { kind: 'map', values: text } },
    { name: 'o', number: 6, value: { kind: 'object', type: () => envVar } },
    { name: 'l', number: 7, value: { kind: 'list', items: text, listType: 'atomic' } },
  ]);
  const cases: [object, string][] = [
    [{ a: 'x', b: 'x' }, 'unrecognized type: int32'],
    [{ b: 1.5 }, 'cannot convert float64 to int32'],
    [{ b: 2 }, 'why'],
    [{ d: 2 }, 'why'],
    [{ a: 1 }, 'unrecognized type: bool'],
    [{ s: 1 }, 'cannot convert int64 to string'],
    [{ s: true }, 'unrecognized type: string'],
    [{ m: [] }, 'cannot restore map from slice'],
    [{ m: { k: 1 } }, 'cannot convert int64 to string'],
    [{ o: 'x' }, 'cannot restore struct from: string'],
    [{ l: 'x' }, 'cannot restore slice from string'],
    [{ l: null, o: { name: {} } }, 'unrecognized type: string'],
  ];
  for (const [value, words] of cases)
    assert.equal(restoreWords(value, structure, 'why'), words, JSON.stringify(value));
  assert.equal(
    restoreWords({}, structure, 'illegal base64 data at input byte 0'),
    'error decoding from json: illegal base64 data at input byte 0',
  );
});
