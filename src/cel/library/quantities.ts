/** Quantities of resources. */
import { parseQuantity, Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { readInput } from '../estimates.ts';
import { fail, opaque, type Add } from './add.ts';

/** A quantity as expressions see it. */
export class CelQuantity {
  readonly value: Quantity;
  constructor(value: Quantity) {
    this.value = value;
  }

  equals(other: CelQuantity): boolean {
    return this.value.equals(other.value);
  }
}

export const QUANTITY_TYPE = opaque('kubernetes.Quantity', CelQuantity);

export function addQuantities(add: Add): void {
  const compare = (left: CelQuantity, right: CelQuantity): number => left.value.compare(right.value);
  const ofInt = (value: bigint): Quantity => parseQuantity(String(value));
  add('quantity(string): kubernetes.Quantity', {
    estimate: readInput,
    run: (text: string) => {
      return new CelQuantity(
        tryParseQuantity(text) ??
          fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
      );
    },
  });
  add('isQuantity(string): bool', {
    estimate: readInput,
    run: (text: string) => tryParseQuantity(text) !== undefined,
  });
  add('sign(kubernetes.Quantity): int', ({ value }: CelQuantity) => BigInt(value.sign));
  add('kubernetes.Quantity.isInteger(): bool', ({ value }: CelQuantity) => integerOf(value) !== undefined);
  add(
    'kubernetes.Quantity.asInteger(): int',
    ({ value }: CelQuantity) => integerOf(value) ?? fail('cannot convert value to integer'),
  );
  add('kubernetes.Quantity.asApproximateFloat(): double', ({ value }: CelQuantity) => approximate(value));
  add(
    'kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool',
    (left: CelQuantity, right: CelQuantity) => compare(left, right) < 0,
  );
  add(
    'kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool',
    (left: CelQuantity, right: CelQuantity) => compare(left, right) > 0,
  );
  add('kubernetes.Quantity.compareTo(kubernetes.Quantity): int', (left: CelQuantity, right: CelQuantity) =>
    BigInt(Math.sign(compare(left, right))),
  );
  add(
    'kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity',
    (left: CelQuantity, right: CelQuantity) => new CelQuantity(left.value.add(right.value)),
  );
  add(
    'kubernetes.Quantity.add(int): kubernetes.Quantity',
    (left: CelQuantity, right: bigint) => new CelQuantity(left.value.add(ofInt(right))),
  );
  add(
    'kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity',
    (left: CelQuantity, right: CelQuantity) => new CelQuantity(left.value.sub(right.value)),
  );
  add(
    'kubernetes.Quantity.sub(int): kubernetes.Quantity',
    (left: CelQuantity, right: bigint) => new CelQuantity(left.value.sub(ofInt(right))),
  );
}

const INT64_MAX = 2n ** 63n - 1n;

function integerOf(value: Quantity): bigint | undefined {
  const whole = value.scaledValue(0);
  return Quantity.of(whole).equals(value) && whole <= INT64_MAX && whole >= -INT64_MAX - 1n
    ? whole
    : undefined;
}

function approximate(value: Quantity): number {
  return Number(value.scaledValue(-9)) / 1e9;
}
