import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '../schema.ts';
import {
  decodeEnvelope,
  decodeMessage,
  decodeObject,
  decodeWatchEvent,
  encodeEnvelope,
  encodeList,
  encodeMessage,
  encodeObject,
  encodeWatchEvent,
  ProtobufError,
} from './protobuf.ts';

const scalar = (type: ScalarType): ValueSchema => ({ kind: 'scalar', type });
const typeMeta: FieldSchema[] = ['apiVersion', 'kind'].map((name) => ({
  name,
  value: scalar('string'),
  required: false,
  zero: 'omitted',
}));

function objectSchema(name: string, fields: readonly FieldSchema[]): ObjectSchema {
  return { name, fields, byName: new Map(fields.map((field) => [field.name, field])) };
}

function field(
  name: string,
  number: number,
  value: ValueSchema,
  rest: Partial<FieldSchema> = {},
): FieldSchema {
  return { name, number, value, required: false, zero: 'omitted', ...rest };
}

const inner: ObjectSchema = objectSchema('Inner', [
  field('flag', 1, scalar('bool')),
  field('count', 2, scalar('int32'), { zero: 'distinct' }),
  field('again', 3, { kind: 'object', type: () => inner }, { zero: 'distinct' }),
]);

const outer = objectSchema('Outer', [
  ...typeMeta,
  field('name', 1, scalar('string')),
  field('size', 2, scalar('int64'), { zero: 'written' }),
  field('ratio', 3, scalar('double'), { zero: 'distinct' }),
  field('inner', 4, { kind: 'object', type: () => inner }, { zero: 'written' }),
  field('labels', 5, { kind: 'map', values: scalar('string') }),
  field('ports', 6, { kind: 'list', items: scalar('int32'), listType: 'atomic' }),
  field('at', 7, scalar('time'), { zero: 'written' }),
  field('when', 8, scalar('micro-time'), { zero: 'distinct' }),
  field('port', 9, scalar('int-or-string'), { zero: 'distinct' }),
  field('left', 1, scalar('string'), { embeddedIn: [12] }),
  field('data', 13, scalar('bytes')),
  field('window', 15, scalar('duration'), { zero: 'distinct' }),
  field('children', 14, { kind: 'list', items: { kind: 'object', type: () => inner }, listType: 'atomic' }),
]);

const roundTrip = (object: Record<string, unknown>): unknown =>
  decodeMessage(encodeMessage(object, outer), outer);

test('Go values are written when absent, pointers are not', () => {
  assert.equal(encodeMessage({}, inner).toString('hex'), '0800');
  assert.equal(encodeMessage({ count: 0 }, inner).toString('hex'), '08001000');
  assert.equal(encodeMessage({}, outer).toString('hex'), '0a001000' + '22020800' + '3a00' + '62020a00');
});

test('zero values are dropped, kept or null as in upstream', () => {
  assert.deepEqual(roundTrip({}), { size: 0, inner: {}, at: null });
  assert.deepEqual(roundTrip({ name: '', ratio: 0, inner: { count: 0, flag: false } }), {
    size: 0,
    ratio: 0,
    inner: { count: 0 },
    at: null,
  });
});

test('embedded fields, maps, times and integers of any size survive a round trip', () => {
  const object = {
    name: 'é'.repeat(50),
    size: -(2 ** 40),
    ratio: -1.5,
    inner: { flag: true, again: { count: -1 } },
    labels: { b: '2', a: '1', __proto__x: '3' },
    ports: [1, 70000],
    at: '2008-01-01T01:01:01Z',
    when: '1969-12-31T23:59:59.000001Z',
    port: 'http',
    left: 'over',
    data: 'AAEC',
    children: [{}, { count: 5 }],
    window: '1m30.5s',
  };
  assert.deepEqual(roundTrip(object), object);
  assert.deepEqual(roundTrip({ at: '2008-01-01T03:01:01.9+02:00' }), {
    size: 0,
    inner: {},
    at: '2008-01-01T01:01:01Z',
  });
});

test("Go's zero time counts as absent", () => {
  assert.deepEqual(encodeMessage({ at: '0001-01-01T00:00:00Z' }, outer), encodeMessage({ at: null }, outer));
});

test('map keys are sorted by bytes', () => {
  const bytes = encodeMessage({ labels: { '\u{1f600}': '', '\uffee': '', a: '' } }, outer).toString();
  assert.ok(
    bytes.indexOf('a') < bytes.indexOf('\uffee') && bytes.indexOf('\uffee') < bytes.indexOf('\u{1f600}'),
  );
});

test('reads packed lists of other writers', () => {
  assert.deepEqual(decodeMessage(Buffer.from('320301f004', 'hex'), outer), { ports: [1, 624] });
});

test('unknown fields are skipped', () => {
  assert.deepEqual(decodeMessage(Buffer.from('9a06036162630a0178', 'hex'), outer), { name: 'x' });
});

test('envelopes, lists and watch events can be combined', () => {
  const message = encodeMessage({ name: 'x' }, outer);
  const object = encodeEnvelope({ apiVersion: 'v1', kind: 'Outer', message });
  assert.deepEqual(encodeObject({ apiVersion: 'v1', kind: 'Outer', name: 'x' }, outer), object);
  assert.deepEqual(decodeEnvelope(object).message, message);
  const listSchema = objectSchema('OuterList', [
    ...typeMeta,
    field('metadata', 1, { kind: 'object', type: () => inner }, { zero: 'written' }),
    field(
      'items',
      2,
      { kind: 'list', items: { kind: 'object', type: () => outer }, listType: 'atomic' },
      { zero: 'written' },
    ),
  ]);
  const list = { apiVersion: 'v1', kind: 'OuterList', metadata: {}, items: [{ name: 'x' }, { name: 'x' }] };
  assert.deepEqual(
    encodeList({
      apiVersion: 'v1',
      kind: 'OuterList',
      metadata: encodeMessage({}, inner),
      items: [message, message],
    }),
    encodeObject(list, listSchema),
  );
  assert.deepEqual(decodeMessage(encodeMessage({}, listSchema), listSchema)['items'], []);
  assert.deepEqual(decodeWatchEvent(encodeWatchEvent({ type: 'ADDED', object })), { type: 'ADDED', object });
});

test('malformed, truncated and unknown input is rejected by code', () => {
  const bytes = encodeObject({ apiVersion: 'v1', kind: 'Outer', name: 'x', inner: { count: 3 } }, outer);
  const codeOf = (input: Uint8Array): unknown => {
    try {
      return decodeObject(input, { schemaFor: ({ kind }) => (kind === 'Outer' ? outer : undefined) });
    } catch (error) {
      return (error as ProtobufError).code;
    }
  };
  assert.equal(codeOf(Buffer.from('{}')), 'not-protobuf');
  assert.equal(codeOf(bytes.subarray(0, 30)), 'truncated');
  assert.equal(
    codeOf(encodeEnvelope({ apiVersion: 'v1', kind: 'Other', message: Buffer.alloc(0) })),
    'unknown-kind',
  );
  assert.throws(() => encodeMessage({ name: 3 }, outer), {
    code: 'wrong-value',
    message: 'Field name must be a string, not number',
  });
});

test('any bytes either decode or throw a ProtobufError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        decodeMessage(bytes, outer);
      } catch (error) {
        assert.ok(error instanceof ProtobufError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});
