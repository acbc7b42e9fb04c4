/**
 * The CEL types of a schema, and values of objects as values of those types. Integers are bigints, dates and durations their own types, objects
 * instances of one class per place in the schema, so that expressions are checked against the fields that are there.
 */
import { Environment } from '@marcbachmann/cel-js';
import { isJsonObject, setOwn, type JsonObject } from '#machinery/json.ts';
import type { Structural } from '#machinery/structural.ts';
import { charge } from './budget.ts';
import { equalValues } from './equality.ts';
import { kubernetesEnvironment } from './library.ts';

/** A type and how a value takes its form. */
export interface CelType {
  /** As the evaluator's signatures write it. */
  readonly name: string;
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

/** As expressions write a property's name; undefined where they cannot. */
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
const DYN: CelType = { name: 'dyn', convert: untyped };
const SCALARS: Readonly<Record<string, CelType>> = {
  boolean: { name: 'bool', convert: same },
  integer: {
    name: 'int',
    convert: (value) => (typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value),
  },
  number: { name: 'double', convert: same },
  string: { name: 'string', convert: same },
};
/** The evaluator's durations are made by expressions alone. */
const toDuration = new Environment({ unlistedVariablesAreDyn: true }).parse('duration(text)');
const TIME: CelType = {
  name: 'google.protobuf.Timestamp',
  convert: (value) => (typeof value === 'string' ? new Date(value) : value),
};

export class CelTypes {
  /** Knows the types of the schema. */
  readonly environment: Environment;
  readonly #byNode = new Map<Structural, CelType>();
  #count = 0;

  readonly #escaped: boolean;
  readonly #nullable: boolean;

  /** environment: gets the types. escaped: names of fields are written as in rules of custom resources. nullable: values may be null where the schema says so. */
  constructor(
    environment = kubernetesEnvironment(),
    { escaped = true, nullable = true }: { readonly escaped?: boolean; readonly nullable?: boolean } = {},
  ) {
    this.environment = environment;
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
    if (node.intOrString) return DYN;
    const type =
      node.type === 'object'
        ? this.#object(node, root)
        : node.type === 'array'
          ? this.#list(node)
          : scalarType(node);
    // A value that may be null is checked when it is there.
    return type && node.nullable && this.#nullable
      ? { name: 'dyn', convert: (value) => (value === null ? null : type.convert(value)) }
      : type;
  }

  #list({ items }: Structural): CelType | undefined {
    const item = items && this.typeOf(items);
    if (!item) return undefined;
    return {
      name: `list<${item.name}>`,
      convert: (value) => (Array.isArray(value) ? value.map((inner) => item.convert(inner)) : value),
    };
  }

  #object(node: Structural, root: boolean): CelType | undefined {
    if (node.additional !== false && node.properties.size === 0) {
      const value = typeof node.additional === 'object' ? this.typeOf(node.additional) : undefined;
      if (!value) return undefined;
      return {
        name: `map<string, ${value.name}>`,
        convert: (object) =>
          isJsonObject(object)
            ? new Map(Object.entries(object).map(([key, inner]) => [key, value.convert(inner)]))
            : object,
      };
    }
    const fields = new Map<string, { readonly name: string; readonly type: CelType }>();
    for (const [name, inner] of node.properties) {
      if (root && name === 'metadata') continue;
      const escaped = this.#escaped ? escapeName(name) : name,
        type = this.typeOf(inner);
      if (escaped !== undefined && type) fields.set(name, { name: escaped, type });
    }
    if (root) {
      for (const name of ['apiVersion', 'kind']) fields.set(name, { name, type: SCALARS['string']! });
      fields.set('metadata', {
        name: 'metadata',
        type: this.#declare(
          new Map(['name', 'generateName'].map((name) => [name, { name, type: SCALARS['string']! }])),
        ),
      });
    }
    return this.#declare(fields);
  }

  #declare(fields: ReadonlyMap<string, { readonly name: string; readonly type: CelType }>): CelType {
    const name = `object${++this.#count}`;
    const ctor = class {};
    this.environment.registerType(name, {
      ctor,
      fields: Object.fromEntries(Array.from(fields.values(), (field) => [field.name, field.type.name])),
    } as never);
    this.environment.registerOperator(`${name} == ${name}`, (left: unknown, right: unknown) => {
      charge(1);
      return equalValues(left, right);
    });
    this.environment.registerOperator(`${name} == null`, (left: unknown) => left === null);
    return {
      name,
      convert: (value) => {
        if (!isJsonObject(value)) return value;
        const instance = new ctor();
        for (const [key, field] of fields)
          if (Object.hasOwn(value, key))
            setOwn(instance as JsonObject, field.name, field.type.convert(value[key]));
        return instance;
      },
    };
  }
}

function scalarType({ type, schema }: Structural): CelType | undefined {
  if (type === 'string') {
    switch (schema['format']) {
      case 'date':
      case 'date-time':
        return TIME;
      case 'byte':
        return {
          name: 'bytes',
          convert: (value) =>
            typeof value === 'string' ? new Uint8Array(Buffer.from(value, 'base64')) : value,
        };
      case 'duration':
        return {
          name: 'google.protobuf.Duration',
          convert: (value) => (typeof value === 'string' ? (toDuration({ text: value }) as unknown) : value),
        };
      default:
        return SCALARS['string'];
    }
  }
  return SCALARS[type];
}

function untyped(value: unknown): unknown {
  return typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value;
}
