import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldErrorBody } from '#machinery/errors.ts';
import { toStructural } from '#machinery/structural.ts';
import { compileSchemaRules } from './rules.ts';

type Json = Record<string, unknown>;

const object = (properties: Json, rules: readonly Json[] = []): Json => ({
  type: 'object',
  properties,
  'x-kubernetes-validations': rules,
});
const rule = (text: string, more: Json = {}): Json => ({ rule: text, ...more });
const texts = (schema: Json, value: unknown, old?: unknown): string[] => {
  const { errors, evaluate } = compileSchemaRules(toStructural(schema), 'schema');
  assert.deepEqual(
    errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`),
    [],
  );
  return (evaluate?.(value, old) ?? []).map((error) => `${error.field}: ${fieldErrorBody(error)}`);
};
const refusals = (schema: Json): string[] =>
  compileSchemaRules(toStructural(schema), 'schema').errors.map(
    (error) => `${error.field}: ${fieldErrorBody(error)}`,
  );

const number = { type: 'integer' };
const text = { type: 'string', maxLength: 40 };

/** A rule for an object with these fields. */
function holds(expression: string, value: Json = {}): boolean {
  const schema = object(
    {
      n: number,
      s: text,
      d: { type: 'number' },
      list: { type: 'array', maxItems: 10, items: text },
      ints: { type: 'array', maxItems: 10, items: number },
      map: { type: 'object', maxProperties: 10, additionalProperties: text },
      any: { 'x-kubernetes-int-or-string': true },
      when: { type: 'string', format: 'date-time' },
      span: { type: 'string', format: 'duration' },
      inner: { type: 'object', properties: { a: number, 'b-c': text, namespace: text } },
    },
    [rule(expression)],
  );
  return (
    texts(schema, {
      n: 3,
      s: 'hello',
      d: 1.5,
      list: ['b', 'a'],
      ints: [1, 2, 3],
      map: { k: 'v' },
      any: 5,
      when: '2026-01-02T03:04:05Z',
      span: '90s',
      inner: { a: 1, 'b-c': 'x', namespace: 'ns' },
      ...value,
    }).length === 0
  );
}

test('values have the types of their schema', () => {
  for (const expression of [
    'self.n == 3',
    'self.d > 1.0',
    'self.s.size() == 5',
    'self.list.all(x, x.size() == 1)',
    'self.map.all(k, k == "k")',
    'self.map["k"] == "v"',
    '"k" in self.map',
    'self.any == 5',
    'type(self.any) == int',
    'has(self.inner.a)',
    'has(self.inner.a) && self.inner.a > 0',
    'self.inner.b__dash__c == "x"',
    'self.inner.__namespace__ == "ns"',
    'self.when > timestamp("2025-01-01T00:00:00Z")',
    'self.span == duration("1m30s")',
    'self.when.getFullYear() == 2026',
    'self.inner == self.inner',
    'self.?inner.hasValue()',
  ])
    assert.ok(holds(expression), expression);
});

test('texts of formats have nanoseconds, and fail the rule where they cannot be read', () => {
  const span = (expression: string): Json =>
    object({ d: { type: 'string', format: 'duration', 'x-kubernetes-validations': [rule(expression)] } });
  const when = (expression: string, format = 'date-time'): Json =>
    object({ t: { type: 'string', format, 'x-kubernetes-validations': [rule(expression)] } });
  assert.deepEqual(texts(span('self == duration("72h")'), { d: '3 days' }), []);
  assert.deepEqual(
    texts(when('self == timestamp("2026-01-02T01:04:05.123456789Z")'), {
      t: '2026-01-02T03:04:05.123456789+02:00',
    }),
    [],
  );
  assert.deepEqual(texts(when('self == timestamp("2026-01-02T00:00:00Z")', 'date'), { t: '2026-01-02' }), []);
  assert.deepEqual(texts(span('self > duration("1h")'), { d: '106752 days' }), [
    'd: Invalid value: "string": Invalid duration 106752 days: integer overflow evaluating rule: self > duration("1h")',
  ]);
  assert.deepEqual(texts(span('self < duration("1h")'), { d: '1m' }, { d: '106752 days' }), []);
  const [problem = '', ...more] = texts(when('self > timestamp(0)'), { t: '2026-01-02t03:04:05z' });
  assert.deepEqual(more, []);
  assert.match(
    problem,
    /^t: Invalid value: "string": Invalid date-time formatted string 2026-01-02t03:04:05z: .* evaluating rule: self > timestamp\(0\)$/,
  );
});

test('Kubernetes functions', () => {
  for (const expression of [
    'self.ints.isSorted() && self.ints.sum() == 6 && self.ints.min() == 1 && self.ints.max() == 3 && self.ints.indexOf(2) == 1',
    '!self.list.isSorted()',
    'self.s.matches("^h.*o$") && matches(self.s, "ell")',
    'self.s.find("l+") == "ll" && self.s.findAll("l").size() == 2',
    'self.s.replace("l", "L") == "heLLo" && self.s.replace("l", "L", 1) == "heLlo"',
    'self.s.charAt(1) == "e"',
    '"%s=%d".format([self.s, self.n]) == "hello=3"',
    'sets.contains(self.ints, [1, 2]) && sets.intersects(self.ints, [3, 4]) && sets.equivalent(self.ints, [3, 2, 1])',
    'url("https://u@example.com:80/p?q=1").getHost() == "example.com:80" && url("https://example.com:80/p").getPort() == "80" && url("/p").getEscapedPath() == "/p" && isURL("https://x") && !isURL("no url")',
    'ip("127.0.0.1").isLoopback() && ip("::1").family() == 6 && isIP("1.2.3.4") && !isIP("1.2.3") && ip.isCanonical("1.2.3.4")',
    'cidr("10.0.0.0/8").containsIP("10.1.2.3") && cidr("10.0.0.0/8").containsCIDR("10.1.0.0/16") && cidr("10.1.2.3/8").masked() == cidr("10.0.0.0/8") && cidr("10.0.0.0/8").prefixLength() == 8',
    'quantity("1Gi").isGreaterThan(quantity("1G")) && quantity("1").add(2).compareTo(quantity("3")) == 0 && quantity("5").asInteger() == 5 && isQuantity("5m") && !isQuantity("x") && quantity("1500m").asApproximateFloat() == 1.5',
    '!format.dns1123Label().validate("ok").hasValue() && format.dns1123Label().validate("NO").hasValue() && format.named("uuid").hasValue()',
    'duration(self.span) == duration("90s") && timestamp(self.when) > timestamp("2020-01-01T00:00:00Z")',
  ])
    assert.ok(holds(expression), expression);
});

test('regular expressions take linear time', () => {
  assert.ok(!holds('self.s.matches("^(a+)+$")', { s: `${'a'.repeat(39)}!` }));
});

test('failures are reported with message, reason and path', () => {
  const schema = {
    type: 'object',
    properties: {
      spec: object({ min: number, max: number }, [
        rule('self.min <= self.max', { message: 'min must not exceed max' }),
        rule('self.min >= 0', { messageExpression: 'string(self.min)' }),
        rule('self.max < 100', { reason: 'FieldValueForbidden', fieldPath: '.max' }),
      ]),
    },
  };
  assert.deepEqual(texts(schema, { spec: { min: 3, max: 2 } }), [
    'spec: Invalid value: min must not exceed max',
  ]);
  assert.deepEqual(texts(schema, { spec: { min: -1, max: 2 } }), ['spec: Invalid value: -1']);
  assert.deepEqual(texts(schema, { spec: { min: 1, max: 200 } }), [
    'spec.max: Forbidden: failed rule: self.max < 100',
  ]);
  assert.deepEqual(
    texts(schema, { spec: { max: 2 } })[0],
    'spec: Invalid value: "object": no such key: min evaluating rule: min must not exceed max',
  );
});

test('the result of a string conversion has an unknown maximum length', () => {
  const schema = {
    type: 'object',
    properties: {
      spec: object({ min: number }, [
        rule('self.min >= 0', { messageExpression: '"min is " + string(self.min)' }),
      ]),
    },
  };
  assert.match(
    refusals(schema)[0]!,
    /messageExpression: Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x/,
  );
});

test('transition rules compare with the old value', () => {
  const frozen = {
    ...text,
    'x-kubernetes-validations': [rule('self == oldSelf', { message: 'is immutable' })],
  };
  const list = {
    type: 'array',
    maxItems: 10,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['name'],
    items: object({ name: text, value: frozen }),
  };
  assert.deepEqual(
    texts(
      object({ list }),
      {
        list: [
          { name: 'b', value: '2' },
          { name: 'a', value: '1' },
        ],
      },
      { list: [{ name: 'a', value: '1' }] },
    ),
    [],
  );
  assert.deepEqual(
    texts(
      object({ list }),
      {
        list: [
          { name: 'b', value: '2' },
          { name: 'a', value: '3' },
        ],
      },
      { list: [{ name: 'a', value: '1' }] },
    ),
    ['list[1].value: Invalid value: "3": is immutable'],
  );
  const optional = object({
    s: {
      ...text,
      'x-kubernetes-validations': [
        rule('oldSelf.hasValue() || self == "first"', { optionalOldSelf: true, message: 'begins as first' }),
      ],
    },
  });
  assert.deepEqual(texts(optional, { s: 'first' }), []);
  assert.deepEqual(texts(optional, { s: 'other' }), ['s: Invalid value: "other": begins as first']);
  assert.deepEqual(texts(optional, { s: 'other' }, { s: 'first' }), []);
  assert.deepEqual(refusals(object({ list: { type: 'array', maxItems: 3, items: frozen } })), [
    'schema.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[list]',
  ]);
});

test('lists of type set and map are equal in any order', () => {
  const tags = { type: 'array', maxItems: 5, items: text, 'x-kubernetes-list-type': 'set' };
  const schema = object({ tags, other: { ...tags, 'x-kubernetes-list-type': 'atomic' } }, [
    rule('self.tags == oldSelf.tags', { message: 'same tags' }),
    rule('!(self.tags != oldSelf.tags)', { message: 'no other tags' }),
  ]);
  assert.deepEqual(texts(schema, { tags: ['a', 'b'], other: ['1'] }, { tags: ['b', 'a'] }), []);
  assert.equal(texts(schema, { tags: ['a', 'c'] }, { tags: ['b', 'a'] }).length, 2);
  assert.equal(
    texts(
      object({ other: schema['properties'] && { ...tags, 'x-kubernetes-list-type': 'atomic' } }, [
        rule('self.other == oldSelf.other'),
      ]),
      { other: ['a', 'b'] },
      { other: ['b', 'a'] },
    ).length,
    1,
  );
  const parts = {
    type: 'array',
    maxItems: 5,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['k'],
    items: { ...object({ k: text, v: text }), required: ['k'] },
  };
  const joins = object({ tags, parts }, [
    rule('self.tags + ["a", "x"] == ["x", "b", "a"]', { message: 'tags' }),
    rule('(self.parts + oldSelf.parts).map(p, p.v) == ["2", "1"]', { message: 'parts' }),
  ]);
  assert.deepEqual(
    texts(
      joins,
      {
        tags: ['a', 'b'],
        parts: [
          { k: 'y', v: '0' },
          { k: 'x', v: '1' },
        ],
      },
      { tags: [], parts: [{ k: 'y', v: '2' }] },
    ),
    [],
  );
});

test('rules are not evaluated again for unchanged values', () => {
  const schema = object({ s: { ...text, 'x-kubernetes-validations': [rule('self != "bad"')] }, n: number });
  assert.deepEqual(texts(schema, { s: 'bad', n: 2 }, { s: 'bad', n: 1 }), []);
  assert.equal(texts(schema, { s: 'bad' }, { s: 'good' }).length, 1);
  const warnings: string[] = [],
    { evaluate } = compileSchemaRules(toStructural(schema), 'schema');
  assert.deepEqual(
    evaluate!({ s: 'bad', n: 2 }, { s: 'bad', n: 1 }, (message) => warnings.push(message)),
    [],
  );
  assert.deepEqual(warnings, ['s: Invalid value: "bad": failed rule: self != "bad"']);
  // A list whose items have no keys is compared as a whole.
  const list = object({
    list: {
      type: 'array',
      maxItems: 3,
      items: { ...text, 'x-kubernetes-validations': [rule('self != "bad"')] },
    },
    n: number,
  });
  assert.deepEqual(texts(list, { list: ['bad'], n: 2 }, { list: ['bad'], n: 1 }), []);
  assert.equal(texts(list, { list: ['bad', 'b'] }, { list: ['bad'] }).length, 1);
});

test('rules that do not compile are rejected with their path', () => {
  const refusal = (expression: string): string =>
    refusals(object({ n: number }, [rule(expression)]))[0] ?? '';
  assert.match(
    refusal('self.m == 1'),
    /^schema\.x-kubernetes-validations\[0\]\.rule: Invalid value: \{"Rule":"self\.m == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null\}: compilation failed: ERROR: <input>:1:5: undefined field 'm'\n \| self\.m == 1\n \| \.\.\.\.\^$/,
  );
  assert.match(refusal('self.n +'), /compilation failed: ERROR: <input>:1:\d+: Syntax error/);
  assert.match(refusal('self.n'), /cel expression must evaluate to a bool$/);
  assert.match(refusal('unheardOf(self.n)'), /undeclared reference to 'unheardOf' \(in container ''\)/);
  // The authorizer's functions are declared, the variable is not: one error.
  assert.match(
    refusal('authorizer.path("/x").check("get").allowed()'),
    /ERROR: <input>:1:1: undeclared reference to 'authorizer' \(in container ''\)\n \| authorizer[^\n]*\n \| \^$/,
  );
  assert.match(refusal('[1].all(i, i, i > 0)'), /compilation failed/);
  assert.match(refusal('[1].all(i, v, w > i)'), /undeclared reference to 'w'/);
  assert.match(refusal('self.n == "a"'), /compilation failed/);
  assert.match(refusal('has(self.m)'), /undefined field 'm'/);
  assert.match(refusal('cel.bind(x, self.n, x > 1)'), /undeclared reference to 'cel' \(in container ''\)/);
  const nullable = object({ n: { ...number, nullable: true }, s: { ...text, nullable: true } }, [
    rule('self.n == null'),
  ]);
  assert.match(refusals(nullable)[0]!, /found no matching overload for '_==_' applied to '\(int, null\)'/);
  const computed = (messageExpression: string): string =>
    refusals(
      object({ any: { 'x-kubernetes-int-or-string': true } }, [rule('true', { messageExpression })]),
    )[0] ?? '';
  assert.match(computed('self.any'), /messageExpression must evaluate to a string$/);
  assert.match(computed('"x" +'), /: messageExpression compilation failed: ERROR/);
});

test('rules of allOf are evaluated', () => {
  const schema = {
    ...object({ s: text }),
    allOf: [{ properties: { s: { 'x-kubernetes-validations': [rule('self != "bad"')] } } }],
  };
  assert.deepEqual(texts(schema, { s: 'bad' }), ['s: Invalid value: "bad": failed rule: self != "bad"']);
  assert.deepEqual(texts(schema, { s: 'good' }), []);
});

test('too expensive rules are rejected, others are stopped by their budget', () => {
  const strings = { type: 'array', items: { type: 'string' } };
  assert.match(
    refusals(object({ strings }, [rule('self.strings.all(a, self.strings.all(b, a != b))')])).at(0)!,
    /rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x \(try simplifying the rule, or adding maxItems/,
  );
  const ints = { type: 'array', maxItems: 900, items: number };
  const { errors, evaluate } = compileSchemaRules(
    toStructural(object({ ints }, [rule('self.ints.all(a, self.ints.all(b, a >= 0 && b >= 0))')])),
    'schema',
  );
  assert.deepEqual(errors, []);
  assert.match(
    fieldErrorBody(evaluate!({ ints: Array.from({ length: 900 }, () => 1) }, undefined)[0]!),
    /call cost exceeds limit for rule/,
  );
});
