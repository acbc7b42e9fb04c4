import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isStatusError } from './errors.ts';
import { formatGoDuration, goDurationMs, GoDurationError, parseGoDuration } from './go-duration.ts';
import { getScaledValueFromIntOrPercent, intValue } from './int-or-string.ts';
import { findDuplicateFields, findJsonSyntaxProblem } from './json-syntax.ts';
import { deepClone, deepEqual, goValue, jsonEqual, parseJson } from './json.ts';
import type { ObjectMeta } from './object.ts';
import {
  parseSerialized,
  serializeObject,
  withoutResourceVersion,
  withResourceVersion,
} from './serialize.ts';
import {
  canonicalMicroTime,
  canonicalTime,
  formatMicroTime,
  formatTime,
  humanDuration,
  TimeError,
} from './time.ts';
import { parseYaml, parseYamlBody, parseYamlDocuments } from './yaml.ts';

test("JSON syntax errors have Go's messages", () => {
  const faults: [string, string][] = [
    ['', 'unexpected end of JSON input'],
    ['{', 'unexpected end of JSON input'],
    ['{"a":1', 'unexpected end of JSON input'],
    ['"a', 'unexpected end of JSON input'],
    ['x', "invalid character 'x' looking for beginning of value"],
    ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b"}', `invalid character '"' after object key:value pair`],
    ['[1 2]', "invalid character '2' after array element"],
    ['{"a":1}}', "invalid character '}' after top-level value"],
    ['tru1', "invalid character '1' in literal true (expecting 'e')"],
    ['[1,]', "invalid character ']' looking for beginning of value"],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\n"', "invalid character '\\n' in string literal"],
    ['-x', "invalid character 'x' in numeric literal"],
  ];
  for (const [text, message] of faults)
    assert.throws(
      () => parseJson(text),
      (error) => isStatusError(error, 'BadRequest') && error.message === message,
      text,
    );
});

test('the syntax walker agrees with JSON.parse', () => {
  const accepted = (text: string): boolean => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(
      fc.json(),
      fc.nat(),
      fc.constantFrom('', ',', '"', '}', ']', '{', '1', ' ', '\\', ':'),
      (text, at, extra) => {
        const position = at % (text.length + 1);
        const changed = text.slice(0, position) + extra + text.slice(position + (at % 2));
        assert.equal(findJsonSyntaxProblem(changed) === undefined, accepted(changed), changed);
      },
    ),
    { numRuns: 3000 },
  );
});

test('depth is bounded, also for recursive walks', () => {
  assert.throws(() => parseJson('['.repeat(5000) + ']'.repeat(5000)), /exceeded max depth/);
  const deep = parseJson('['.repeat(1000) + ']'.repeat(1000));
  assert.ok(deepEqual(deep, deepClone(deep)));
});

test('duplicate fields', () => {
  assert.deepEqual(
    findDuplicateFields(
      '{"spec":{"replicas":1,"replicas":2},"a":[{"b":1},{"b":1,"\\u0062":"}"}],"spec":null}',
    ),
    ['duplicate field "spec.replicas"', 'duplicate field "a[1].b"', 'duplicate field "spec"'],
  );
  fc.assert(
    fc.property(fc.json(), (text) => findDuplicateFields(JSON.stringify(JSON.parse(text))).length === 0),
  );
});

test('equality and copies', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const copy = deepClone(value);
      assert.deepEqual(copy, value);
      assert.ok(jsonEqual(copy, value) && deepEqual(copy, value));
    }),
  );
  assert.ok(deepEqual({ a: [], b: null, c: {} }, {}));
  assert.ok(!jsonEqual({ a: [] }, {}));
  assert.ok(!deepEqual({ a: '' }, {}));
  assert.ok(!deepEqual({ a: [1] }, { a: [2] }));
  assert.ok(Object.hasOwn(deepClone(JSON.parse('{"__proto__":1}')) as object, '__proto__'));
  assert.equal(goValue({ b: [1, 'x'], a: null }), 'map[a:<nil> b:[1 x]]');
});

test('durations', () => {
  const cases: [string, string][] = [
    ['1h', '1h0m0s'],
    ['90s', '1m30s'],
    ['1.5s', '1.5s'],
    ['300ms', '300ms'],
    ['1us', '1µs'],
    ['0', '0s'],
    ['-1m', '-1m0s'],
    ['1h1ns', '1h0m0.000000001s'],
    ['.5s', '500ms'],
  ];
  for (const [given, expected] of cases)
    assert.equal(formatGoDuration(parseGoDuration(given)), expected, given);
  assert.equal(goDurationMs('1.5s'), 1500);
  for (const bad of ['', '1', 's', '1x', '1h-1m', '999999999h'])
    assert.throws(() => parseGoDuration(bad), GoDurationError, bad);
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      (nanoseconds) => parseGoDuration(formatGoDuration(nanoseconds)) === nanoseconds,
    ),
  );
});

