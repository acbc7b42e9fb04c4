import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FieldSelectorError, parseFieldSelector } from './fields.ts';
import {
  compileLabelSelector,
  LabelSelector,
  LabelSelectorError,
  parseLabelSelector,
  validateLabelSelector,
  type LabelRequirement,
} from './labels.ts';

test('parses, prints and matches', () => {
  const cases: [string, string, Record<string, string>, Record<string, string>][] = [
    ['a=b', 'a=b', { a: 'b' }, { a: 'c' }],
    ['a==b', 'a==b', { a: 'b' }, {}],
    ['a!=b', 'a!=b', {}, { a: 'b' }],
    [
      'x in (foo,,baz),y,z notin ()',
      'x in (,baz,foo),y,z notin ()',
      { x: '', y: '1', z: '2' },
      { x: 'foo', y: '1', z: '' },
    ],
    ['!a', '!a', { b: '' }, { a: '' }],
    ['a', 'a', { a: '' }, {}],
    ['a>1', 'a>1', { a: '2' }, { a: 'x' }],
    ['a<1', 'a<1', { a: '-5' }, { a: '1' }],
    ['in in (in,notin)', 'in in (in,notin)', { in: 'notin' }, { in: 'x' }],
    ['a=', 'a=', { a: '' }, { a: 'b' }],
    [' b = c , a ', 'a,b=c', { a: '', b: 'c' }, { b: 'c' }],
    ['constructor', 'constructor', { constructor: 'x' } as unknown as Record<string, string>, {}],
  ];
  for (const [text, printed, yes, no] of cases) {
    const selector = parseLabelSelector(text);
    assert.equal(selector.toString(), printed, text);
    assert.ok(selector.matches(yes), `${text} matches ${JSON.stringify(yes)}`);
    assert.ok(!selector.matches(no), `${text} does not match ${JSON.stringify(no)}`);
  }
  assert.ok(parseLabelSelector('').isEverything);
});

test('errors have the messages of upstream', () => {
  const faults: [string, string][] = [
    ['a,', "found '', expected: identifier after ','"],
    ['a b', "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    ['a=b c', "found 'c', expected: ',' or 'end of string'"],
    ['=a', "found '=', expected: !, identifier, or 'end of string'"],
    ['a in b', "unable to parse requirement: found 'b' expected: '('"],
    ['a in (b', "unable to parse requirement: found '', expected: ',' or ')'"],
    [
      'a>x',
      `unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer`,
    ],
  ];
  for (const [text, message] of faults)
    assert.throws(
      () => parseLabelSelector(text),
      (error) => error instanceof LabelSelectorError && error.message === message,
      text,
    );
  assert.throws(
    () => parseLabelSelector('a/b/c=d'),
    /unable to parse requirement: <nil>: Invalid value: "a\/b\/c": a valid label key/,
  );
});

test('a printed selector parses to the same selector', () => {
  const word = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);
  const requirement: fc.Arbitrary<LabelRequirement> = fc.oneof(
    fc.record({
      key: word,
      operator: fc.constantFrom('in' as const, 'notin' as const),
      values: fc.uniqueArray(word, { minLength: 1, maxLength: 12 }),
    }),
    fc.record({ key: word, operator: fc.constantFrom('=' as const, '!=' as const), values: fc.tuple(word) }),
    fc.record({
      key: word,
      operator: fc.constantFrom('exists' as const, '!' as const),
      values: fc.constant([]),
    }),
  );
  fc.assert(
    fc.property(
      fc.array(requirement, { maxLength: 4 }),
      fc.dictionary(word, word),
      (requirements, labels) => {
        const selector = LabelSelector.of(requirements);
        const again = parseLabelSelector(selector.toString());
        assert.equal(again.toString(), selector.toString());
        assert.equal(again.matches(labels), selector.matches(labels));
      },
    ),
  );
});

test('metav1.LabelSelector', () => {
  assert.ok(compileLabelSelector(undefined).isNothing);
  assert.ok(!compileLabelSelector(undefined).matches({}));
  assert.ok(compileLabelSelector({}).matches({ a: 'b' }));
  const selector = compileLabelSelector({
    matchLabels: { app: 'web' },
    matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['db'] }],
  });
  assert.ok(selector.matches({ app: 'web' }));
  assert.ok(!selector.matches({ app: 'web', tier: 'db' }));
  assert.equal(selector.exactValue('app'), 'web');
  assert.throws(
    () => compileLabelSelector({ matchExpressions: [{ key: 'a', operator: 'Foo' }] }),
    /"Foo" is not a valid label selector operator/,
  );
  const errors = validateLabelSelector(
    {
      matchExpressions: [
        { key: 'a', operator: 'In' },
        { key: 'b', operator: 'Exists', values: ['x'] },
      ],
    },
    'spec.selector',
  );
  assert.deepEqual(
    errors.map(({ type, field }) => `${type} ${field}`),
    [
      'FieldValueRequired spec.selector.matchExpressions[0].values',
      'FieldValueForbidden spec.selector.matchExpressions[1].values',
    ],
  );
});

test('field selectors', () => {
  const selector = parseFieldSelector(String.raw`status.phase!=Failed,metadata.name==a\,b\=c,spec.nodeName=`);
  assert.equal(selector.toString(), String.raw`metadata.name=a\,b\=c,spec.nodeName=,status.phase!=Failed`);
  assert.equal(selector.exactValue('metadata.name'), 'a,b=c');
  const object: Record<string, string> = {
    'metadata.name': 'a,b=c',
    'spec.nodeName': '',
    'status.phase': 'Running',
  };
  assert.ok(selector.matches((field) => object[field]!));
  for (const [text, message] of [
    ['a', "invalid selector: 'a'; can't understand 'a'"],
    ['a=b=c', 'invalid field selector: unescaped character in value: 61'],
    [String.raw`a=\x`, String.raw`invalid field selector: invalid escape sequence: \x`],
  ]) {
    assert.throws(
      () => parseFieldSelector(text!),
      (error) => error instanceof FieldSelectorError && error.message === message,
    );
  }
});
