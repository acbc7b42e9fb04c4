/**
 * Converts JSON to values of expressions and back. Whole numbers are ints, others doubles, objects maps. Objects are converted lazily: an expression that
 * reads one field of a large object costs no more than that.
 */
import { isJsonObject, setOwn, type JsonObject } from '#machinery/json.ts';
import { CelObject, Duration, Message, Optional, UnsignedInt } from './datatypes.ts';
import { Timestamp } from './timestamp.ts';

/** A map of JSON, to expressions any other. */
export class LazyMap extends Map<string, unknown> {
  readonly #source: JsonObject;
  readonly #convert: (value: unknown) => unknown;

  constructor(source: JsonObject, convert: (value: unknown) => unknown = toCel) {
    super();
    this.#source = source;
    this.#convert = convert;
  }

  override get(key: string): unknown {
    const known = super.get(key);
    if (known !== undefined || typeof key !== 'string' || !Object.hasOwn(this.#source, key)) return known;
    const value = this.#convert(this.#source[key]);
    super.set(key, value);
    return value;
  }

  override has(key: string): boolean {
    return typeof key === 'string' && Object.hasOwn(this.#source, key);
  }
  override get size(): number {
    return Object.keys(this.#source).length;
  }
  override keys(): MapIterator<string> {
    return Object.keys(this.#source).values() as MapIterator<string>;
  }
  override *entries(): MapIterator<[string, unknown]> {
    for (const key of Object.keys(this.#source)) yield [key, this.get(key)];
  }
  override *values(): MapIterator<unknown> {
    for (const key of Object.keys(this.#source)) yield this.get(key);
  }
  override [Symbol.iterator](): MapIterator<[string, unknown]> {
    return this.entries();
  }
  override forEach(work: (value: unknown, key: string, map: Map<string, unknown>) => void): void {
    for (const [key, value] of this.entries()) work(value, key, this);
  }
}

/** A map whose missing keys select a default value; `in` still tells which keys are there. After upstream's attributes of devices. */
export class DefaultingMap extends Map<string, unknown> {
  readonly #missing: unknown;

  constructor(entries: Iterable<readonly [string, unknown]>, missing: unknown) {
    super(entries);
    this.#missing = missing;
  }

  override get(key: string): unknown {
    return super.get(key) ?? this.#missing;
  }
}

/** How expressions name an object's fields, and their types on the wire. */
export interface DeclaredField {
  readonly key: string;
  convert(value: unknown): unknown;
}

/** An object of a schema: other fields than the declared ones are not there. */
export class DeclaredObject extends Message {
  readonly typeName: string;
  readonly #source: JsonObject;
  readonly #fields: ReadonlyMap<string, DeclaredField>;
  readonly #known = new Map<string, unknown>();

  constructor(
    typeName: string,
    { source, fields }: { readonly source: JsonObject; readonly fields: ReadonlyMap<string, DeclaredField> },
  ) {
    super();
    this.typeName = typeName;
    this.#source = source;
    this.#fields = fields;
  }

  field(name: string): unknown {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const field = this.#fields.get(name);
    if (!field || !Object.hasOwn(this.#source, field.key)) return undefined;
    const value = field.convert(this.#source[field.key]);
    this.#known.set(name, value);
    return value;
  }

  /** Of the fields that have a value. */
  names(): string[] {
    return Array.from(this.#fields)
      .filter(([, { key }]) => Object.hasOwn(this.#source, key))
      .map(([name]) => name);
  }
}

/** The value must not change while expressions read it. undefined, which JSON has not, is null. */
export function toCel(value: unknown): unknown {
  switch (typeof value) {
    case 'number':
      return Number.isInteger(value) ? BigInt(value) : value;
    case 'undefined':
      return null;
    case 'object':
      return value === null
        ? null
        : Array.isArray(value)
          ? value.map(toCel)
          : isJsonObject(value)
            ? new LazyMap(value)
            : value;
    default:
      return value;
  }
}

/** Throws a TypeError for values without a wire form: types, quantities, … */
export function fromCel(value: unknown): unknown {
  switch (typeof value) {
    case 'bigint':
      return Number(value);
    case 'string':
    case 'number':
    case 'boolean':
      return value;
    case 'object':
      return value === null ? null : fromObject(value);
    default:
      throw new TypeError(`${typeof value} has no JSON form`);
  }
}

function fromObject(value: object): unknown {
  if (Array.isArray(value)) return Array.from(value, fromCel);
  if (value instanceof Map) return fromEntries(value);
  if (value instanceof CelObject) return fromEntries(value.fields);
  if (value instanceof DeclaredObject)
    return fromEntries(value.names().map((name) => [name, value.field(name)]));
  if (value instanceof Optional) return value.hasValue() ? fromCel(value.value()) : null;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof Timestamp || value instanceof Duration) return String(value);
  if (value instanceof UnsignedInt) return Number(value.value);
  throw new TypeError(`a value of type ${value.constructor.name} has no JSON form`);
}

function fromEntries(entries: Iterable<readonly [unknown, unknown]>): JsonObject {
  const object: JsonObject = {};
  for (const [key, value] of entries) setOwn(object, String(key), fromCel(value));
  return object;
}
