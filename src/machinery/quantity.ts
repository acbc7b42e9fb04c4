/**
 * Resource quantities ('100m', '1.5Gi', '12e6'), exact, after apimachinery's api/resource: same grammar, limits, rounding and
 * canonical text. Amounts below nano precision are rounded away from zero. Immutable.
 *
 * One difference: an amount of 1000E and more is printed with the suffix E ('1000E'); upstream prints it without any suffix,
 * which is another amount.
 */

type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

export class QuantityError extends Error {
  override readonly name = 'QuantityError';
}

const WRONG_FORMAT =
  "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_NUMBER = 'unable to parse numeric part of quantity';
const WRONG_SUFFIX = "unable to parse quantity's suffix";

/** Sign, digits, fraction, suffix. Lenient: upstream accepts '', '.' and a lone suffix as zero digits. */
const GRAMMAR = /^([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)$/;

const NANO = -9;
/** Limits the work for '1e999999999'; upstream's own arithmetic fails far earlier. */
const MAXIMUM_EXPONENT = 1000;
const MAXIMUM_LENGTH = 1000;
const MAXIMUM_INT64 = 2n ** 63n - 1n;

interface Suffix {
  readonly base: 2 | 10;
  readonly exponent: number;
  readonly format: QuantityFormat;
}

const DECIMAL_SUFFIXES = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'] as const;
const BINARY_SUFFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'] as const;
const SUFFIXES: ReadonlyMap<string, Suffix> = new Map<string, Suffix>([
  ...DECIMAL_SUFFIXES.map(
    (text, index) => [text, { base: 10, exponent: (index - 3) * 3, format: 'DecimalSI' }] as [string, Suffix],
  ),
  ...BINARY_SUFFIXES.slice(1).map(
    (text, index) => [text, { base: 2, exponent: (index + 1) * 10, format: 'BinarySI' }] as [string, Suffix],
  ),
]);

const POWERS_OF_TEN: readonly bigint[] = Array.from({ length: 40 }, (_, exponent) => 10n ** BigInt(exponent));

function powerOfTen(exponent: number): bigint {
  return POWERS_OF_TEN[exponent] ?? 10n ** BigInt(exponent);
}

export class Quantity {
  /** The amount is unscaled × 10^scale, scale ≥ -9. */
  readonly #unscaled: bigint;
  readonly #scale: number;
  readonly format: QuantityFormat;
  #text: string | undefined;

  private constructor(
    unscaled: bigint,
    scale: number,
    options: { readonly format: QuantityFormat; readonly text?: string | undefined },
  ) {
    this.#unscaled = unscaled;
    this.#scale = scale;
    this.format = options.format;
    this.#text = options.text;
  }

  static readonly zero = new Quantity(0n, 0, { format: 'DecimalSI', text: '0' });

  /** Throws QuantityError with upstream's message. */
  static parse(text: string): Quantity {
    const known = parsed.get(text);
    if (known) return known;
    const quantity = Quantity.#parse(text);
    if (text.length <= MAXIMUM_REMEMBERED_LENGTH) remember(text, quantity);
    return quantity;
  }

  static #parse(text: string): Quantity {
    if (text === '' || text.length > MAXIMUM_LENGTH) throw new QuantityError(WRONG_FORMAT);
    const match = GRAMMAR.exec(text);
    if (!match) throw new QuantityError(WRONG_FORMAT);
    const [, sign = '', integer = '', point, fraction = '', suffixText = ''] = match;
    const suffix = readSuffix(suffixText);
    // Without leading zeros, as upstream counts digits.
    const digits = (integer.replace(/^0+/, '') || '0') + fraction;
    if (suffix.format === 'DecimalExponent' && Math.abs(suffix.exponent) > MAXIMUM_EXPONENT)
      throw new QuantityError(WRONG_SUFFIX);
    if (point && digits.length > MAXIMUM_LENGTH) throw new QuantityError(WRONG_NUMBER);
    const amount = { negative: sign === '-', digits, fractionLength: fraction.length };
    return suffix.base === 2 ? parseBinary(text, suffix, amount) : parseDecimal(text, suffix, amount);
  }

  /** @internal Constructs it from its parts; the text is its printed form, when known. */
  static make(
    unscaled: bigint,
    scale: number,
    options: { readonly format: QuantityFormat; readonly text?: string | undefined },
  ): Quantity {
    return new Quantity(unscaled, scale, options);
  }

  /** An integer amount. */
  static of(value: number | bigint, format: QuantityFormat = 'DecimalSI'): Quantity {
    return new Quantity(BigInt(value), 0, { format });
  }

  static ofMilli(value: number | bigint, format: QuantityFormat = 'DecimalSI'): Quantity {
    return new Quantity(BigInt(value), -3, { format });
  }

  static ofNano(value: number | bigint, format: QuantityFormat = 'DecimalSI'): Quantity {
    return new Quantity(BigInt(value), NANO, { format });
  }

  get isZero(): boolean {
    return this.#unscaled === 0n;
  }

  /** -1, 0 or 1. */
  get sign(): number {
    return this.#unscaled > 0n ? 1 : this.#unscaled < 0n ? -1 : 0;
  }

  compare(other: Quantity): number {
    if (this.#scale === other.#scale)
      return this.#unscaled < other.#unscaled ? -1 : this.#unscaled > other.#unscaled ? 1 : 0;
    const scale = Math.min(this.#scale, other.#scale);
    const left = this.#unscaled * powerOfTen(this.#scale - scale);
    const right = other.#unscaled * powerOfTen(other.#scale - scale);
    return left < right ? -1 : left > right ? 1 : 0;
  }

  equals(other: Quantity): boolean {
    return this.compare(other) === 0;
  }

  /** The sum keeps this quantity's format, unless this is zero. */
  add(other: Quantity): Quantity {
    const scale = Math.min(this.#scale, other.#scale);
    const unscaled =
      this.#unscaled * powerOfTen(this.#scale - scale) + other.#unscaled * powerOfTen(other.#scale - scale);
    return new Quantity(unscaled, scale, { format: this.isZero ? other.format : this.format });
  }

  sub(other: Quantity): Quantity {
    return this.add(other.negate());
  }

  negate(): Quantity {
    return new Quantity(-this.#unscaled, this.#scale, { format: this.format });
  }

  multiply(factor: number | bigint): Quantity {
    return new Quantity(this.#unscaled * BigInt(factor), this.#scale, { format: this.format });
  }

  /** In units of 10^exponent, rounded away from zero. */
  scaledValue(exponent: number): bigint {
    if (this.#scale >= exponent) return this.#unscaled * powerOfTen(this.#scale - exponent);
    return divideAwayFromZero(this.#unscaled, powerOfTen(exponent - this.#scale));
  }

  /** In whole units, rounded away from zero. Exact up to 2^53. */
  value(): number {
    return this.#scale === 0 ? Number(this.#unscaled) : Number(this.scaledValue(0));
  }

  /** In thousandths, rounded away from zero. Exact up to 2^53. */
  milliValue(): number {
    return Number(this.scaledValue(-3));
  }

  /** The nearest floating-point number. */
  asApproximateFloat64(): number {
    return this.#scale === 0 ? Number(this.#unscaled) : Number(`${this.#unscaled}e${this.#scale}`);
  }

  /** Canonical text; after parsing a text that was canonical enough, the text itself (upstream's rule). */
  toString(): string {
    this.#text ??= this.#canonical();
    return this.#text;
  }

  toJSON(): string {
    return this.toString();
  }

  #canonical(): string {
    if (this.#unscaled === 0n) return '0';
    if (this.format === 'BinarySI') {
      const whole = this.scaledValue(0);
      const exact = this.#scale >= 0 || whole * powerOfTen(-this.#scale) === this.#unscaled;
      const small = whole > -1024n && whole < 1024n;
      if (exact && !small) return printBinary(whole);
    }
    return printDecimal(this.#unscaled, this.#scale, this.format === 'DecimalExponent');
  }
}

/** Cache for frequent texts. Cleared when it is full. */
const parsed = new Map<string, Quantity>([['0', Quantity.zero]]);
const MAXIMUM_REMEMBERED = 4096;
const MAXIMUM_REMEMBERED_LENGTH = 32;

function remember(text: string, quantity: Quantity): void {
  if (parsed.size >= MAXIMUM_REMEMBERED) parsed.clear();
  parsed.set(text, quantity);
}

interface ParsedAmount {
  readonly negative: boolean;
  readonly digits: string;
  readonly fractionLength: number;
}

function readSuffix(text: string): Suffix {
  const known = SUFFIXES.get(text);
  if (known) return known;
  if (!/^[eE][-+]?[0-9]+$/.test(text)) throw new QuantityError(WRONG_SUFFIX);
  return { base: 10, exponent: Number(text.slice(1)), format: 'DecimalExponent' };
}

function parseDecimal(
  text: string,
  suffix: Suffix,
  { negative, digits, fractionLength }: ParsedAmount,
): Quantity {
  const scale = suffix.exponent - fractionLength;
  const magnitude = BigInt(digits);
  const unscaled = negative ? -magnitude : magnitude;
  const keepsText =
    digits.length <= 18 &&
    scale >= NANO &&
    scale % 3 === 0 &&
    !digits.endsWith('000') &&
    !digits.startsWith('0');
  if (scale >= NANO)
    return Quantity.make(unscaled, scale, { format: suffix.format, text: keepsText ? text : undefined });
  return Quantity.make(divideAwayFromZero(unscaled, powerOfTen(NANO - scale)), NANO, {
    format: suffix.format,
  });
}

function parseBinary(
  text: string,
  suffix: Suffix,
  { negative, digits, fractionLength }: ParsedAmount,
): Quantity {
  const multiplier = 1n << BigInt(suffix.exponent);
  const magnitude = BigInt(digits);
  const fastDigits = 15 - digits.length - Math.trunc((suffix.exponent * 3) / 10) - 1;
  if (fractionLength === 0 && fastDigits >= 0) {
    const keepsText = (magnitude & 7n) !== 0n;
    return Quantity.make((negative ? -magnitude : magnitude) * multiplier, 0, {
      format: 'BinarySI',
      text: keepsText ? text : undefined,
    });
  }
  const scale = Math.max(-fractionLength, NANO);
  let unscaled = divideAwayFromZero(magnitude * multiplier, powerOfTen(fractionLength + scale));
  const one = powerOfTen(-scale);
  if (unscaled > MAXIMUM_INT64 * one) unscaled = MAXIMUM_INT64 * one;
  const format = unscaled > 0n && unscaled < one ? 'DecimalSI' : 'BinarySI';
  return Quantity.make(negative ? -unscaled : unscaled, scale, { format });
}

function divideAwayFromZero(dividend: bigint, divisor: bigint): bigint {
  const quotient = dividend / divisor;
  if (quotient * divisor === dividend) return quotient;
  return dividend < 0n ? quotient - 1n : quotient + 1n;
}

/** The largest power of 1024 that divides it becomes the suffix. */
function printBinary(whole: bigint): string {
  let mantissa = whole;
  let steps = 0;
  while (steps < BINARY_SUFFIXES.length - 1 && (mantissa & 1023n) === 0n) {
    mantissa >>= 10n;
    steps++;
  }
  return `${mantissa}${BINARY_SUFFIXES[steps]}`;
}

/** The largest power of a thousand that divides it becomes the suffix or exponent. */
function printDecimal(unscaled: bigint, scale: number, asExponent: boolean): string {
  let mantissa = unscaled;
  let exponent = scale;
  while (mantissa % 10n === 0n) {
    mantissa /= 10n;
    exponent++;
  }
  const surplus = ((exponent % 3) + 3) % 3;
  mantissa *= POWERS_OF_TEN[surplus]!;
  exponent -= surplus;
  if (asExponent) return exponent === 0 ? `${mantissa}` : `${mantissa}e${exponent}`;
  if (exponent > 18) {
    mantissa *= powerOfTen(exponent - 18);
    exponent = 18;
  }
  return `${mantissa}${DECIMAL_SUFFIXES[exponent / 3 + 3]}`;
}

/** Throws QuantityError with upstream's message. */
export function parseQuantity(text: string): Quantity {
  return Quantity.parse(text);
}

/** undefined instead of an error. */
export function tryParseQuantity(text: string): Quantity | undefined {
  try {
    return Quantity.parse(text);
  } catch (error) {
    if (error instanceof QuantityError) return undefined;
    throw error;
  }
}

/** Plain texts that are canonical already: no sign, no leading zero, no factor for a suffix. */
const PLAINLY_CANONICAL =
  /^(?:0|[1-9][0-9]{0,14}(?<!000)[numkMGTPE]?|(?:[1-9]|[1-9][0-9]|[1-9][0-9]{2})[KMG]i)$/;

/** The text for an API object. Accepts a JSON number too. Throws QuantityError. */
export function canonicalQuantity(value: string | number): string {
  if (typeof value === 'string' && PLAINLY_CANONICAL.test(value)) return value;
  return Quantity.parse(String(value).trim()).toString();
}

export function compareQuantities(left: string | number, right: string | number): number {
  return Quantity.parse(String(left)).compare(Quantity.parse(String(right)));
}
