/** Values of CEL that JavaScript has no type for. Others: int is bigint, double number, bytes Uint8Array, timestamp Timestamp, list Array, map Map. */
import { formatGoDuration } from '#machinery/go-duration.ts';
import type { Meter } from './budget.ts';
import { EvaluationError } from './errors.ts';

export const INT_MIN = -(2n ** 63n);
export const INT_MAX = 2n ** 63n - 1n;
const UINT_MAX = 2n ** 64n - 1n;

export class UnsignedInt {
  readonly value: bigint;

  constructor(value: bigint) {
    if (value < 0n || value > UINT_MAX) throw new EvaluationError('unsigned integer overflow');
    this.value = value;
  }

  /** What comparisons and texts read. */
  valueOf(): bigint {
    return this.value;
  }

  toString(): string {
    return String(this.value);
  }
}

export class Duration {
  /** In the range of 64 bits. */
  readonly nanoseconds: bigint;

  constructor(nanoseconds: bigint) {
    if (nanoseconds < INT_MIN || nanoseconds > INT_MAX) throw new EvaluationError('integer overflow');
    this.nanoseconds = nanoseconds;
  }

  /** Whole and broken units in floating point, as Go's Duration.Hours, Minutes and Seconds. */
  in(unit: bigint): number {
    return Number(this.nanoseconds / unit) + Number(this.nanoseconds % unit) / Number(unit);
  }

  valueOf(): bigint {
    return this.nanoseconds;
  }

  /** In seconds: '90s', '0.5s'; as exact as a double, as cel-go's. */
  toString(): string {
    const seconds = this.in(1_000_000_000n);
    // Below 1e-6 String would write an exponent.
    const isTiny = seconds !== 0 && Math.abs(seconds) < 1e-6;
    return `${isTiny ? seconds.toFixed(9).replace(/0+$/, '') : seconds}s`;
  }

  /** As Go writes it: '1m30s'. */
  toGoString(): string {
    return formatGoDuration(this.nanoseconds);
  }
}

export class Optional {
  static readonly #none = new Optional(undefined);
  readonly #value: unknown;

  private constructor(value: unknown) {
    this.#value = value;
  }

  static of(value: unknown): Optional {
    return value === undefined ? Optional.#none : new Optional(value);
  }

  static none(): Optional {
    return Optional.#none;
  }

  hasValue(): boolean {
    return this.#value !== undefined;
  }

  value(): unknown {
    if (this.#value === undefined) throw new EvaluationError('optional.none() dereference');
    return this.#value;
  }
}

/** The result of type(x). */
export class TypeValue {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  toString(): string {
    return this.name;
  }
}

/** A value of a constructed type: Object{...}. */
export class CelObject {
  /** 'Object.spec', 'JSONPatch' */
  readonly typeName: string;
  readonly fields: ReadonlyMap<string, unknown>;

  constructor(typeName: string, fields: ReadonlyMap<string, unknown>) {
    this.typeName = typeName;
    this.fields = fields;
  }
}

/** A value of a type with declared fields. */
export abstract class Message {
  abstract readonly typeName: string;
  /** undefined: the field has no value. */
  abstract field(name: string, meter: Meter): unknown;
}

/** A list of type set or map: equal to others in any order, and joined without duplicates. */
export class UnorderedList extends Array<unknown> {
  /** Fields that tell items apart; none: the items do. */
  itemKeys: readonly string[] = [];

  /** A value derived from it is a plain list. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }

  static withKeys(items: readonly unknown[], keys: readonly string[]): UnorderedList {
    const list = new UnorderedList();
    for (const item of items) list.push(item);
    list.itemKeys = keys;
    return list;
  }
}
