/**
 * Converts parsed JSON to an object of a type, as Go's typed decoding does: checks every value's type, drops unknown fields and
 * insignificant nulls and empty values, normalises times, durations and quantities, and sets static defaults. A schema is compiled
 * to closures once, on first use. Does not validate values.
 */
import { StatusError, statusErrors } from './errors.ts';
import { noteGivenEmpty } from './given-empty.ts';
import { formatGoDuration, GoDurationError, parseGoDuration } from './go-duration.ts';
import { deepClone, isJsonObject, setOwn, type JsonObject } from './json.ts';
import { fieldPath, findDuplicateFields, walkFields } from './json-syntax.ts';
import type { KubeObject } from './object.ts';
import { canonicalQuantity, QuantityError } from './quantity.ts';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from './schema.ts';
import { canonicalMicroTime, canonicalTime, TimeError } from './time.ts';

/** strict and warn report unknown fields (the caller rejects or warns), ignore does not check. */
export type DecodeMode = 'strict' | 'warn' | 'ignore';

export interface Decoded {
  readonly object: KubeObject;
  /** 'unknown field "spec.foo"', at most 100. */
  readonly problems: string[];
  /** Number of fields in the visited objects of the value; undefined when not counted. */
  readonly fields?: number;
}

/** Maximum nesting of built-in types that are not recursive. */
const MAXIMUM_TYPE_DEPTH = 500;
const MAXIMUM_PROBLEMS = 100;

/** A value that cannot be decoded, with Go's message. */
class DecodeProblem extends Error {}

/** A value of the wrong JSON type. Its message is built from the path when it is caught. */
class TypeMismatch extends Error {
  readonly described: string;
  readonly goType: string;
  readonly path: readonly (string | number)[];
  constructor({
    described,
    goType,
    path,
  }: {
    readonly described: string;
    readonly goType: string;
    readonly path: readonly (string | number)[];
  }) {
    super(`${described} where ${goType} is expected`);
    this.described = described;
    this.goType = goType;
    this.path = path;
  }
}

interface Context {
  readonly reportsUnknown: boolean;
  readonly problems: string[];
  /** Number of fields in the visited objects. */
  fields: number;
  /** Names and list indexes from the root to the current value. */
  readonly path: (string | number)[];
}

type Decoder = (value: unknown, context: Context) => unknown;

/**
 * The result shares maps, lists and opaque values with the given value, which must not be used afterwards.
 * Throws StatusError 400 with upstream's message when a value has the wrong type.
 */
export function decodeObject(schema: ObjectSchema, value: unknown, mode: DecodeMode): Decoded {
  const context: Context = { reportsUnknown: mode !== 'ignore', problems: [], fields: 0, path: [] };
  try {
    const object = objectDecoder(schema)(value, context) as KubeObject;
    return { object, problems: context.problems, fields: context.fields };
  } catch (error) {
    if (error instanceof TypeMismatch) throw cannotBeHandled(schema, value, describeMismatch(schema, error));
    if (error instanceof DecodeProblem) throw cannotBeHandled(schema, value, error.message);
    throw error;
  }
}

interface StrictText {
  readonly text: string;
  /** parseJsonCounted's. */
  readonly fields: number;
  /** The schema used for decoding; undefined for custom resources, which are read as any JSON before they are pruned. */
  readonly schema?: ObjectSchema | undefined;
}

/**
 * 'unknown field …' and 'duplicate field …' of a JSON body, for strict and warn: for a type in order of appearance, for a custom
 * resource duplicates first. A text with as many fields as its value has no duplicates, so that they need not be searched.
 */
export function strictProblems(decoded: Decoded, { text, fields, schema }: StrictText): readonly string[] {
  if (decoded.fields === fields && decoded.problems.length < 2) return decoded.problems;
  return schema ? problemsInOrder(text, schema) : [...findDuplicateFields(text), ...decoded.problems];
}

/** Contents of unknown fields and opaque values are not checked. */
function problemsInOrder(text: string, schema: ObjectSchema): string[] {
  const problems = new Set<string>();
  walkFields(text, (pathOf, isRepeated) => {
    const path = pathOf();
    const place = placeIn(schema, path);
    if (place === 'unknown') problems.add(`unknown field ${JSON.stringify(fieldPath(path))}`);
    else if (place === 'known' && isRepeated)
      problems.add(`duplicate field ${JSON.stringify(fieldPath(path))}`);
    return problems.size < MAXIMUM_PROBLEMS;
  });
  return [...problems];
}

