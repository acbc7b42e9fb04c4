/**
 * A structural schema as the ObjectSchema that server-side apply and field management run on. Decoding has its own path (coerce.ts), since
 * values of the wrong type are for validation to report.
 */
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '#machinery/schema.ts';
import { envelopeFields } from './coerce.ts';
import type { Structural } from '#machinery/structural.ts';

/** name: the definition's, 'com.example.stable.v1.CronTab'. */
export function toObjectSchema(node: Structural, name: string): ObjectSchema {
  const envelope = envelopeFields();
  const own = new Set(envelope.map((field) => field.name));
  const fields = [...envelope, ...fieldsOf(node, name).filter((field) => !own.has(field.name))];
  return {
    name,
    fields,
    byName: new Map(fields.map((field) => [field.name, field])),
    startsEmpty: true,
    ...(node.preserves && { open: true }),
  };
}

function fieldsOf(node: Structural, name: string): FieldSchema[] {
  const required = new Set(node.schema['required'] as string[] | undefined);
  return Array.from(node.properties, ([field, inner]): FieldSchema => ({
    name: field,
    value: valueOf(inner, `${name}.${field}`),
    required: required.has(field),
    ...(inner.default !== undefined && { default: inner.default }),
    ...(inner.atomicMap && { atomic: true }),
  }));
}

function valueOf(node: Structural, name: string): ValueSchema {
  if (node.intOrString) return { kind: 'scalar', type: 'int-or-string' };
  switch (node.type) {
    case 'object':
      return objectOf(node, name);
    case 'array':
      return {
        kind: 'list',
        items: node.items ? valueOf(node.items, name) : ANY,
        listType: node.listType,
        ...(node.listType === 'map' && { mapKeys: node.mapKeys }),
      };
    case 'string':
    case 'integer':
    case 'number':
    case 'boolean':
      return { kind: 'scalar', type: SCALARS[node.type]! };
    default:
      return ANY;
  }
}

const ANY: ValueSchema = { kind: 'scalar', type: 'json', deduced: true };
const SCALARS: Readonly<Record<string, ScalarType>> = {
  string: 'string',
  integer: 'int64',
  number: 'double',
  boolean: 'bool',
};

function objectOf(node: Structural, name: string): ValueSchema {
  if (node.embedded) {
    const schema = toObjectSchema(node, name);
    return { kind: 'object', type: () => schema };
  }
  if (typeof node.additional === 'object' && node.properties.size === 0)
    return { kind: 'map', values: valueOf(node.additional, name) };
  if (node.properties.size === 0 && (node.preserves || node.additional === true))
    return { kind: 'map', values: ANY };
  const fields = fieldsOf(node, name);
  const schema: ObjectSchema = {
    name,
    fields,
    byName: new Map(fields.map((field) => [field.name, field])),
    ...(node.preserves && { open: true }),
    ...(node.atomicMap && { atomic: true }),
  };
  return { kind: 'object', type: () => schema };
}
