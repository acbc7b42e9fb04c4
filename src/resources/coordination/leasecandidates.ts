/** LeaseCandidate: one that would lead, in a coordinated leader election. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

export const leasecandidates = defineResource({
  group: 'coordination.k8s.io',
  plural: 'leasecandidates',
  allowCreateOnUpdate: true,
  allowUnconditionalUpdate: false,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (candidate) => {
    const errors = new Errors(), spec = (candidate['spec'] ?? {}) as Record<string, string | undefined>;
    for (const field of ['leaseName', 'binaryVersion', 'strategy']) if (!spec[field]) errors.required(SPEC.child(field));
    for (const field of ['binaryVersion', 'emulationVersion']) {
      const version = spec[field];
      if (version && !/^v?\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.-]+)?$/.test(version)) errors.invalid(SPEC.child(field), version, 'must be a valid semantic version');
    }
    return errors.list;
  },
  table: {
    columns: columns('Name', 'LeaseName', 'BinaryVersion', 'EmulationVersion', 'Age'),
    row: (candidate, context) => {
      const spec = (candidate['spec'] ?? {}) as Record<string, string | undefined>;
      return [nameOf(candidate), spec['leaseName'] ?? '', spec['binaryVersion'] ?? '', spec['emulationVersion'] ?? '', ageOf(candidate, context)];
    },
  },
});
