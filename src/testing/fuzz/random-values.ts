/** Random values of any type of the API, from its schema: what may stand there by type, not what validation takes. Seeded by the caller. */
import { formatGoDuration } from '#machinery/go-duration.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ObjectSchema, ScalarType, ValueSchema } from '#machinery/schema.ts';
import type { Random } from '#stdx/random.ts';

interface RandomValueOptions {
  readonly random: Random;
  /** Chance of a field to be there. Default 0.5. */
  readonly density?: number;
}

const MAX_DEPTH = 9;
const TEXTS = [
  'a',
  'b',
  '',
  'é',
  '\u{1f600}',
  '0',
  'true',
  'null',
  ' x ',
  'a\nb',
  '"',
  '\\',
  '~',
  '- x',
  '{{',
  '1e3',
  '0x1',
  '2026-01-02',
  'ünï',
  '#',
  ': ',
  '__proto__',
  'constructor',
  '\u2028',
  '\u0000',
  '\t',
];
const INTEGERS = [0, 1, -1, 7, 80, 255, 65_536, 2 ** 31 - 1, -(2 ** 31)];
const LONG_INTEGERS = [...INTEGERS, 2 ** 31, 2 ** 53 - 1, -(2 ** 53) + 1];
const QUANTITIES = ['0', '1', '100m', '1Gi', '1500M', '12e6', '-5', '1k', '999999999', '250u', '3Ki'];

export function pick<T>(random: Random, items: readonly T[]): T {
  return items[Math.floor(random() * items.length)]!;
}

export function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

/** With apiVersion and kind. */
export function randomObject(
  schema: ObjectSchema,
  { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string },
  options: RandomValueOptions,
): KubeObject {
  const { apiVersion: _, kind: __, ...rest } = randomFields(schema, options, 0);
  return { apiVersion, kind, ...rest };
}

function randomFields(
  schema: ObjectSchema,
  options: RandomValueOptions,
  depth: number,
): Record<string, unknown> {
  const { random, density = 0.5 } = options;
  const result: Record<string, unknown> = {};
  // Thinner with depth, or pods would be endless.
  const chance = depth > MAX_DEPTH ? 0 : density / (1 + depth * 0.35);
  for (const { name, value } of schema.fields)
    if (random() < chance) result[name] = randomValue(value, options, depth + 1);
  return result;
}

function randomValue(schema: ValueSchema, options: RandomValueOptions, depth = 0): unknown {
  const { random } = options;
  switch (schema.kind) {
    case 'object':
      return randomFields(schema.type(), options, depth);
    case 'list':
      return depth > MAX_DEPTH
        ? []
        : Array.from({ length: below(random, 3) }, () => randomValue(schema.items, options, depth + 1));
    case 'map':
      return depth > MAX_DEPTH
        ? {}
        : Object.fromEntries(
            Array.from({ length: below(random, 3) }, () => [
              pick(random, TEXTS.slice(0, 4)) + below(random, 9),
              randomValue(schema.values, options, depth + 1),
            ]),
          );
    case 'scalar':
      return schema.enum && random() < 0.7
        ? pick(random, schema.enum)
        : schema.wire
          ? randomWire(schema.wire, options)
          : randomScalar(schema.type, options, depth);
  }
}

/** The unions inside JSONSchemaProps. */
function randomWire(wire: string, { random }: RandomValueOptions): unknown {
  const schema = { type: pick(random, ['string', 'object']) };
  if (wire === 'schema-or-bool') return random() < 0.5 ? random() < 0.5 : schema;
  if (wire === 'schema-or-array') return random() < 0.5 ? schema : [schema, { type: 'integer' }];
  return random() < 0.5 ? schema : ['a', 'b'];
}

function randomScalar(type: ScalarType, options: RandomValueOptions, depth: number): unknown {
  const { random } = options;
  switch (type) {
    case 'string':
      return pick(random, TEXTS);
    case 'bool':
      return random() < 0.5;
    case 'int32':
      return pick(random, INTEGERS);
    case 'int64':
      return pick(random, LONG_INTEGERS);
    case 'uint32':
    case 'uint64':
      return Math.abs(pick(random, INTEGERS));
    case 'double':
      return pick(random, [...INTEGERS, 0.5, -1.25, 1e100]);
    case 'bytes':
      return Buffer.from(Array.from({ length: below(random, 12) }, () => below(random, 256))).toString(
        'base64',
      );
    case 'time':
      return new Date(below(random, 4e9) * 1000).toISOString().replace('.000', '');
    case 'micro-time':
      return new Date(below(random, 4e9) * 1000)
        .toISOString()
        .replace('.000Z', `.${String(below(random, 1e6)).padStart(6, '0')}Z`);
    case 'duration':
      return formatGoDuration(BigInt(below(random, 1e9)) * 1_000_003n);
    case 'quantity':
      return pick(random, QUANTITIES);
    case 'int-or-string':
      return random() < 0.5 ? pick(random, INTEGERS) : pick(random, TEXTS);
    case 'fields-v1':
      return random() < 0.3
        ? {}
        : { 'f:metadata': { 'f:labels': { '.': {}, [`f:${pick(random, ['a', 'b'])}`]: {} } } };
    case 'raw-extension':
      return { apiVersion: 'v1', kind: 'X', x: randomJson(options, depth) };
    case 'json':
      return randomJson(options, depth);
  }
}

export function randomJson(options: RandomValueOptions, depth = 0): unknown {
  const { random } = options;
  const kind = below(random, depth > MAX_DEPTH ? 4 : 6);
  if (kind === 0) return pick(random, TEXTS);
  if (kind === 1) return pick(random, LONG_INTEGERS);
  if (kind === 2) return random() < 0.5;
  if (kind === 3) return null;
  if (kind === 4) return Array.from({ length: below(random, 3) }, () => randomJson(options, depth + 2));
  return Object.fromEntries(
    Array.from({ length: below(random, 3) }, () => [
      pick(random, ['a', 'b', 'c d', 'é']),
      randomJson(options, depth + 2),
    ]),
  );
}
