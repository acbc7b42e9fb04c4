import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError, configKind, decodeStrictly, MAXIMUM_CONFIG_LENGTH, readConfig } from './read.ts';
import { duration, flag, integer, listOf, mapOf, objectSchema, struct, text } from './schema.ts';

const PAINT = configKind(
  { group: 'paint.example.com', versions: ['v1', 'v1beta1'], kind: 'PaintConfiguration' },
  {
    coats: integer,
    wet: flag,
    dries: duration,
    brushes: listOf(struct('Brush', { name: text })),
    labels: mapOf(text),
  },
);
const OTHER = configKind({ group: '', versions: ['v1'], kind: 'Config' }, { a: text });
const HEAD = 'apiVersion: paint.example.com/v1\nkind: PaintConfiguration\n';
const read = (content: string): unknown => readConfig(content, [PAINT, OTHER]);

test('YAML, JSON, every version and kind', () => {
  const paint = { apiVersion: 'paint.example.com/v1', kind: 'PaintConfiguration' };
  assert.deepEqual(read(`${HEAD}coats: 2\nbrushes: [{name: wide}]\n`), {
    ...paint,
    coats: 2,
    brushes: [{ name: 'wide' }],
  });
  assert.deepEqual(read(JSON.stringify({ ...paint, wet: true, dries: '90s', labels: { a: 'b' } })), {
    ...paint,
    wet: true,
    dries: '1m30s',
    labels: { a: 'b' },
  });
  assert.deepEqual(read('{"apiVersion":"paint.example.com/v1beta1","kind":"PaintConfiguration"}'), {
    ...paint,
    apiVersion: 'paint.example.com/v1beta1',
  });
  assert.deepEqual(read('apiVersion: v1\nkind: Config\na: x\n'), {
    apiVersion: 'v1',
    kind: 'Config',
    a: 'x',
  });
});

describe('rejected', () => {
  const cases: readonly (readonly [what: string, content: string, says: string | RegExp])[] = [
    ['nothing', ' \n', 'the file is empty'],
    ['no YAML', 'a: [', /^it is not valid YAML: /],
    ['a list', '- a', 'it holds no object'],
    ['two documents', `${HEAD}---\n${HEAD}`, /more than one document/],
    ['no kind', 'apiVersion: v1', "Object 'Kind' is missing"],
    ['no version', 'kind: Config', "Object 'apiVersion' is missing"],
    [
      'another kind',
      'apiVersion: v2\nkind: Config',
      'no kind "Config" is registered for version "v2"; it should be PaintConfiguration of paint.example.com/v1 or Config of v1',
    ],
    [
      'unknown fields',
      `${HEAD}colour: red\nbrushes: [{size: 1}]`,
      'strict decoding error: unknown field "brushes[0].size", unknown field "colour"',
    ],
    [
      'a field twice',
      `${HEAD}coats: 1\ncoats: 2\n`,
      /^strict decoding error: [^]*"coats" already set in map/,
    ],
    ['a field twice in JSON', '{"apiVersion":"v1","kind":"Config","a":"1","a":"2"}', /already set in map/],
    [
      'another type',
      `${HEAD}coats: two`,
      'json: cannot unmarshal string into Go struct field PaintConfiguration.coats of type int32',
    ],
    ['no duration', `${HEAD}dries: soon`, 'time: invalid duration "soon"'],
    [
      'too much',
      `${HEAD}#${'x'.repeat(MAXIMUM_CONFIG_LENGTH)}`,
      /^it has \d+ characters; it should have at most/,
    ],
  ];
  for (const [what, content, says] of cases)
    test(what, () => {
      assert.throws(
        () => read(content),
        (error) =>
          error instanceof ConfigError &&
          (typeof says === 'string'
            ? assert.equal(error.message, says)
            : assert.match(error.message, says)) === undefined,
      );
    });
});

test('a section without a kind', () => {
  const schema = objectSchema('Section', { a: text });
  assert.deepEqual(decodeStrictly({ a: 'x' }, schema), { a: 'x' });
  assert.throws(
    () => decodeStrictly({ b: 'x' }, schema),
    /^ConfigError: strict decoding error: unknown field "b"$/,
  );
  assert.throws(() => decodeStrictly('x', schema), /it holds no object/);
});
