/** Decodes protobuf messages to JSON objects, as upstream's types appear in JSON after decoding. Unknown fields are skipped. */
import { setOwn } from '../json.ts';
import { ProtobufError } from './protobuf-errors.ts';
import { isZero, op, shape, zeroRule, type FieldPlan, type MessagePlan } from './protobuf-plan.ts';
import type { Reader } from './protobuf-reader.ts';
import { formatDuration, formatMicroTime, formatTime } from './protobuf-scalars.ts';

type JsonObject = Record<string, unknown>;

/** Maximum nesting, which bounds the recursion. */
const maximumDepth = 1000;

/** Reads fields up to end into object. */
export function readMessage(
  reader: Reader,
  plan: MessagePlan,
  context: { object: JsonObject; end: number; depth: number },
): JsonObject {
  const { object, end, depth } = context;
  if (depth > maximumDepth)
    throw new ProtobufError('malformed', `message ${plan.name} is nested deeper than ${maximumDepth}`);
  while (reader.position < end) {
    const tag = reader.varint();
    const field = plan.byNumber[Math.floor(tag / 8)];
    const wireType = tag % 8;
    if (field === undefined) {
      reader.skip(wireType, end);
      continue;
    }
    if (field.tag === tag) readField(reader, field, { object, end, depth });
    else if (field.shape === shape.list && wireType === 2) readPacked(reader, field, { object, end });
    else
      throw new ProtobufError(
        'malformed',
        `proto: wrong wireType = ${wireType} for field ${field.name} of ${plan.name}`,
      );
  }
  if (reader.position > end) throw new ProtobufError('truncated', 'unexpected EOF');
  if (plan.fillItems && object['items'] === undefined) object['items'] = [];
  return object;
}

interface Target {
  readonly object: JsonObject;
  readonly end: number;
  readonly depth: number;
}

function readField(reader: Reader, field: FieldPlan, target: Target): void {
  const { object, end, depth } = target;
  if (field.op === op.embedded) {
    readMessage(reader, field.message(), { object, end: reader.end(end), depth: depth + 1 });
    return;
  }
  if (field.shape === shape.map) {
    readMapEntry(reader, field, target);
    return;
  }
  const value = readElement(reader, field, { end, depth });
  if (field.shape === shape.list) {
    const list = object[field.name] as unknown[] | undefined;
    if (list === undefined) object[field.name] = [value];
    else list.push(value);
    return;
  }
  if (value !== undefined && (field.zero !== zeroRule.omitted || !isZero(value))) object[field.name] = value;
}

function readPacked(
  reader: Reader,
  field: FieldPlan,
  { object, end }: { object: JsonObject; end: number },
): void {
  const limit = reader.end(end);
  const list = (object[field.name] ??= []) as unknown[];
  while (reader.position < limit) list.push(readElement(reader, field, { end: limit, depth: 0 }));
}

/** Key and value may be in any order, or absent. */
function readMapEntry(reader: Reader, field: FieldPlan, { object, end, depth }: Target): void {
  const entryEnd = reader.end(end);
  let key = '';
  let value: unknown;
  while (reader.position < entryEnd) {
    const tag = reader.varint();
    if (tag === 0x0a) key = reader.string(entryEnd);
    else if (tag === field.valueTag) value = readElement(reader, field, { end: entryEnd, depth });
    else reader.skip(tag % 8, entryEnd);
  }
  const map = (object[field.name] ??= {}) as JsonObject;
  setOwn(map, key, value === undefined ? zeroElement(field) : value);
}

function zeroElement(field: FieldPlan): unknown {
  if (field.op === op.string || field.op === op.bytes) return '';
  if (field.op === op.wrappedList) return [];
  return field.op === op.quantity ? '0' : field.op === op.message ? {} : null;
}

function readElement(
  reader: Reader,
  field: FieldPlan,
  { end, depth }: { end: number; depth: number },
): unknown {
  switch (field.op) {
    case op.string:
      return reader.string(end);
    case op.integer:
    case op.fixedUnsigned:
      return reader.integer();
    case op.bool:
      return reader.varint() !== 0;
    case op.double:
      return reader.double();
    case op.bytes:
      return reader.bytes(end).toString('base64');
    default: {
      const limit = reader.end(end);
      if (field.op === op.message)
        return readMessage(reader, field.message(), { object: {}, end: limit, depth: depth + 1 });
      const value = readSmallMessage(reader, field, { end: limit, depth });
      reader.position = limit;
      return value;
    }
  }
}

/** Messages that are one value in JSON: up to three fields, collected by number. */
function readSmallMessage(
  reader: Reader,
  field: FieldPlan,
  { end, depth }: { end: number; depth: number },
): unknown {
  if (reader.position === end) return emptySmallMessage(field);
  const isUnion = field.op >= op.schemaOrArray && field.op <= op.schemaOrStrings;
  let first = 0;
  let second = 0;
  let text: string | undefined;
  const list: unknown[] = [];
  let schema: unknown;
  while (reader.position < end) {
    const tag = reader.varint();
    if (tag === 0x08) first = reader.integer();
    else if (tag === 0x10) second = reader.integer();
    else if (isUnion && tag === (field.op === op.schemaOrBool ? 0x12 : 0x0a))
      schema = readMessage(reader, field.message(), { object: {}, end: reader.end(end), depth: depth + 1 });
    else if (field.op === op.schemaOrArray && tag === 0x12)
      list.push(readMessage(reader, field.message(), { object: {}, end: reader.end(end), depth: depth + 1 }));
    else if (tag === 0x0a || tag === 0x1a || tag === 0x12) {
      text = reader.string(end);
      list.push(text);
    } else reader.skip(tag % 8, end);
  }
  switch (field.op) {
    case op.time:
      return formatTime(first);
    case op.microTime:
      return formatMicroTime({ seconds: first, microseconds: Math.floor(second / 1000) });
    case op.quantity:
      return text ?? '0';
    case op.intOrString:
      return first === 1 ? (text ?? '') : second;
    case op.raw:
      return parseRaw(text, field);
    case op.wrappedList:
      return list;
    case op.duration:
      return formatDuration(first);
    case op.schemaOrBool:
      return schema ?? first !== 0;
    default:
      return schema ?? list;
  }
}

/** Go's zero time is null in JSON; an absent raw value is omitted. */
function emptySmallMessage(field: FieldPlan): unknown {
  switch (field.op) {
    case op.time:
    case op.microTime:
      return field.zero === zeroRule.written ? null : undefined;
    case op.quantity:
      return '0';
    case op.intOrString:
      return 0;
    case op.wrappedList:
    case op.schemaOrArray:
    case op.schemaOrStrings:
      return [];
    case op.duration:
      return '0s';
    case op.schemaOrBool:
      return false;
    default:
      return undefined;
  }
}

function parseRaw(text: string | undefined, field: FieldPlan): unknown {
  if (text === undefined || text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new ProtobufError('malformed', `Field ${field.name} does not hold JSON`);
  }
}
