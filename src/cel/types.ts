/**
 * CEL types of a schema, and conversion of objects to values of those types. Integers are bigints, dates and durations have types of their own, objects
 * expose the declared fields only, so that expressions are checked against existing fields.
 */
import { isJsonObject } from '#machinery/json.ts';
import { parseDurationFormat } from '#machinery/formats.ts';
import type { Structural } from '#machinery/structural.ts';
import { Duration, UnorderedList } from './datatypes.ts';
import { EvaluationError } from './errors.ts';
import { Timestamp } from './timestamp.ts';
import {
  BOOL,
  BYTES,
  DOUBLE,
  DURATION,
  DYN,
  INT,
  listOf,
  mapOf,
  STRING,
  TIMESTAMP,
  type Type,
} from './type.ts';
import { DeclaredObject, LazyMap, toCel, type DeclaredField } from './values.ts';

/** A type and the conversion of a value to it. */
export interface CelType {
  readonly type: Type;
  convert(value: unknown): unknown;
}

const KEYWORDS = new Set([
  'true',
  'false',
  'null',
  'in',
  'as',
  'break',
  'const',
  'continue',
  'else',
  'for',
  'function',
  'if',
  'import',
  'let',
  'loop',
  'package',
  'namespace',
  'return',
  'var',
  'void',
  'while',
]);

/** A property's name in expressions; undefined where it has none. */
export function escapeName(name: string): string | undefined {
  if (KEYWORDS.has(name)) return `__${name}__`;
  if (!/^[A-Za-z_.\-/][A-Za-z0-9_.\-/]*$/.test(name)) return undefined;
  const escaped = name.replaceAll(
    /__|[.\-/]/g,
    (part) => ({ __: '__underscores__', '.': '__dot__', '-': '__dash__', '/': '__slash__' })[part]!,
  );
  return /^[A-Za-z_]/.test(escaped) ? escaped : undefined;
}

const same = (value: unknown): unknown => value;
const ANY: CelType = { type: DYN, convert: toCel };
const SCALARS: Readonly<Record<string, CelType>> = {
  boolean: { type: BOOL, convert: same },
  integer: {
    type: INT,
    convert: (value) => (typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value),
  },
  number: { type: DOUBLE, convert: same },
  string: { type: STRING, convert: same },
};

/** Texts of a format. Others are EvaluationErrors of the expression. */
function parsed(
  type: Type,
  { what, parse }: { readonly what: string; parse(text: string): unknown },
): CelType {
  const convert = (text: string): unknown => {
    try {
      return parse(text);
    } catch (error) {
      throw new EvaluationError(
        `Invalid ${what} ${text}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  };
  return { type, convert: (value) => (typeof value === 'string' ? convert(value) : value) };
}

const FORMATS: Readonly<Record<string, CelType>> = {
  date: parsed(TIMESTAMP, {
    what: 'date formatted string',
    parse: (text) => Timestamp.parse(`${text}T00:00:00Z`),
  }),
  'date-time': parsed(TIMESTAMP, { what: 'date-time formatted string', parse: Timestamp.parse }),
  duration: parsed(DURATION, {
    what: 'duration',
    parse: (text) => new Duration(parseDurationFormat(text)),
  }),
  byte: {
    type: BYTES,
    convert: (value) => (typeof value === 'string' ? new Uint8Array(Buffer.from(value, 'base64')) : value),
  },
};

/** So that types of different schemas have different names. */
let count = 0;

export class CelTypes {
  readonly #byNode = new WeakMap<Structural, CelType>();
  readonly #escaped: boolean;
  readonly #nullable: boolean;

  /** escaped: names of fields are written as in rules of custom resources. nullable: values that may be null are of any type. */
  constructor({ escaped, nullable }: { readonly escaped: boolean; readonly nullable: boolean }) {
    this.#escaped = escaped;
    this.#nullable = nullable;
  }

  /** undefined: expressions cannot see such values. root: has apiVersion, kind and of its metadata the names. */
  typeOf(node: Structural, { root = false }: { readonly root?: boolean } = {}): CelType | undefined {
    const known = this.#byNode.get(node);
    if (known) return known;
    const type = this.#make(node, root || node.embedded);
    if (type) this.#byNode.set(node, type);
    return type;
  }

  #make(node: Structural, root: boolean): CelType | undefined {
    if (node.intOrString) return ANY;
    const type =
      node.type === 'object'
        ? this.#object(node, root)
        : node.type === 'array'
          ? this.#list(node)
          : scalarType(node);
    // A nullable value is checked when it is present.
    return type && node.nullable && this.#nullable
      ? { type: DYN, convert: (value) => (value === null ? null : type.convert(value)) }
      : type;
  }

  #list({ items, listType, mapKeys }: Structural): CelType | undefined {
    const item = items && this.typeOf(items);
    if (!item) return undefined;
    const keys = mapKeys.map((key) => (this.#escaped ? (escapeName(key) ?? key) : key));
    const make = (list: readonly unknown[]): unknown[] =>
      listType === 'atomic' ? (list as unknown[]) : UnorderedList.withKeys(list, keys);
    return {
      type: listOf(item.type),
      convert: (value) => (Array.isArray(value) ? make(value.map((inner) => item.convert(inner))) : value),
    };
  }

  #object(node: Structural, root: boolean): CelType | undefined {
    if (node.additional !== false && node.properties.size === 0) {
      const value = typeof node.additional === 'object' ? this.typeOf(node.additional) : undefined;
      if (!value) return undefined;
      return {
        type: mapOf(STRING, value.type),
        convert: (object) =>
          isJsonObject(object) ? new LazyMap(object, (inner) => value.convert(inner)) : object,
      };
    }
    const fields = new Map<string, Declared>();
    for (const [name, inner] of node.properties) {
      if (root && name === 'metadata') continue;
      const escaped = this.#escaped ? escapeName(name) : name,
        type = this.typeOf(inner);
      if (escaped !== undefined && type) fields.set(escaped, { key: name, type });
    }
    if (root) {
      for (const key of ['apiVersion', 'kind']) fields.set(key, { key, type: SCALARS['string']! });
      fields.set('metadata', {
        key: 'metadata',
        type: this.#declare(
          new Map(['name', 'generateName'].map((key) => [key, { key, type: SCALARS['string']! }])),
        ),
      });
    }
    return this.#declare(fields);
  }

  #declare(declared: ReadonlyMap<string, Declared>): CelType {
    const name = `object${++count}`;
    const fields = new Map<string, DeclaredField>(
      Array.from(declared, ([field, { key, type }]) => [
        field,
        { key, convert: (value) => type.convert(value) },
      ]),
    );
    return {
      type: {
        kind: 'message',
        name,
        fields: new Map(Array.from(declared, ([field, { type }]) => [field, type.type])),
      },
      convert: (value) => (isJsonObject(value) ? new DeclaredObject(name, { source: value, fields }) : value),
    };
  }
}

interface Declared {
  /** On the wire. */
  readonly key: string;
  readonly type: CelType;
}

function scalarType({ type, schema }: Structural): CelType | undefined {
  const format = schema['format'];
  return type === 'string' && typeof format === 'string' && Object.hasOwn(FORMATS, format)
    ? FORMATS[format]
    : SCALARS[type];
}