/** Whether a field is known or unknown to its type, or inside an unknown or opaque value. */
function placeIn(schema: ObjectSchema, path: readonly (string | number)[]): 'known' | 'unknown' | 'inside' {
  let at: ValueSchema | 'unknown' = { kind: 'object', type: () => schema };
  for (const part of path) {
    if (at === 'unknown' || at.kind === 'scalar') return 'inside';
    if (at.kind === 'list') at = at.items;
    else if (at.kind === 'map') at = at.values;
    else at = innerOf(at.type(), String(part));
  }
  return at === 'unknown' ? 'unknown' : 'known';
}

const OPAQUE: ValueSchema = { kind: 'scalar', type: 'json' };

function innerOf(schema: ObjectSchema, name: string): ValueSchema | 'unknown' {
  return schema.byName.get(name)?.value ?? (schema.open ? OPAQUE : 'unknown');
}

/** The 400 for a body that cannot be decoded as its kind; also for strict decoding, with `strict decoding error: …`. */
export function cannotBeHandled(schema: ObjectSchema, value: unknown, why: string): StatusError {
  const expectedKind = schema.name.slice(schema.name.lastIndexOf('.') + 1);
  const given = isJsonObject(value) ? value : {};
  const kind = typeof given['kind'] === 'string' && given['kind'] !== '' ? given['kind'] : expectedKind;
  const apiVersion =
    typeof given['apiVersion'] === 'string' && given['apiVersion'] !== ''
      ? given['apiVersion']
      : (schema.name.split('.').at(-2) ?? '');
  const version = apiVersion.slice(apiVersion.lastIndexOf('/') + 1);
  return statusErrors.badRequest(
    `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${expectedKind}: ${why}`,
  );
}

/** The reason in cannotBeHandled's message, without the kind; undefined for other errors. */
export function whyUndecodable(error: unknown): string | undefined {
  return error instanceof StatusError && error.reason === 'BadRequest'
    ? / cannot be handled as a \w+: (.*)$/s.exec(error.message)?.[1]
    : undefined;
}

/** Compiled schemas are cached as long as the schema exists. */
const compiled = new WeakMap<ObjectSchema, Decoder>();

function objectDecoder(schema: ObjectSchema): Decoder {
  const known = compiled.get(schema);
  if (known) return known;
  const decoder = compileObject(schema);
  compiled.set(schema, decoder);
  return decoder;
}

interface FieldPlan {
  readonly name: string;
  readonly decode: Decoder;
  /** The zero value equals absence, and is not written. */
  readonly omitsZero: boolean;
  /** The value of the field when it is absent; undefined omits it. */
  readonly absent: ((context: Context) => unknown) | undefined;
}

function compileObject(schema: ObjectSchema): Decoder {
  const typeName = goTypeName(schema);
  const open = schema.open === true;
  let plans: FieldPlan[] | undefined;
  return (value, context) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw mismatch(value, typeName, context);
    // Fields are compiled on first use, because types may be recursive.
    plans ??= schema.fields.map((field) => compileField(schema, field));
    if (context.path.length > MAXIMUM_TYPE_DEPTH) throw new DecodeProblem('exceeded max depth');
    const input = value as JsonObject;
    const output: JsonObject = {};
    let known = 0;
    for (let index = 0; index < plans.length; index++) {
      const plan = plans[index]!;
      const given = input[plan.name];
      if (given !== undefined) known++;
      if (given === undefined || given === null) {
        if (plan.absent !== undefined) output[plan.name] = plan.absent(context);
        continue;
      }
      context.path.push(plan.name);
      const decoded = plan.decode(given, context);
      context.path.pop();
      if (decoded === undefined || (plan.omitsZero && isZero(decoded))) {
        if (typeof decoded === 'object' && decoded !== null) noteGivenEmpty(output, plan.name);
        if (plan.absent !== undefined) output[plan.name] = plan.absent(context);
      } else {
        output[plan.name] = decoded;
      }
    }
    let present = 0;
    for (const _key in input) present++;
    context.fields += present;
    if (present !== known) handleUnknown({ input, output, schema, open }, context);
    return output;
  };
}

