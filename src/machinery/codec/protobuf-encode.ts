/**
 * Encodes JSON objects to protobuf messages, byte for byte as Kubernetes' generated code does. The writer keeps whether the decoder would not
 * return the same value: null, what is empty and therefore not on the wire, fields that the schema does not have, other notations of one value.
 */
import {
  base64ToBytes,
  formatDuration,
  formatMicroTime,
  formatTime,
  parseDuration,
  parseTime,
  type WireTime,
} from './protobuf-scalars.ts';
import { ProtobufError } from './protobuf-errors.ts';
import { isZero, op, shape, zeroRule, type FieldPlan, type MessagePlan } from './protobuf-plan.ts';
import type { ReverseWriter } from './protobuf-writer.ts';

type JsonObject = Readonly<Record<string, unknown>>;
/** Go's zero time, 0001-01-01T00:00:00Z, is an empty message. */
const zeroTimeSeconds = -62_135_596_800;
const empty: JsonObject = Object.freeze({});

/** Fields, without tag and length. beside: fields of the object that are elsewhere on the wire. */
export function writeMessage(writer: ReverseWriter, plan: MessagePlan, object: JsonObject, beside = 0): void {
  const written = writeFields(writer, plan, object);
  if (writer.isFaithful && hasMoreFields(object, written + beside)) writer.isFaithful = false;
}

/** Returns the number of fields that the object has. */
function writeFields(writer: ReverseWriter, plan: MessagePlan, object: JsonObject): number {
  let present = 0;
  for (const field of plan.fields) {
    if (field.op === op.embedded) {
      present += writeEmbedded(writer, field, object);
      continue;
    }
    const value = object[field.name];
    if (value === undefined || value === null) {
      if (value === null) writer.isFaithful = false;
      writeAbsent(writer, field);
      continue;
    }
    present++;
    writePresent(writer, field, value);
  }
  return present;
}

function hasMoreFields(object: JsonObject, count: number): boolean {
  let fields = 0;
  for (const name in object) if (object[name] !== undefined) fields++;
  return fields > count;
}

function writePresent(writer: ReverseWriter, field: FieldPlan, value: unknown): void {
  if (field.shape === shape.single) {
    if (field.zero === zeroRule.omitted && isZero(value)) writer.isFaithful = false;
    writeElement(writer, field, value);
    writer.varint(field.tag);
    return;
  }
  if (field.shape === shape.map) {
    writeMap(writer, field, value as JsonObject);
    return;
  }
  const list = value as readonly unknown[];
  if (!Array.isArray(list)) throw wrongValue(field, 'an array', value);
  if (list.length === 0) writer.isFaithful = false;
  for (let index = list.length - 1; index >= 0; index--) {
    writeElement(writer, field, list[index]);
    writer.varint(field.tag);
  }
}

function writeEmbedded(writer: ReverseWriter, field: FieldPlan, object: JsonObject): number {
  const end = writer.mark();
  const present = writeFields(writer, field.message(), object);
  writer.varint(writer.mark() - end);
  writer.varint(field.tag);
  return present;
}

/** Go values are written even when they are zero; pointers, lists, maps and bytes are not. */
function writeAbsent(writer: ReverseWriter, field: FieldPlan): void {
  if (field.zero === zeroRule.distinct || field.shape !== shape.single) return;
  if (field.zero === zeroRule.written) writer.isFaithful = false;
  switch (field.op) {
    case op.string:
      writer.string('');
      break;
    case op.integer:
    case op.fixedUnsigned:
    case op.bool:
      writer.varint(0);
      break;
    case op.double:
      writer.double(0);
      break;
    case op.time:
    case op.microTime:
    case op.raw:
      writer.varint(0);
      break;
    case op.quantity:
      writeElement(writer, field, '0');
      break;
    case op.intOrString:
      writeElement(writer, field, 0);
      break;
    case op.duration:
      writeElement(writer, field, '0s');
      break;
    case op.message:
      writeElement(writer, field, empty);
      break;
    default:
      return;
  }
  writer.varint(field.tag);
}

function writeMap(writer: ReverseWriter, field: FieldPlan, map: JsonObject): void {
  if (typeof map !== 'object') throw wrongValue(field, 'an object', map);
  const keys = sortedKeys(map);
  if (keys.length === 0) writer.isFaithful = false;
  for (let index = keys.length - 1; index >= 0; index--) {
    const end = writer.mark();
    writeElement(writer, field, map[keys[index]!]);
    writer.varint(field.valueTag);
    writer.string(keys[index]!);
    writer.varint(0x0a);
    writer.varint(writer.mark() - end);
    writer.varint(field.tag);
  }
}

/** Sorted by UTF-8 bytes, as in Go. */
function sortedKeys(map: JsonObject): string[] {
  const keys = Object.keys(map);
  if (keys.length < 2) return keys;
  return keys.some((key) => /[\ud800-\uffff]/.test(key))
    ? keys.sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
    : keys.sort();
}

function writeBytes(writer: ReverseWriter, text: string): void {
  const bytes = base64ToBytes(text);
  if (writer.isFaithful && bytes.toString('base64') !== text) writer.isFaithful = false;
  writer.bytes(bytes);
}

