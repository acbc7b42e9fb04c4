/**
 * Converts fields that were recorded under an older schema: the owner of a part of a value that became atomic owns
 * the whole. Values that became granular are unchanged. After structured-merge-diff's reconcile_schema.
 */
import { setOwn, type JsonObject } from '../json.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import { isWhole } from './typed.ts';

const MEMBER = '.';

/** Returns the fields themselves when nothing changed. */
export function reconciledFields(fields: JsonObject, schema: ObjectSchema): JsonObject {
  return inObject(fields, schema);
}

function reconciled(fields: JsonObject, schema: ValueSchema, atomic: boolean): JsonObject {
  if (!hasParts(fields) || schema.kind === 'scalar') return fields;
  if (atomic || isWhole(schema)) return {};
  switch (schema.kind) {
    case 'list':
      return eachPart(fields, (_, part) => reconciled(part, schema.items, false));
    case 'map':
      return eachPart(fields, (_, part) => reconciled(part, schema.values, false));
    case 'object':
      return inObject(fields, schema.type());
  }
}

function inObject(fields: JsonObject, schema: ObjectSchema): JsonObject {
  return eachPart(fields, (element, part) => {
    const field = schema.byName.get(element.slice(2));
    return field ? reconciled(part, field.value, field.atomic === true) : part;
  });
}

function hasParts(fields: JsonObject): boolean {
  for (const element in fields) if (element !== MEMBER) return true;
  return false;
}

function eachPart(fields: JsonObject, change: (element: string, part: JsonObject) => JsonObject): JsonObject {
  let changed: JsonObject | undefined;
  for (const element of Object.keys(fields)) {
    const part = fields[element] as JsonObject;
    if (element === MEMBER) continue;
    const next = change(element, part);
    if (next !== part) setOwn((changed ??= { ...fields }), element, next);
  }
  return changed ?? fields;
}