function isZero(value: unknown): boolean {
  if (typeof value !== 'object') return value === '' || value === 0 || value === false;
  if (value === null) return true;
  if (Array.isArray(value)) return value.length === 0;
  for (const _key in value) return false;
  return true;
}

function handleUnknown(
  {
    input,
    output,
    schema,
    open,
  }: { input: JsonObject; output: JsonObject; schema: ObjectSchema; open: boolean },
  context: Context,
): void {
  for (const key of Object.keys(input)) {
    if (schema.byName.has(key) || input[key] === undefined) continue;
    if (open) setOwn(output, key, input[key]);
    else if (context.reportsUnknown && context.problems.length < MAXIMUM_PROBLEMS)
      context.problems.push(`unknown field ${JSON.stringify(fieldPath([...context.path, key]))}`);
  }
}

function compileField(schema: ObjectSchema, field: FieldSchema): FieldPlan {
  const decode = compileValue(field.value);
  return {
    name: field.name,
    decode,
    // A struct is written even when it is empty.
    omitsZero: field.zero === 'omitted' && !(field.value.kind === 'object'),
    absent: compileAbsent(field, decode),
  };
}

const EMPTY: object = Object.freeze({});

function compileAbsent(field: FieldSchema, decode: Decoder): FieldPlan['absent'] {
  const { value, default: fallback } = field;
  if (value.kind === 'object') {
    if (fallback === undefined && field.zero !== 'written') return undefined;
    // Inner defaults apply too; objects must not share the default.
    const prototype = fallback ?? EMPTY;
    return (context) => {
      const { fields } = context;
      context.path.push(field.name);
      const made = decode(deepClone(prototype), context);
      context.path.pop();
      // Of the body itself.
      context.fields = fields;
      return made;
    };
  }
  if (field.zero === 'omitted' && isZero(fallback)) return undefined;
  if (fallback === undefined || fallback === null)
    return field.zero === 'written' && value.kind === 'scalar' ? WRITTEN_ZERO[value.type] : undefined;
  const written = value.kind === 'scalar' && fallback === '' ? zeroText(value.type) : fallback;
  if (written === undefined) return undefined;
  if (typeof written === 'object') return () => deepClone(written);
  return () => written;
}

/** Go values for which the specification has no default. */
const WRITTEN_ZERO: Readonly<Partial<Record<ScalarType, FieldPlan['absent']>>> = {
  quantity: () => '0',
  'int-or-string': () => 0,
  time: () => null,
  'micro-time': () => null,
};

/** The zero value of types that are strings in JSON; undefined where Go would write null. */
function zeroText(type: ScalarType): string | undefined {
  switch (type) {
    case 'quantity':
      return '0';
    case 'duration':
      return '0s';
    case 'time':
    case 'micro-time':
    case 'bytes':
    case 'json':
    case 'raw-extension':
    case 'fields-v1':
      return undefined;
    default:
      return '';
  }
}

function compileValue(value: ValueSchema): Decoder {
  switch (value.kind) {
    case 'scalar':
      return value.wire === undefined ? SCALARS[value.type] : WIRED[value.wire];
    case 'object':
      return lazyObject(value.type);
    case 'list':
      return value.items.kind === 'scalar' && value.items.type === 'string'
        ? decodeStringList
        : listDecoder(value.items);
    case 'map':
      return value.values.kind === 'scalar' && value.values.type === 'string'
        ? decodeStringMap
        : mapDecoder(value.values);
  }
}

function lazyObject(type: () => ObjectSchema): Decoder {
  let decoder: Decoder | undefined;
  return (value, context) => {
    decoder ??= objectDecoder(type());
    return decoder(value, context);
  };
}

/** In lists and maps null is the zero value, which for times and opaque values is null. */
function itemDecoder(schema: ValueSchema): Decoder {
  const decode = compileValue(schema);
  return (value, context) => {
    const given = value ?? zeroItem(schema);
    return given === null ? null : (decode(given, context) ?? null);
  };
}

