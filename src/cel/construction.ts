/** Objects that expressions make: Object{spec: Object.spec{replicas: 3}}, JSONPatch{op: "add", path: "/spec/replicas", value: 3}. */
import { CelObject } from './datatypes.ts';
import { EvaluationError } from './errors.ts';
import { readAndKeep } from './estimates.ts';
import type { Functions } from './functions.ts';
import { DYN, STRING, type Type } from './type.ts';

/** Types that can be made. */
export const CONSTRUCTED = /^(?:Object(?:\.\w+)*|JSONPatch)$/;
const PATCH_FIELDS: Readonly<Record<string, Type>> = { op: STRING, path: STRING, from: STRING, value: DYN };

/** Of an object any field may be made; undefined: the type has not this one. */
export function constructedField(typeName: string, field: string): Type | undefined {
  if (typeName !== 'JSONPatch') return DYN;
  return Object.hasOwn(PATCH_FIELDS, field) ? PATCH_FIELDS[field] : undefined;
}

/** Throws EvaluationError. */
export function constructed(typeName: string, fields: ReadonlyMap<string, unknown>): CelObject {
  if (typeName === 'JSONPatch')
    for (const field of ['op', 'path', 'from'])
      if (fields.has(field) && typeof fields.get(field) !== 'string')
        throw new EvaluationError(`unexpected type for field ${field} of JSONPatch: must be a string`);
  return new CelObject(typeName, fields);
}

export const CONSTRUCTION_FUNCTIONS: Functions = {
  'jsonpatch.escapeKey(string): string': {
    estimate: readAndKeep,
    run: (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1'),
  },
};

/** Type names must match their location: Object.spec is the type of field spec of Object. Returns the error. */
export function misplacedType(value: unknown): string | undefined {
  return value instanceof CelObject && value.typeName === 'Object'
    ? misplacedWithin(value, 'Object')
    : undefined;
}

function misplacedWithin(value: unknown, path: string): string | undefined {
  if (Array.isArray(value)) return firstOf(value, (item) => misplacedWithin(item, path));
  if (value instanceof Map) return firstOf(value.values(), (item) => misplacedWithin(item, path));
  if (!(value instanceof CelObject)) return undefined;
  if (value.typeName !== path)
    return `unexpected type name ${JSON.stringify(value.typeName)}, expected ${JSON.stringify(path)}, which matches field name path from root Object type`;
  return firstOf(value.fields, ([name, inner]) => misplacedWithin(inner, `${path}.${name}`));
}

function firstOf<T>(items: Iterable<T>, find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}
