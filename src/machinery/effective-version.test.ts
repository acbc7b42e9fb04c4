import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ALLOWED_VERSIONS,
  BINARY_VERSION,
  compareMajorMinor,
  effectiveVersionFrom,
  formatMajorMinor,
  parseMajorMinor,
} from './effective-version.ts';

const { major, minor } = BINARY_VERSION;
const older = (by: number): string => `${major}.${minor - by}`;
const shown = (flags: Parameters<typeof effectiveVersionFrom>[0]): string[] => {
  const { emulated, minCompatibility } = effectiveVersionFrom(flags);
  return [formatMajorMinor(emulated), formatMajorMinor(minCompatibility)];
};

test('the two flags: formats, defaults, ranges', () => {
  assert.deepEqual(shown({}), [older(0), older(1)]);
  assert.deepEqual(shown({ emulated: [older(1)] }), [older(1), older(2)]);
  assert.deepEqual(shown({ emulated: [`kube=${older(1)}`] }), [older(1), older(2)]);
  assert.deepEqual(shown({ emulated: [`${older(2)}.0`] }), [older(2), older(3)]);
  // The default stays within the range.
  assert.deepEqual(shown({ emulated: [older(3)] }), [older(3), older(3)]);
  assert.deepEqual(shown({ minCompatibility: [older(0)] }), [older(0), older(0)]);
  assert.equal(ALLOWED_VERSIONS, `${older(3)}..${older(0)}`);
});

test("errors have upstream's words", () => {
  const cases: readonly (readonly [flags: Parameters<typeof effectiveVersionFrom>[0], message: string])[] = [
    [{ emulated: [older(4)] }, `emulation version ${older(4)} is not between [${older(3)}, ${older(0)}]`],
    [{ emulated: [older(-1)] }, `emulation version ${older(-1)} is not between [${older(3)}, ${older(0)}]`],
    [
      { emulated: [older(1)], minCompatibility: [older(0)] },
      `minCompatibilityVersion version ${older(0)} is not between [${older(3)}, ${older(1)}]`,
    ],
    [{ emulated: ['soon'] }, 'could not parse "soon" as version'],
    [{ emulated: ['kube=1.35.2'] }, 'patch version not allowed, got: kube=1.35.2'],
    [{ emulated: ['wardle=1.2'] }, 'component not registered: wardle'],
    [
      { emulated: [older(1), `kube=${older(2)}`] },
      `duplicate version flag, kube=${older(1)} and kube=${older(2)}`,
    ],
  ];
  for (const [flags, message] of cases) assert.throws(() => effectiveVersionFrom(flags), { message });
});

test('versions are read as programs report them', () => {
  assert.deepEqual(parseMajorMinor('v1.36.0+capstan.0.1.0'), { major: 1, minor: 36 });
  assert.equal(parseMajorMinor('1'), undefined);
  assert.ok(compareMajorMinor({ major: 1, minor: 9 }, { major: 1, minor: 10 }) < 0);
});