function listDecoder(items: ValueSchema): Decoder {
  const decodeItem = itemDecoder(items);
  return (value, context) => {
    if (!Array.isArray(value)) throw mismatch(value, `[]${goTypeOf(items)}`, context);
    const list: unknown[] = [];
    const depth = context.path.length;
    context.path.push(0);
    for (let index = 0; index < value.length; index++) {
      context.path[depth] = index;
      list.push(decodeItem(value[index], context));
    }
    context.path.pop();
    return list;
  };
}

function decodeStringList(value: unknown, context: Context): unknown {
  if (!Array.isArray(value)) throw mismatch(value, '[]string', context);
  for (let index = 0; index < value.length; index++) {
    const item: unknown = value[index];
    if (typeof item === 'string') continue;
    if (item !== null) throw mismatchAt(index, item, context);
    value[index] = '';
  }
  return value;
}

function mapDecoder(values: ValueSchema): Decoder {
  const decodeItem = itemDecoder(values);
  return (value, context) => {
    if (!isJsonObject(value)) throw mismatch(value, `map[string]${goTypeOf(values)}`, context);
    const map: JsonObject = {};
    for (const key of Object.keys(value)) {
      context.fields++;
      context.path.push(key);
      setOwn(map, key, decodeItem(value[key], context));
      context.path.pop();
    }
    return map;
  };
}

function decodeStringMap(value: unknown, context: Context): unknown {
  if (!isJsonObject(value)) throw mismatch(value, 'map[string]string', context);
  for (const key in value) {
    context.fields++;
    const item = value[key];
    if (typeof item === 'string') continue;
    if (item !== null) throw mismatchAt(key, item, context);
    setOwn(value, key, '');
  }
  return value;
}

function zeroItem(schema: ValueSchema): unknown {
  if (schema.kind === 'list') return [];
  if (schema.kind === 'map' || schema.kind === 'object') return {};
  switch (schema.type) {
    case 'bool':
      return false;
    case 'bytes':
      return '';
    case 'int32':
    case 'int64':
    case 'uint32':
    case 'uint64':
    case 'double':
    case 'int-or-string':
      return 0;
    default:
      return zeroText(schema.type) ?? null;
  }
}

const INT64_LIMIT = 2 ** 63;

const SCALARS: Readonly<Record<ScalarType, Decoder>> = {
  string: (value, context) => {
    if (typeof value !== 'string') throw mismatch(value, 'string', context);
    return value;
  },
  bool: (value, context) => {
    if (typeof value !== 'boolean') throw mismatch(value, 'bool', context);
    return value;
  },
  int32: integerDecoder({ type: 'int32', low: -(2 ** 31), high: 2 ** 31 - 1 }),
  int64: integerDecoder({ type: 'int64', low: -INT64_LIMIT, high: INT64_LIMIT }),
  uint32: integerDecoder({ type: 'uint32', low: 0, high: 2 ** 32 - 1 }),
  uint64: integerDecoder({ type: 'uint64', low: 0, high: 2 * INT64_LIMIT }),
  double: (value, context) => {
    if (typeof value !== 'number') throw mismatch(value, 'float64', context);
    return value;
  },
  bytes: decodeBytes,
  time: (value, context) => decodeTime(value, context, canonicalTime),
  'micro-time': (value, context) => decodeTime(value, context, canonicalMicroTime),
  duration: (value, context) => {
    if (typeof value !== 'string') throw mismatch(value, 'string', context);
    return translate(() => formatGoDuration(parseGoDuration(value)));
  },
  quantity: (value) => {
    if (typeof value !== 'string' && typeof value !== 'number')
      throw new DecodeProblem(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
      );
    return translate(() => canonicalQuantity(value));
  },
  'int-or-string': (value, context) => {
    if (typeof value === 'string') return value;
    return SCALARS.int32(value, context);
  },
  'fields-v1': (value) => value,
  'raw-extension': (value) => value,
  json: (value) => value,
};

/** Unions with a schema: Go decodes a value that matches neither as nothing. */
const WIRED: Readonly<Record<'schema-or-array' | 'schema-or-bool' | 'schema-or-strings', Decoder>> = {
  'schema-or-array': (value) => (typeof value === 'object' ? value : null),
  'schema-or-bool': (value) => value,
  'schema-or-strings': (value, context) => {
    if (Array.isArray(value)) decodeStringList(value, context);
    return typeof value === 'object' ? value : null;
  },
};