/** A value with its length prefix, if it has one, without the tag. */
function writeElement(writer: ReverseWriter, field: FieldPlan, value: unknown): void {
  switch (field.op) {
    case op.string:
      if (typeof value !== 'string') throw wrongValue(field, 'a string', value);
      writer.string(value);
      return;
    case op.integer:
    case op.fixedUnsigned:
      if (typeof value !== 'number' || !Number.isInteger(value)) throw wrongValue(field, 'an integer', value);
      if (!Number.isSafeInteger(value)) writer.isFaithful = false;
      writer.integer(value);
      return;
    case op.bool:
      if (typeof value !== 'boolean') throw wrongValue(field, 'a boolean', value);
      writer.varint(value ? 1 : 0);
      return;
    case op.double:
      if (typeof value !== 'number') writer.isFaithful = false;
      writer.double(Number(value));
      return;
    case op.bytes:
      writeBytes(writer, value as string);
      return;
    default:
      writeDelimited(writer, field, value);
  }
}

function writeDelimited(writer: ReverseWriter, field: FieldPlan, value: unknown): void {
  const end = writer.mark();
  switch (field.op) {
    case op.message:
      if (typeof value !== 'object' || value === null) writer.isFaithful = false;
      writeMessage(writer, field.message(), (value ?? empty) as JsonObject);
      break;
    case op.time:
      writeTime(writer, field, { value, precision: 1000 });
      break;
    case op.microTime:
      writeTime(writer, field, { value, precision: 1 });
      break;
    case op.quantity:
      if (typeof value !== 'string') writer.isFaithful = false;
      writer.string(String(value));
      writer.varint(0x0a);
      break;
    case op.intOrString:
      writeIntOrString(writer, value as number | string);
      break;
    case op.raw:
      if (value !== undefined) {
        writer.string(JSON.stringify(value));
        writer.varint(0x0a);
      }
      break;
    case op.wrappedList:
      writeStrings(writer, value as readonly string[], 0x0a);
      break;
    case op.duration:
      writeDuration(writer, value as string);
      break;
    default:
      writer.isFaithful = false;
      writeSchemaUnion(writer, field, value);
  }
  writer.varint(writer.mark() - end);
}

function writeTime(
  writer: ReverseWriter,
  field: FieldPlan,
  { value, precision }: { value: unknown; precision: number },
): void {
  if (value === null || value === '') return void (writer.isFaithful = false);
  const time = readTime(String(value), precision);
  if (!time) throw wrongValue(field, 'a time of RFC 3339', value);
  if (!time.isFaithful) writer.isFaithful = false;
  if (time.seconds === zeroTimeSeconds) return;
  writer.varint(precision === 1 ? time.microseconds * 1000 : 0);
  writer.varint(0x10);
  writer.integer(time.seconds);
  writer.varint(0x08);
}

interface EncodedTime extends WireTime {
  readonly text: string;
  /** The decoder returns the same text. */
  readonly isFaithful: boolean;
}

/** The last one of each precision: most times are now, and an object has the same one several times. */
const lastTimes = new Map<number, EncodedTime>();

function readTime(text: string, precision: number): EncodedTime | undefined {
  const last = lastTimes.get(precision);
  if (last?.text === text) return last;
  const time = parseTime(text);
  if (!time) return undefined;
  const { seconds, microseconds } = time;
  const isFaithful =
    seconds !== zeroTimeSeconds && text === (precision === 1 ? formatMicroTime(time) : formatTime(seconds));
  const read = { text, seconds, microseconds, isFaithful };
  lastTimes.set(precision, read);
  return read;
}

function writeDuration(writer: ReverseWriter, text: string): void {
  const nanoseconds = parseDuration(text);
  if (writer.isFaithful) writer.isFaithful = formatDuration(nanoseconds) === text;
  writer.integer(nanoseconds);
  writer.varint(0x08);
}

function writeIntOrString(writer: ReverseWriter, value: number | string): void {
  const isText = typeof value === 'string';
  if (!isText && !Number.isSafeInteger(value)) writer.isFaithful = false;
  writer.string(isText ? value : '');
  writer.varint(0x1a);
  writer.integer(isText ? 0 : value);
  writer.varint(0x10);
  writer.varint(isText ? 1 : 0);
  writer.varint(0x08);
}

function writeStrings(writer: ReverseWriter, values: readonly string[], tag: number): void {
  for (let index = values.length - 1; index >= 0; index--) {
    writer.string(values[index]!);
    writer.varint(tag);
  }
}

/** The unions of apiextensions: a schema in one field, and the alternatives in another. */
function writeSchemaUnion(writer: ReverseWriter, field: FieldPlan, value: unknown): void {
  const isSchema = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (field.op === op.schemaOrBool) {
    if (isSchema) writeSchema(writer, field, { value: value as JsonObject, tag: 0x12 });
    writer.varint(isSchema || value === true ? 1 : 0);
    writer.varint(0x08);
    return;
  }
  if (isSchema) {
    writeSchema(writer, field, { value: value as JsonObject, tag: 0x0a });
    return;
  }
  if (!Array.isArray(value)) throw wrongValue(field, 'an object or an array', value);
  if (field.op === op.schemaOrStrings) {
    writeStrings(writer, value as string[], 0x12);
    return;
  }
  for (let index = value.length - 1; index >= 0; index--)
    writeSchema(writer, field, { value: value[index] as JsonObject, tag: 0x12 });
}

function writeSchema(
  writer: ReverseWriter,
  field: FieldPlan,
  { value, tag }: { value: JsonObject; tag: number },
): void {
  const end = writer.mark();
  writeMessage(writer, field.message(), value);
  writer.varint(writer.mark() - end);
  writer.varint(tag);
}

function wrongValue(field: FieldPlan, wanted: string, value: unknown): ProtobufError {
  return new ProtobufError(
    'wrong-value',
    `Field ${field.name} must be ${wanted}, not ${Array.isArray(value) ? 'an array' : typeof value}`,
  );
}