test('times', () => {
  assert.equal(canonicalTime('2026-01-02T03:04:05Z'), '2026-01-02T03:04:05Z');
  assert.equal(canonicalTime('2026-01-02T03:04:05.999+02:00'), '2026-01-02T01:04:05Z');
  assert.equal(canonicalTime('0001-01-01T00:00:00Z'), null);
  assert.equal(canonicalMicroTime('2026-01-02T03:04:05.123456+01:00'), '2026-01-02T02:04:05.123456Z');
  for (const [text, rest, element] of [
    ['2026-01-02T03:04:05Z', 'Z', '.000000'],
    ['2026-01-02T03:04:05.12+01:00', '.12+01:00', '.000000'],
    ['2026-01-02T03:04:05.1234567Z', '7Z', 'Z07:00'],
  ] as const) {
    assert.throws(
      () => canonicalMicroTime(text),
      new TimeError(
        `parsing time "${text}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "${rest}" as "${element}"`,
      ),
    );
  }
  assert.equal(formatTime(1500), '1970-01-01T00:00:01Z');
  assert.equal(formatMicroTime(1500), '1970-01-01T00:00:01.500000Z');
  assert.throws(() => canonicalTime('x'), {
    message: 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
  });
  assert.throws(
    () => canonicalTime('2026-02-30T00:00:00Z'),
    (error) => error instanceof TimeError && /day out of range/.test(error.message),
  );
  const hour = 3_600_000;
  const ages: [number, string][] = [
    [-5000, '<invalid>'],
    [-1000, '0s'],
    [5000, '5s'],
    [119_999, '119s'],
    [150_000, '2m30s'],
    [600_000, '10m'],
    [3 * hour, '3h'],
    [3 * hour + 300_000, '3h5m'],
    [50 * hour, '2d2h'],
    [24 * 30 * hour, '30d'],
    [24 * 771 * hour, '2y41d'],
    [24 * 3650 * hour, '10y'],
  ];
  for (const [ms, expected] of ages) assert.equal(humanDuration(ms), expected);
});

test('int or percent', () => {
  assert.equal(getScaledValueFromIntOrPercent('25%', 3, { roundUp: true }), 1);
  assert.equal(getScaledValueFromIntOrPercent('25%', 3, { roundUp: false }), 0);
  assert.equal(getScaledValueFromIntOrPercent(2, 3, { roundUp: false }), 2);
  assert.throws(() => getScaledValueFromIntOrPercent('2', 3, { roundUp: true }), {
    message: 'invalid value for IntOrString: invalid type: string is not a percentage',
  });
  assert.throws(
    () => getScaledValueFromIntOrPercent('x%', 3, { roundUp: true }),
    /strconv.Atoi: parsing "x": invalid syntax/,
  );
  assert.equal(intValue('80'), 80);
});

test('stored bytes have a fixed prefix, and the revision is spliced into the metadata', () => {
  const tricky = '","metadata":{"x';
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.string()),
      fc.boolean(),
      fc.constantFrom(undefined, 'u-1', 'a"b', ''),
      (data, named, uid) => {
        const owners = { ownerReferences: [{ uid: 'of-another' }] };
        const object = {
          data,
          apiVersion: 'v1',
          metadata: {
            ...owners,
            ...(named ? { name: tricky, resourceVersion: '7' } : {}),
            ...(uid === undefined ? {} : { uid }),
          } as ObjectMeta,
          kind: tricky,
        };
        const bytes = serializeObject(object);
        assert.ok(!bytes.toString().includes('"resourceVersion":"7"') || Object.keys(data).length > 0);
        assert.ok(
          bytes.toString().startsWith(`{"kind":${JSON.stringify(tricky)},"apiVersion":"v1","metadata":{`),
        );
        const revised = withResourceVersion(bytes, 42);
        assert.equal(withoutResourceVersion(revised).toString(), bytes.toString());
        assert.deepEqual(
          JSON.parse(revised.toString()),
          JSON.parse(JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: '42' } })),
        );
        assert.deepEqual(parseSerialized(bytes, 42), JSON.parse(revised.toString()));
      },
    ),
  );
  assert.equal(
    serializeObject({ kind: 'A', apiVersion: 'v1' }).toString(),
    '{"kind":"A","apiVersion":"v1","metadata":{}}',
  );
  // In upstream's order, whatever the order in the object.
  const fields = [
    'name',
    'generateName',
    'namespace',
    'uid',
    'generation',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'labels',
    'annotations',
    'ownerReferences',
    'finalizers',
    'managedFields',
  ];
  const bytes = serializeObject({
    kind: 'A',
    apiVersion: 'v1',
    metadata: Object.fromEntries(fields.toReversed().map((field) => [field, 'x'])),
  });
  assert.deepEqual(
    Object.keys((JSON.parse(withResourceVersion(bytes, 1).toString()) as { metadata: object }).metadata),
    fields.toSpliced(4, 0, 'resourceVersion'),
  );
  // An object stored in another order gets it at the start.
  const older = '{"kind":"A","apiVersion":"v1","metadata":{"labels":{"uid":"x"},"uid":"u"}}';
  assert.equal(
    withResourceVersion(Buffer.from(older), 1).toString(),
    older.replace('"labels"', '"resourceVersion":"1","labels"'),
  );
});

