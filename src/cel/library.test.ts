import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CelCompileError, CelCostError, CelRuntimeError } from './errors.ts';
import { compileExpression } from './expression.ts';

const variables = { object: 'dyn' } as const;
const object = {
  list: ['b', 'a', 'b'],
  map: { x: 1, y: 2 },
  nested: [[1, 2], [3]],
  items: [
    { name: 'a', n: 1 },
    { name: 'b', n: 2 },
  ],
  name: 'web',
};
const evaluate = (source: string): unknown => compileExpression(source, { variables }).evaluate({ object });
const all = (...sources: readonly string[]): void => {
  for (const source of sources) assert.equal(evaluate(source), true, source);
};
const equal = (source: string, expected: unknown): void =>
  assert.deepEqual(evaluate(source), expected, source);

test('comprehensions with two variables', () => {
  all(
    'object.list.all(i, v, i < 3 && v != "c")',
    '!object.map.all(k, v, v > 1)',
    'object.map.exists(k, v, k == "y" && v == 2)',
    'object.list.existsOne(i, v, v == "a")',
    '!object.list.exists_one(i, v, v == "b")',
    'object.map.exists(k, v, v == 2 || k.missing)',
    '[1, 2].all(i, v, v == i + 1)',
    '[[1], [2]].all(i, inner, inner.all(j, v, v == i + 1 && j == 0))',
  );
  equal('object.list.transformList(i, v, string(i) + v)', ['0b', '1a', '2b']);
  equal('object.map.transformList(k, v, v > 1, k)', ['y']);
  equal('object.map.transformMap(k, v, v * 10)', { x: 10, y: 20 });
  equal('object.items.transformMapEntry(i, item, {item.name: item.n})', { a: 1, b: 2 });
  assert.throws(
    () => evaluate('object.list.transformMapEntry(i, v, {v: i})'),
    /insert failed: key b already exists/,
  );
  assert.throws(() => evaluate('object.map.all(k, v, v.missing)'), CelRuntimeError);
  assert.throws(() => evaluate('object.list.all(v, v, true)'), CelCompileError);
  assert.throws(() => evaluate('object.name.all(i, v, true)'), CelRuntimeError);
});

test('optional values', () => {
  all(
    'object.?map.?x == optional.of(1)',
    'object.?map.?x != object.?map.?y',
    'object.?none == optional.none()',
    'object.?name.optMap(n, n + "!").orValue("") == "web!"',
    'object.?none.optMap(n, n).orValue("d") == "d"',
    'object.?map.optFlatMap(m, m.?x).value() == 1',
    '!object.?map.optFlatMap(m, m.?z).hasValue()',
    'object.?none.or(object.?name).value() == "web"',
    'optional.ofNonZeroValue("").hasValue() == false',
    'optional.ofNonZeroValue(3).value() == 3',
    'object.list[?0].value() == "b"',
    '!object.list[?9].hasValue()',
    'object.list.first().value() == "b"',
    '![].last().hasValue()',
  );
});

test('lists', () => {
  equal('object.list.distinct()', ['b', 'a']);
  equal('object.list.sort()', ['a', 'b', 'b']);
  equal('object.items.sortBy(item, -item.n).map(item, item.name)', ['b', 'a']);
  equal('object.list.reverse()', ['b', 'a', 'b']);
  equal('object.list.slice(1, 3)', ['a', 'b']);
  equal('object.nested.flatten()', [1, 2, 3]);
  equal('[dyn([[1]]), [2]].flatten(2)', [1, 2]);
  equal('lists.range(3)', [0, 1, 2]);
  equal('[{"a": 1}, {"a": 1}].distinct()', [{ a: 1 }]);
  assert.throws(() => evaluate('object.list.slice(2, 9)'), /list is length 3/);
  assert.throws(() => evaluate('[1, dyn("a")].sort()'), /same type/);
  assert.throws(() => evaluate('lists.range(100000000).size() > 0'), CelRuntimeError);
});

