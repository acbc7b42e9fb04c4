/**
 * The errors of a patched object that does not match its type, with upstream's messages for strategic merge patches: there the result is
 * converted without going through JSON, whose decoder has other messages. After apimachinery's runtime converter: the first error in the
 * order of the structure's fields.
 */
import { isJsonObject } from '../json.ts';
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '../schema.ts';

/** The converter's message for the JSON decoder's error of the same value: why. */
export function restoreWords(value: unknown, schema: ObjectSchema, why: string): string {
  return (
    restoreProblem(value, { kind: 'object', type: () => schema }) ??
    (why.startsWith('illegal base64 data') ? `error decoding from json: ${why}` : why)
  );
}

/** undefined: no error that is known here. Values with their own decoding (times, quantities) are not checked. */
function restoreProblem(value: unknown, schema: ValueSchema): string | undefined {
  if (value === null || value === undefined) return undefined;
  switch (schema.kind) {
    case 'scalar':
      return scalarProblem(value, schema.type);
    case 'list':
      return Array.isArray(value)
        ? first(value, (item) => restoreProblem(item, schema.items))
        : `cannot restore slice from ${kindOf(value)}`;
    case 'map':
      return isJsonObject(value)
        ? first(Object.values(value), (item) => restoreProblem(item, schema.values))
        : `cannot restore map from ${kindOf(value)}`;
    case 'object':
      return isJsonObject(value)
        ? first(inStructure(schema.type()), (field) => restoreProblem(value[field.name], field.value))
        : `cannot restore struct from: ${kindOf(value)}`;
  }
}

function first<T>(items: Iterable<T>, problemOf: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const problem = problemOf(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function inStructure({ fields }: ObjectSchema): FieldSchema[] {
  return fields.toSorted((left, right) => (left.number ?? 0) - (right.number ?? 0));
}

const GO_KINDS: Readonly<Partial<Record<ScalarType, string>>> = {
  string: 'string',
  bool: 'bool',
  int32: 'int32',
  int64: 'int64',
  uint32: 'uint32',
  uint64: 'uint64',
  double: 'float64',
};

function scalarProblem(value: unknown, type: ScalarType): string | undefined {
  const wanted = GO_KINDS[type];
  const given = kindOf(value);
  if (wanted === undefined || given === wanted) return undefined;
  const isWhole = given === 'int64',
    isNumber = isWhole || given === 'float64';
  if (wanted === 'string') return isWhole ? 'cannot convert int64 to string' : 'unrecognized type: string';
  if (wanted === 'bool' || !isNumber) return `unrecognized type: ${wanted}`;
  return isWhole || wanted === 'float64' ? undefined : `cannot convert float64 to ${wanted}`;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'slice';
  switch (typeof value) {
    case 'object':
      return 'map';
    case 'boolean':
      return 'bool';
    case 'number':
      return Number.isInteger(value) ? 'int64' : 'float64';
    default:
      return 'string';
  }
}
