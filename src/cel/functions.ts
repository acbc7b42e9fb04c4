/** Functions of expressions as data: names, overloads with their types, what each does and costs. Libraries of them are put together in library.ts. */
import type { Meter } from './budget.ts';
import { CelObject, Duration, Message, Optional, TypeValue, UnsignedInt } from './datatypes.ts';
import { Timestamp } from './timestamp.ts';
import type { Estimate } from './sizes.ts';
import { parseType, splitTypes, type Type } from './type.ts';

/** Receives target and arguments, and last the meter, to charge costs beside its step. Throws EvaluationError. */
type Implementation = (...args: never[]) => unknown;

/** Charges a call, before it runs, by its receiver and arguments. */
export type Charge = (inputs: readonly unknown[], meter: Meter) => void;

/** A function that costs more than one step and reading its inputs. */
interface CostlyFunction {
  readonly run: Implementation;
  /** The most that a call may cost; 1 without it. */
  readonly estimate?: Estimate;
  /** What a call costs; that of reading its inputs without it. */
  readonly charge?: Charge;
}

export type FunctionEntry = Implementation | CostlyFunction;

/** By signature: 'string.charAt(int): string', 'sets.contains(list<T>, list<T>): bool'. One capital is a type parameter. */
export type Functions = Readonly<Record<string, FunctionEntry>>;

/** A type whose values only functions make and read. */
export interface OpaqueType {
  readonly name: string;
  is(value: unknown): boolean;
  /** That expressions may select: see Message. */
  readonly fields?: Readonly<Record<string, string>>;
}

export interface Overload {
  readonly name: string;
  readonly isMember: boolean;
  /** The receiver first. */
  readonly params: readonly Type[];
  readonly result: Type;
  /** By parameter: whether a value may be given for it. */
  readonly guards: readonly ((value: unknown) => boolean)[];
  readonly run: (...args: unknown[]) => unknown;
  /** undefined: 1. */
  readonly estimate: Estimate | undefined;
  /** undefined: that of reading the inputs. */
  readonly charge: Charge | undefined;
}

export class Library {
  readonly #overloads = new Map<string, Overload[]>();
  readonly #types = new Map<string, { readonly opaque: OpaqueType; readonly type: Type }>();

  constructor(base?: Library) {
    if (!base) return;
    for (const [name, overloads] of base.#overloads) this.#overloads.set(name, [...overloads]);
    for (const [name, type] of base.#types) this.#types.set(name, type);
  }

  /** The types that signatures name must be there already. */
  add({
    types = [],
    functions = {},
  }: {
    readonly types?: readonly OpaqueType[];
    readonly functions?: Functions;
  }): this {
    for (const opaque of types) this.#types.set(opaque.name, { opaque, type: typeOfOpaque(opaque) });
    for (const [signature, entry] of Object.entries(functions)) {
      const overload = this.#parse(signature, entry);
      const known = this.#overloads.get(overload.name);
      if (known) known.push(overload);
      else this.#overloads.set(overload.name, [overload]);
    }
    return this;
  }

  overloads(name: string): readonly Overload[] | undefined {
    return this.#overloads.get(name);
  }

  type(name: string): Type {
    return this.#resolved(parseType(name));
  }

  /** A type that is not one of the language's own. */
  hasType(name: string): boolean {
    return this.#types.has(name);
  }

  /** The name of a value's type: type(x). */
  typeNameOf(value: unknown): string {
    const known = typeName(value);
    if (known !== undefined) return known;
    for (const { opaque } of this.#types.values()) if (opaque.is(value)) return opaque.name;
    return 'dyn';
  }

  #resolved(type: Type): Type {
    if (type.kind === 'message') return this.#types.get(type.name)?.type ?? type;
    if (!type.valueType) return type;
    const valueType = this.#resolved(type.valueType);
    return type.keyType
      ? { ...type, valueType, keyType: this.#resolved(type.keyType) }
      : { ...type, valueType };
  }

  #parse(signature: string, entry: FunctionEntry): Overload {
    const { run, estimate, charge }: CostlyFunction = typeof entry === 'function' ? { run: entry } : entry;
    const [, left = '', args = '', result = ''] = /^([^(]+)\((.*)\): (.+)$/s.exec(signature)!;
    const dot = left.lastIndexOf('.'),
      receiver = dot < 0 ? undefined : left.slice(0, dot);
    const isMember = receiver !== undefined && this.#isType(receiver);
    const params = [...(isMember ? [receiver] : []), ...splitTypes(args)].map((name) => this.type(name));
    return {
      name: isMember ? left.slice(dot + 1) : left,
      isMember,
      params,
      result: this.type(result),
      guards: params.map((type) => this.#guard(type)),
      run: run as Overload['run'],
      estimate,
      charge,
    };
  }

  /** Otherwise the identifier before the dot is a namespace. */
  #isType(name: string): boolean {
    if (name === 'optional') return false;
    return parseType(name).kind !== 'message' || name.startsWith('google.protobuf.') || this.#types.has(name);
  }

  #guard({ kind, name }: Type): (value: unknown) => boolean {
    const opaque = this.#types.get(name)?.opaque;
    if (opaque) return (value) => opaque.is(value);
    return GUARDS[kind === 'primitive' || kind === 'message' ? name : kind] ?? (() => true);
  }
}

function typeOfOpaque({ name, fields }: OpaqueType): Type {
  return fields
    ? {
        kind: 'message',
        name,
        fields: new Map(Object.entries(fields).map(([field, type]) => [field, parseType(type)])),
      }
    : { kind: 'message', name };
}

const GUARDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  bool: (value) => typeof value === 'boolean',
  int: (value) => typeof value === 'bigint',
  uint: (value) => value instanceof UnsignedInt,
  double: (value) => typeof value === 'number',
  string: (value) => typeof value === 'string',
  bytes: (value) => value instanceof Uint8Array,
  null: (value) => value === null,
  type: (value) => value instanceof TypeValue,
  list: (value) => Array.isArray(value),
  map: (value) => value instanceof Map,
  optional: (value) => value instanceof Optional,
  'google.protobuf.Timestamp': (value) => value instanceof Timestamp,
  'google.protobuf.Duration': (value) => value instanceof Duration,
};

function typeName(value: unknown): string | undefined {
  if (value instanceof CelObject || value instanceof Message) return value.typeName;
  if (value instanceof Optional) return 'optional_type';
  return value === null ? 'null_type' : Object.keys(GUARDS).find((name) => GUARDS[name]!(value));
}