test('semantic versions', () => {
  all(
    'isSemver("1.2.3-rc.1+build")',
    '!isSemver("1.2")',
    '!isSemver("01.2.3")',
    '!isSemver("1.2.3-01")',
    'isSemver("v1.2", true)',
    'semver("v01.2", true) == semver("1.2.0")',
    'semver("1.2.3").major() == 1 && semver("1.2.3").minor() == 2 && semver("1.2.3").patch() == 3',
    'semver("1.2.3").isLessThan(semver("1.10.0"))',
    'semver("1.0.0").isGreaterThan(semver("1.0.0-rc.1"))',
    'semver("1.0.0-2").compareTo(semver("1.0.0-10")) == -1',
    'semver("1.0.0-alpha.1").isGreaterThan(semver("1.0.0-alpha"))',
    'semver("1.0.0+a") == semver("1.0.0+b")',
  );
  assert.throws(() => evaluate('semver("x").major()'), CelRuntimeError);
});

test('texts: nothing takes long, whatever it is asked', () => {
  equal('"aXbX".replace("X", "-", 1)', 'a-bX');
  equal('"ab".replace("", "-", 2)', '-a-b');
  equal('strings.quote("a\\n\\"b\\"")', '"a\\n\\"b\\""');
  for (const unknown of ['"a".reverse() == "a"', '"a".quote() == "a"', '"a".matches("(")'])
    assert.throws(() => evaluate(unknown), CelCompileError);
  assert.throws(() => evaluate('jsonpatch.escapeKey("a/b~c")'), CelCompileError);
  assert.equal(
    compileExpression('jsonpatch.escapeKey("a/b~c")', { variables, constructs: true }).evaluate({}),
    'a~1b~0c',
  );
  equal('"%s is %d, %.2f, %s".format(["a", 3, 1.5, [1, "x"]])', 'a is 3, 1.50, [1, x]');
  assert.throws(
    () =>
      evaluate(
        '"x".replace("", "y", 9223372036854775807) == "" || lists.range(1000000).map(i, "a").join("bbbbbbbbbbbbbbbbbbbbbbbbb").size() > 0',
      ),
    /cost limit/,
  );
});

test('what takes long costs much', () => {
  const list = Array.from({ length: 1000 }, (_, i) => i),
    deep = Array.from({ length: 100 }, () => Array.from({ length: 100 }, () => ({ a: { b: [1, 2, 3] } })));
  const big = { list, deep, copy: structuredClone(deep), text: 'a'.repeat(1_000_000) };
  for (const source of [
    'object.list.exists(a, object.list.exists(b, object.list.exists(c, c.x)))',
    'object.list.all(a, object.list.exists(b, a.x || b.x))',
    'object.list.all(a, object.deep == object.copy)',
    'object.list.all(a, object.deep in [object.copy, object.copy])',
    'object.list.all(a, object.deep.distinct().size() > 0)',
    'object.list.all(a, sets.equivalent(object.deep, object.copy))',
    'object.list.all(a, "%s".format([object.deep]).size() > 0)',
    'object.list.all(a, object.text.replace("a", "bb").size() > 0)',
    'object.list.all(a, object.list.all(b, timestamp("2020-01-01T00:00:00Z").getHours("America/New_York") >= 0))',
    'object.list.all(a, object.text.lowerAscii() != "" && object.text.split("").size() > 0)',
    'object.list.all(a, object.list.sort().size() > 0)',
    'object.list.all(a, isQuantity(object.text) || isIP(object.text) || isSemver(object.text) || true)',
    'object.list.map(a, object.text + object.text).size() > 0',
    'object.list.transformList(i, v, object.list.transformMap(j, w, [v, w])).size() > 0',
  ])
    assert.throws(
      () => compileExpression(source, { variables }).evaluate({ object: big }),
      CelCostError,
      source,
    );
});

test("the evaluator's own additions are no CEL", () => {
  for (const source of ['bytes("{}").json()', 'bytes("a").hex()', 'bytes("a").base64()', 'bytes("a").at(0)'])
    assert.throws(() => evaluate(source), /undeclared reference to '\w+'/, source);
});

test('a global function called as a member has no matching overload, as in cel-go', () => {
  assert.throws(
    () => evaluate('bytes("a").string()'),
    /found no matching overload for 'string' applied to 'bytes\.\(\)'/,
  );
  assert.throws(
    () => evaluate('quantity("1").sign() == 1'),
    /1:19: found no matching overload for 'sign' applied to 'kubernetes\.Quantity\.\(\)'/,
  );
});
