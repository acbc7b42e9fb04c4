/** LeaseCandidate: a candidate in a coordinated leader election. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const ZERO: readonly number[] = [0, 0, 0];

/** Major, minor, patch. */
function versionOf(text: string | undefined): readonly number[] | undefined {
  const parts = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:[-+][0-9A-Za-z.+-]+)?$/.exec(text ?? '');
  return parts?.slice(1, 4).map(Number);
}

function isLess(left: readonly number[], right: readonly number[]): boolean {
  const at = left.findIndex((part, i) => part !== right[i]);
  return at >= 0 && left[at]! < right[at]!;
}

export const leasecandidates = defineResource({
  group: 'coordination.k8s.io',
  plural: 'leasecandidates',
  allowCreateOnUpdate: true,
  allowUnconditionalUpdate: false,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (candidate) => {
    const errors = new Errors(),
      spec = (candidate['spec'] ?? {}) as {
        readonly binaryVersion?: string;
        readonly emulationVersion?: string;
      } & Record<string, string | undefined>;
    for (const field of ['leaseName', 'binaryVersion', 'strategy'])
      if (!spec[field]) errors.required(SPEC.child(field));
    for (const field of ['binaryVersion', 'emulationVersion'])
      if (spec[field] && !versionOf(spec[field]))
        errors.invalid(SPEC.child(field), spec[field], 'must be a valid semantic version');
    const { binaryVersion, emulationVersion } = spec,
      emulated = versionOf(emulationVersion) ?? ZERO;
    if (binaryVersion && emulationVersion && isLess(versionOf(binaryVersion) ?? ZERO, emulated))
      errors.invalid(
        SPEC.child('binaryVersion'),
        binaryVersion,
        'must be greater than or equal to `emulationVersion`',
      );
    if (spec['strategy'] === 'OldestEmulationVersion' && emulated.every((part) => part === 0))
      errors.required(
        SPEC.child('emulationVersion'),
        "must be specified when `strategy` is 'OldestEmulationVersion'",
      );
    return errors.list;
  },
  table: {
    columns: columns('Name', 'LeaseName', 'BinaryVersion', 'EmulationVersion', 'Age'),
    row: (candidate, context) => {
      const spec = (candidate['spec'] ?? {}) as Record<string, string | undefined>;
      return [
        nameOf(candidate),
        spec['leaseName'] ?? '',
        spec['binaryVersion'] ?? '',
        spec['emulationVersion'] ?? '',
        formatAge(candidate, context),
      ];
    },
  },
});
