/** Types of CEL's checker: representation, signatures, and assignability. After cel-go's checker/types.go. */

type Kind = 'dyn' | 'error' | 'primitive' | 'null' | 'list' | 'map' | 'optional' | 'message' | 'param';

export interface Type {
  readonly kind: Kind;
  /** As signatures write it: 'list<string>'. */
  readonly name: string;
  /** Of maps. */
  readonly keyType?: Type;
  /** Of lists, maps and optional values. */
  readonly valueType?: Type;
  /** Of messages that have any. */
  readonly fields?: ReadonlyMap<string, Type>;
}

const primitive = (name: string): Type => ({ kind: 'primitive', name });
export const DYN: Type = { kind: 'dyn', name: 'dyn' };
/** Of what does not check: it is an error already, so that nothing more is reported of it. */
export const ERROR: Type = { kind: 'error', name: '!error!' };
export const NULL: Type = { kind: 'null', name: 'null' };
export const BOOL = primitive('bool'),
  INT = primitive('int'),
  UINT = primitive('uint'),
  DOUBLE = primitive('double'),
  STRING = primitive('string'),
  BYTES = primitive('bytes'),
  TYPE = primitive('type');
export const TIMESTAMP: Type = { kind: 'message', name: 'google.protobuf.Timestamp' },
  DURATION: Type = { kind: 'message', name: 'google.protobuf.Duration' };

export const listOf = (valueType: Type): Type => ({
  kind: 'list',
  name: `list<${valueType.name}>`,
  valueType,
});
export const mapOf = (keyType: Type, valueType: Type): Type => ({
  kind: 'map',
  name: `map<${keyType.name}, ${valueType.name}>`,
  keyType,
  valueType,
});
export const optionalOf = (valueType: Type): Type => ({
  kind: 'optional',
  name: `optional<${valueType.name}>`,
  valueType,
});

const NAMED: ReadonlyMap<string, Type> = new Map([
  ...[DYN, NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, TYPE, TIMESTAMP, DURATION].map(
    (type) => [type.name, type] as const,
  ),
  ['list', listOf(DYN)],
  ['map', mapOf(DYN, DYN)],
  ['optional', optionalOf(DYN)],
]);

/** A type as signatures write it; one letter is a parameter, other names are those of messages. */
export function parseType(text: string): Type {
  const known = NAMED.get(text);
  if (known) return known;
  if (/^[A-Z]$/.test(text)) return { kind: 'param', name: text };
  const [, outer, inner = ''] = /^(list|map|optional)<(.*)>$/s.exec(text) ?? [];
  const parts = splitTypes(inner);
  switch (outer) {
    case 'list':
      return listOf(parseType(inner));
    case 'optional':
      return optionalOf(parseType(inner));
    case 'map':
      return mapOf(parseType(parts[0]!), parseType(parts[1]!));
    default:
      return { kind: 'message', name: text };
  }
}

/** Splits at commas outside brackets. */
export function splitTypes(text: string): string[] {
  const parts: string[] = [];
  let depth = 0,
    from = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '<') depth++;
    else if (text[i] === '>') depth--;
    else if (i === text.length || (text[i] === ',' && depth === 0)) {
      parts.push(text.slice(from, i).trim());
      from = i + 1;
    }
  }
  return text.trim() === '' ? [] : parts;
}

export function isDynOrError({ kind }: Type): boolean {
  return kind === 'dyn' || kind === 'error';
}

export function sameType(left: Type, right: Type): boolean {
  if (left === right) return true;
  return (
    left.kind === right.kind &&
    left.name === right.name &&
    left.fields === right.fields &&
    sameInner(left.keyType, right.keyType) &&
    sameInner(left.valueType, right.valueType)
  );
}

function sameInner(left: Type | undefined, right: Type | undefined): boolean {
  return left === right || (left !== undefined && right !== undefined && sameType(left, right));
}

/** The more general of two that are assignable. */
export function mostGeneral(left: Type, right: Type): Type {
  return isAsGeneral(left, right) ? left : right;
}

function isAsGeneral(left: Type, right: Type): boolean {
  if (left.kind === 'dyn' || left.kind === 'param') return true;
  if (right.kind === 'dyn' || right.kind === 'param' || left.kind !== right.kind) return false;
  if (left.valueType && right.valueType)
    return (
      isAsGeneral(left.valueType, right.valueType) &&
      (!left.keyType || !right.keyType || isAsGeneral(left.keyType, right.keyType))
    );
  return sameType(left, right);
}

/** Bindings of type parameters. */
export class Substitution {
  #types = new Map<string, Type>();
  #fresh = 0;

  /** A parameter that nothing else has. */
  fresh(): Type {
    return { kind: 'param', name: `_${this.#fresh++}` };
  }

  /** Bindings are kept if all are assignable, else dropped. */
  assign(from: readonly Type[], to: readonly Type[]): boolean {
    if (from.length !== to.length) return false;
    const before = new Map(this.#types);
    if (from.every((type, i) => this.#isAssignable(type, to[i]!))) return true;
    this.#types = before;
    return false;
  }

  /** toDyn: unbound parameters become dyn. */
  apply(type: Type, toDyn: boolean): Type {
    if (type.kind === 'param') {
      const known = this.#types.get(type.name);
      if (known) return this.apply(known, toDyn);
      return toDyn ? DYN : type;
    }
    if (!type.valueType) return type;
    const value = this.apply(type.valueType, toDyn);
    if (type.keyType) {
      const key = this.apply(type.keyType, toDyn);
      return key === type.keyType && value === type.valueType ? type : mapOf(key, value);
    }
    if (value === type.valueType) return type;
    return type.kind === 'list' ? listOf(value) : optionalOf(value);
  }

  #isAssignable(from: Type, to: Type): boolean {
    if (to.kind === 'param') {
      const { valid, known } = this.#substitutes(from, to);
      if (valid) return true;
      if (known) return false;
    }
    if (from.kind === 'param') return this.#substitutes(to, from).valid;
    if (isDynOrError(from) || isDynOrError(to)) return true;
    if (from.kind === 'null') return mayBeNull(to);
    if (to.kind === 'null') return mayBeNull(from);
    if (from.kind !== to.kind) return false;
    if (!from.valueType || !to.valueType) return sameType(from, to);
    return (
      (!from.keyType || !to.keyType || this.#isAssignable(from.keyType, to.keyType)) &&
      this.#isAssignable(from.valueType, to.valueType)
    );
  }

  #substitutes(type: Type, param: Type): { readonly valid: boolean; readonly known: boolean } {
    if (type.kind === 'param' && type.name === param.name) return { valid: true, known: true };
    const known = this.#types.get(param.name);
    if (!known) {
      if (!this.#isFree(param, type)) return { valid: false, known: false };
      this.#types.set(param.name, type);
      return { valid: true, known: false };
    }
    if (sameType(type, known)) return { valid: true, known: true };
    if (!this.#isAssignable(type, known)) return { valid: false, known: true };
    const general = mostGeneral(type, known);
    if (this.#isFree(param, general)) this.#types.set(param.name, general);
    return { valid: true, known: true };
  }

  /** The parameter does not occur in the type. */
  #isFree(param: Type, type: Type): boolean {
    if (type.kind === 'param') {
      if (type.name === param.name) return false;
      const known = this.#types.get(type.name);
      return !known || this.#isFree(param, known);
    }
    return (
      (!type.keyType || this.#isFree(param, type.keyType)) &&
      (!type.valueType || this.#isFree(param, type.valueType))
    );
  }
}

function mayBeNull({ kind }: Type): boolean {
  return kind === 'null' || kind === 'message' || kind === 'optional';
}
