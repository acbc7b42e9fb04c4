import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeOpenapiV3 } from './v3-protobuf.ts';

const schemaOf = (schema: object): string =>
  encodeOpenapiV3({ components: { schemas: { S: schema } } }).toString('latin1');

test("documents are gnostic's openapi.v3.Document", () => {
  const bytes = encodeOpenapiV3({
    openapi: '3.0.0',
    info: { title: 'T', version: 'v' },
    paths: { '/p': { get: { operationId: 'o', responses: { 401: { description: 'Unauthorized' } } } } },
    security: [{ BearerToken: [] }],
  });
  assert.ok(bytes.toString('latin1').startsWith('\n\x053.0.0\x12\x06\n\x01T2\x01v'));
  for (const part of [
    '*\x01o',
    '\x12\x17\n\x03401\x12\x10\n\x0e\n\x0cUnauthorized',
    '\n\x02/p',
    'BearerToken',
  ])
    assert.ok(bytes.includes(Buffer.from(part, 'latin1')), part);
});

for (const [title, schema, expected] of [
  ['a reference', { $ref: '#/x' }, '\x12\x05\n\x03#/x'],
  ['an empty default is there all the same', { default: '' }, '\x8a\x02\x02\x1a\x00'],
  [
    'so are 0 and false',
    { allOf: [{ default: 0 }, { default: false }] },
    '\x8a\x02\x09\x09\x00\x00\x00\x00\x00\x00\x00\x00',
  ],
  ['a default that is an object says nothing', { default: {} }, '\x8a\x02\x00'],
  [
    'items and format',
    { type: 'array', items: { type: 'string', format: 'byte' } },
    '\xf2\x01\x14\n\x12\n\x10\xca\x01\x06string\x9a\x02\x04byte',
  ],
  ['additional properties', { additionalProperties: { $ref: '#/x' } }, '\x82\x02\x09\n\x07\x12\x05\n\x03#/x'],
  [
    'values of an enumeration are YAML',
    { enum: ['Never', ''] },
    '\xc2\x01\x08\x12\x06Never\n\xc2\x01\x05\x12\x03""\n',
  ],
  [
    'extensions too',
    { 'x-kubernetes-int-or-string': true },
    'x-kubernetes-int-or-string\x12\x07\x12\x05true\n',
  ],
] as const) {
  test(`schemas: ${title}`, () =>
    assert.ok(schemaOf(schema).includes(expected), JSON.stringify(schemaOf(schema))));
}
