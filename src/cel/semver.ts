/** Semantic versions in expressions: semver("1.2.3").isLessThan(semver("2.0.0")). After semver.org 2.0.0 and upstream's cel library of that name. */

export class Semver {
  readonly major: bigint;
  readonly minor: bigint;
  readonly patch: bigint;
  readonly prerelease: readonly string[];

  private constructor(numbers: readonly [bigint, bigint, bigint], prerelease: readonly string[]) {
    [this.major, this.minor, this.patch] = numbers;
    this.prerelease = prerelease;
  }

  /** normalize: 'v1.2' is 1.2.0, and leading zeros go. */
  static parse(text: string, normalize = false): Semver | undefined {
    const found = PATTERN.exec(normalize ? normalized(text) : text);
    if (!found) return undefined;
    const numbers = [BigInt(found[1]!), BigInt(found[2]!), BigInt(found[3]!)] as const;
    const prerelease = found[4]?.split('.') ?? [];
    if (numbers.some((number) => number > MAX) || prerelease.some((part) => /^0\d+$/.test(part)))
      return undefined;
    return new Semver(numbers, prerelease);
  }

  compare(other: Semver): number {
    return (
      order(this.major, other.major) ||
      order(this.minor, other.minor) ||
      order(this.patch, other.patch) ||
      comparePrereleases(this.prerelease, other.prerelease)
    );
  }
}

const MAX = 2n ** 64n - 1n;
const NUMBER = '(0|[1-9]\\d{0,19})',
  PARTS = '[0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*';
const PATTERN = new RegExp(`^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-(${PARTS}))?(?:\\+${PARTS})?$`);

function normalized(text: string): string {
  const [, numbers = '', rest = ''] = /^v?([0-9.]*)(.*)$/s.exec(text)!;
  const parts = numbers.split('.').map((part) => part.replace(/^0+(?=\d)/, ''));
  while (parts.length < 3) parts.push('0');
  return `${parts.join('.')}${rest}`;
}

function order(left: bigint, right: bigint): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** None is the greatest; numbers are below words. */
function comparePrereleases(left: readonly string[], right: readonly string[]): number {
  if (left.length === 0 || right.length === 0) return Math.sign(right.length - left.length);
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const result = comparePart(left[i]!, right[i]!);
    if (result !== 0) return result;
  }
  return Math.sign(left.length - right.length);
}

function comparePart(left: string, right: string): number {
  const [leftIsNumber, rightIsNumber] = [/^\d+$/.test(left), /^\d+$/.test(right)];
  if (leftIsNumber && rightIsNumber) return order(BigInt(left), BigInt(right));
  if (leftIsNumber !== rightIsNumber) return leftIsNumber ? -1 : 1;
  return left < right ? -1 : left > right ? 1 : 0;
}