test('YAML', () => {
  assert.deepEqual(parseYaml('a: yes\nb: 0777\nc: 2020-01-01\nd: 1:30\ne: ~\n1: &x {f: [1]}\ng: *x').value, {
    a: true,
    b: 511,
    c: '2020-01-01',
    d: '1:30',
    e: null,
    1: { f: [1] },
    g: { f: [1] },
  });
  assert.deepEqual(parseYaml('a:\n  b: 1\n  b: 2').problems, [
    'yaml: unmarshal errors:\n  line 3: key "b" already set in map',
  ]);
  assert.equal(parseYamlDocuments('---\na: 1\n---\n# nothing\n---\nb: 2\n').length, 2);
  assert.throws(() => parseYaml('---\na: 1\n---\nb: 2'), /more than one document/);
  assert.deepEqual(
    parseYamlBody('---\na: 1\n---\nb: 2').value,
    { a: 1 },
    'of a body the first document counts',
  );
  assert.throws(() => parseYaml('a: *none'), /yaml: unknown anchor 'none' referenced$/);
  assert.throws(() => parseYaml('a: b: c'), /error converting YAML to JSON: yaml: line 1: /);
  assert.throws(() => parseYaml('['.repeat(9000)), /exceeded max depth|error converting/);
  const levels = [...'abcdefghi'];
  const bomb = levels
    .map(
      (name, index) =>
        `${name}: &${name} [${Array.from({ length: 9 }, () => (index === 0 ? 'lol' : `*${levels[index - 1]}`)).join(',')}]`,
    )
    .join('\n');
  assert.throws(() => parseYaml(bomb), /excessive aliasing/);
});

test('YAML merge keys', () => {
  const value = (text: string): unknown => parseYaml(text).value;
  assert.deepEqual(value('a: &x {k: 1}\nb: {k: 2, <<: *x, z: 3}\nc: {<<: *x, k: 4}'), {
    a: { k: 1 },
    b: { k: 2, z: 3 },
    c: { k: 4 },
  });
  assert.deepEqual(value('a: &x {k: 1}\nb: {<<: [*x, {k: 2, q: &y 1}]}\nc: *y'), {
    a: { k: 1 },
    b: { k: 1, q: 1 },
    c: 1,
  });
  assert.deepEqual(value('a: &x 1\nb: &y [*x]\nc: &x 2\nd: *y'), { a: 1, b: [1], c: 2, d: [1] });
  for (const text of ['<<: 1', '<<: [1]', 'a: &a [{}]\n<<: [*a]'])
    assert.throws(() => parseYaml(text), /map merge requires map or sequence of maps as the value$/, text);
  assert.throws(() => parseYaml('a: &a {<<: *a}'), /anchor 'a' value contains itself$/);
  // Each level merges the one before twice: 2 to the 60th values without a budget.
  const doubling = Array.from({ length: 60 }, (_, i) => `a${i + 1}: &a${i + 1} {<<: [*a${i}, *a${i}]}`);
  const wide = Array.from({ length: 1000 }, (_, i) => `k${i}: 1`).join(',');
  const before = process.threadCpuUsage();
  for (const bomb of [
    `a0: &a0 {k: 1}\n${doubling.join('\n')}`,
    `a: &a {${wide}}\nb: {<<: [${'*a,'.repeat(50_000)}]}`,
  ])
    assert.throws(() => parseYaml(bomb), /excessive aliasing/);
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`);
});