function integerDecoder({ type, low, high }: { type: string; low: number; high: number }): Decoder {
  return (value, context) => {
    if (typeof value !== 'number') throw mismatch(value, type, context);
    if (!Number.isInteger(value) || value < low || value > high)
      throw mismatch(value, type, context, `number ${value}`);
    return value;
  };
}

function decodeBytes(value: unknown, context: Context): unknown {
  if (typeof value !== 'string') throw mismatch(value, '[]uint8', context);
  const text = /[\r\n]/.test(value) ? value.replace(/[\r\n]/g, '') : value;
  if (text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)) return text;
  const wrong = /[^A-Za-z0-9+/]/.exec(text)?.index ?? text.length - (text.length % 4);
  throw new DecodeProblem(`illegal base64 data at input byte ${wrong}`);
}

function decodeTime(value: unknown, context: Context, canonical: (text: string) => string | null): unknown {
  if (typeof value !== 'string') throw mismatch(value, 'string', context);
  return translate(() => canonical(value)) ?? undefined;
}

function translate<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof TimeError || error instanceof QuantityError || error instanceof GoDurationError)
      throw new DecodeProblem(error.message);
    throw error;
  }
}

function mismatch(
  value: unknown,
  goType: string,
  context: Context,
  described = jsonTypeName(value),
): TypeMismatch {
  return new TypeMismatch({ described, goType, path: [...context.path] });
}

/** For a string in a list or map, whose path is not tracked. */
function mismatchAt(place: string | number, value: unknown, context: Context): TypeMismatch {
  return new TypeMismatch({
    described: jsonTypeName(value),
    goType: 'string',
    path: [...context.path, place],
  });
}

/** As in Go, the innermost struct and the fields down to the value, including embedded structs, without list indexes and map keys. */
function describeMismatch(schema: ObjectSchema, { described, goType, path }: TypeMismatch): string {
  let current: ValueSchema = { kind: 'object', type: () => schema };
  let struct = '',
    named: string | undefined;
  const fields: string[] = [];
  for (const part of path) {
    if (current.kind === 'object') {
      const type: ObjectSchema = current.type();
      const field = type.byName.get(String(part));
      if (!field) break;
      struct = type.name.slice(type.name.lastIndexOf('.') + 1);
      fields.push(...(field.within ?? []), field.name);
      current = field.value;
      named = field.goType;
    } else if (current.kind === 'list') {
      current = current.items;
      named = named === undefined ? undefined : /^\[\](.+)$/.exec(named)?.[1];
    } else if (current.kind === 'map') {
      current = current.values;
      named = named === undefined ? undefined : /^map\[[^\]]+\](.+)$/.exec(named)?.[1];
    }
  }
  const place = fields.length === 0 ? 'value' : `struct field ${struct}.${fields.join('.')}`;
  return `json: cannot unmarshal ${described} into Go ${place} of type ${named ?? goType}`;
}

function jsonTypeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}

/** 'io.k8s.api.core.v1.PodSpec' → 'v1.PodSpec' */
function goTypeName(schema: ObjectSchema): string {
  return schema.name.split('.').slice(-2).join('.');
}

function goTypeOf(value: ValueSchema): string {
  switch (value.kind) {
    case 'object':
      return goTypeName(value.type());
    case 'list':
      return `[]${goTypeOf(value.items)}`;
    case 'map':
      return `map[string]${goTypeOf(value.values)}`;
    case 'scalar':
      return GO_SCALARS[value.type] ?? value.type;
  }
}

const GO_SCALARS: Readonly<Partial<Record<ScalarType, string>>> = {
  double: 'float64',
  bytes: '[]uint8',
  time: 'v1.Time',
  'micro-time': 'v1.MicroTime',
  duration: 'v1.Duration',
  quantity: 'resource.Quantity',
  'int-or-string': 'intstr.IntOrString',
  'fields-v1': 'v1.FieldsV1',
  'raw-extension': 'runtime.RawExtension',
  json: 'v1.JSON',
};
