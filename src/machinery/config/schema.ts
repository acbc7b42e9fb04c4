/** Schemas of configuration file kinds: the same types that API objects are decoded with, without wire forms. */
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '../schema.ts';

const scalar = (type: ScalarType): ValueSchema => ({ kind: 'scalar', type });

export const text = scalar('string');
export const flag = scalar('bool');
export const integer = scalar('int32');
export const integer64 = scalar('int64');
export const real = scalar('double');
/** A Go duration: '1m30s'. */
export const duration = scalar('duration');
/** Any JSON, decoded by its user. */
export const opaque = scalar('json');

export function listOf(items: ValueSchema): ValueSchema {
  return { kind: 'list', items, listType: 'atomic' };
}

export function mapOf(values: ValueSchema): ValueSchema {
  return { kind: 'map', values };
}

/** A type by upstream's name, for messages: 'WebhookConfiguration'. */
export function struct(name: string, values: Readonly<Record<string, ValueSchema>>): ValueSchema {
  const schema = objectSchema(name, values);
  return { kind: 'object', type: () => schema };
}

export function objectSchema(name: string, values: Readonly<Record<string, ValueSchema>>): ObjectSchema {
  const fields = Object.entries(values).map(([field, value]): FieldSchema => ({
    name: field,
    value,
    required: false,
  }));
  return { name: `config.v1.${name}`, fields, byName: new Map(fields.map((field) => [field.name, field])) };
}
