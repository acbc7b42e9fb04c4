/** Semantic versions. */
import { readInput } from '../estimates.ts';
import { Semver } from '../semver.ts';
import { fail, type Add } from './add.ts';

export const SEMVER_TYPE = { name: 'kubernetes.Semver', is: (value: unknown) => value instanceof Semver };

export function addVersions(add: Add): void {
  const parse = (text: string, normalize = false): Semver =>
    Semver.parse(text, normalize) ??
    fail(`Invalid character(s) or no Major.Minor.Patch elements found in version ${JSON.stringify(text)}`);
  add('semver(string): kubernetes.Semver', { estimate: readInput, run: (text: string) => parse(text) });
  add('semver(string, bool): kubernetes.Semver', {
    estimate: readInput,
    run: (text: string, normalize: boolean) => parse(text, normalize),
  });
  add('isSemver(string): bool', {
    estimate: readInput,
    run: (text: string) => Semver.parse(text) !== undefined,
  });
  add('isSemver(string, bool): bool', {
    estimate: readInput,
    run: (text: string, normalize: boolean) => Semver.parse(text, normalize) !== undefined,
  });
  for (const part of ['major', 'minor', 'patch'] as const)
    add(`kubernetes.Semver.${part}(): int`, (version: Semver) => version[part]);
  add(
    'kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool',
    (left: Semver, right: Semver) => left.compare(right) > 0,
  );
  add(
    'kubernetes.Semver.isLessThan(kubernetes.Semver): bool',
    (left: Semver, right: Semver) => left.compare(right) < 0,
  );
  add('kubernetes.Semver.compareTo(kubernetes.Semver): int', (left: Semver, right: Semver) =>
    BigInt(left.compare(right)),
  );
}
