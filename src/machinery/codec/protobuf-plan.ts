/**
 * Compiles an ObjectSchema into a plan for the protobuf encoder and decoder: fields by number, with an operation code each.
 * Follows the conventions of gogo/protobuf as Kubernetes' generated code uses them (proto2, every field optional or repeated).
 */
import { assert } from '#stdx/assert.ts';
import type { FieldSchema, ObjectSchema, ValueSchema } from '../schema.ts';

/** The wire type of a single value. */
export const op = {
  string: 0,
  integer: 1,
  bool: 2,
  double: 3,
  bytes: 4,
  time: 5,
  microTime: 6,
  quantity: 7,
  intOrString: 8,
  /** A message with the JSON text in field 1. */
  raw: 9,
  message: 10,
  /** A message whose fields are inlined in the same JSON object. */
  embedded: 11,
  /** A message with a list in field 1. */
  wrappedList: 12,
  schemaOrArray: 13,
  schemaOrBool: 14,
  schemaOrStrings: 15,
  duration: 16,
  fixedUnsigned: 17,
} as const;
type Op = (typeof op)[keyof typeof op];

export const shape = { single: 0, list: 1, map: 2 } as const;
type Shape = (typeof shape)[keyof typeof shape];

/** Fields that are written even when absent; zero values that were read are kept or dropped. */
export const zeroRule = { distinct: 0, omitted: 1, written: 2 } as const;

/** Of a field that is 'omitted' then. */
export function isZero(value: unknown): boolean {
  if (typeof value !== 'object') return value === '' || value === 0 || value === false;
  if (value === null) return true;
  for (const _ in value) return false;
  return true;
}

export interface FieldPlan {
  readonly name: string;
  readonly number: number;
  readonly op: Op;
  readonly shape: Shape;
  readonly zero: 0 | 1 | 2;
  /** Number and wire type of the field, and of a map's value. */
  readonly tag: number;
  readonly valueTag: number;
  /** For messages; compiled when first used. */
  message(): MessagePlan;
}

export interface MessagePlan {
  readonly name: string;
  /** By descending number: the encoder writes backwards. */
  readonly fields: readonly FieldPlan[];
  /** By number; sparse. */
  readonly byNumber: readonly (FieldPlan | undefined)[];
  /** A list's items, always present in JSON. */
  readonly fillItems: boolean;
}

const plans = new WeakMap<ObjectSchema, MessagePlan>();

export function createPlan(schema: ObjectSchema): MessagePlan {
  let plan = plans.get(schema);
  if (!plan) {
    plan = messagePlan(
      schema.name,
      schema.fields.filter((field) => field.number !== undefined),
      { owner: schema, depth: 0 },
    );
    plans.set(schema, plan);
  }
  return plan;
}

interface Context {
  readonly owner: ObjectSchema;
  readonly depth: number;
}

function messagePlan(name: string, fields: readonly FieldSchema[], context: Context): MessagePlan {
  const own = fields
    .filter((field) => (field.embeddedIn?.length ?? 0) === context.depth)
    .map((field) => fieldPlan(field, context));
  const embedded = Map.groupBy(
    fields.filter((field) => (field.embeddedIn?.length ?? 0) > context.depth),
    (field) => field.embeddedIn![context.depth]!,
  );
  for (const [number, inner] of embedded)
    own.push(
      embeddedPlan(number, messagePlan(`${name}.${number}`, inner, { ...context, depth: context.depth + 1 })),
    );
  own.sort((left, right) => right.number - left.number);
  const byNumber: (FieldPlan | undefined)[] = [];
  for (const field of own) byNumber[field.number] = field;
  const items = own.find((field) => field.name === 'items' && field.shape === shape.list);
  return { name, fields: own, byNumber, fillItems: items !== undefined && name.endsWith('List') };
}

const noMessage = (): MessagePlan => {
  throw new Error('assertion failed: only a message has a plan');
};

function embeddedPlan(number: number, plan: MessagePlan): FieldPlan {
  return {
    name: '',
    number,
    op: op.embedded,
    shape: shape.single,
    zero: zeroRule.written,
    tag: number * 8 + 2,
    valueTag: 0,
    message: () => plan,
  };
}

function fieldPlan(field: FieldSchema, { owner }: Context): FieldPlan {
  const { value } = field;
  const kind =
    value.kind === 'list' && !value.wrapped ? shape.list : value.kind === 'map' ? shape.map : shape.single;
  const element: ValueSchema =
    value.kind === 'list' && !value.wrapped ? value.items : value.kind === 'map' ? value.values : value;
  const code = operation(element);
  const isSchemaUnion = code === op.schemaOrArray || code === op.schemaOrBool || code === op.schemaOrStrings;
  let plan: MessagePlan | undefined;
  const message =
    element.kind === 'object'
      ? () => (plan ??= createPlan(element.type()))
      : isSchemaUnion
        ? () => (plan ??= createPlan(owner))
        : noMessage;
  return {
    name: field.name,
    number: field.number!,
    op: code,
    shape: kind,
    zero: zeroRule[field.zero ?? 'distinct'],
    tag: field.number! * 8 + (kind === shape.map ? 2 : wireType(code)),
    valueTag: 2 * 8 + wireType(code),
    message,
  };
}

function operation(value: ValueSchema): Op {
  if (value.kind === 'object') return op.message;
  if (value.kind === 'list') {
    assert(value.items.kind === 'scalar' && value.items.type === 'string', 'a wrapped list holds strings');
    return op.wrappedList;
  }
  assert(value.kind === 'scalar', 'the wire has no map inside a map');
  if (value.wire === 'schema-or-array') return op.schemaOrArray;
  if (value.wire === 'schema-or-bool') return op.schemaOrBool;
  if (value.wire === 'schema-or-strings') return op.schemaOrStrings;
  switch (value.type) {
    case 'string':
      return op.string;
    case 'int32':
    case 'int64':
      return op.integer;
    case 'uint32':
    case 'uint64':
      return op.fixedUnsigned;
    case 'bool':
      return op.bool;
    case 'double':
      return op.double;
    case 'bytes':
      return op.bytes;
    case 'time':
      return op.time;
    case 'micro-time':
      return op.microTime;
    case 'duration':
      return op.duration;
    case 'quantity':
      return op.quantity;
    case 'int-or-string':
      return op.intOrString;
    case 'fields-v1':
    case 'raw-extension':
    case 'json':
      return op.raw;
  }
}

function wireType(code: Op): number {
  if (code === op.integer || code === op.bool || code === op.fixedUnsigned) return 0;
  return code === op.double ? 1 : 2;
}
