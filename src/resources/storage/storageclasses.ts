/** StorageClass. */
import type { StorageClass, TopologySelectorTerm } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { checkImmutable, checkOptionalEnum, checkQualifiedName, eachRepeated } from '../checks.ts';
import { nodeKeyWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const ROOT = Path.root('');
const PARAMETERS_MAX_BYTES = 256 * 1024;
const PARAMETERS_MAX = 512;

export const storageclasses = defineResource<StorageClass>({
  group: 'storage.k8s.io',
  plural: 'storageclasses',
  applyDefaults: (storageClass) => {
    storageClass.reclaimPolicy ??= 'Delete';
    storageClass.volumeBindingMode ??= 'Immediate';
  },
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    for (const field of ['parameters', 'provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const)
      checkImmutable(next[field], previous[field], Path.root(field), errors);
    return [...validate(next), ...errors.list];
  },
  warnings: ({ allowedTopologies = [] }) =>
    allowedTopologies.flatMap(({ matchLabelExpressions = [] }, i) =>
      nodeKeyWarnings(matchLabelExpressions, `allowedTopologies[${i}].matchLabelExpressions`),
    ),
  table: {
    columns: columns(
      'Name',
      'Provisioner',
      'ReclaimPolicy',
      'VolumeBindingMode',
      'AllowVolumeExpansion',
      'Age',
    ),
    row: (storageClass, context) => {
      const isDefault = [
        'storageclass.kubernetes.io/is-default-class',
        'storageclass.beta.kubernetes.io/is-default-class',
      ].some((key) => storageClass.metadata?.annotations?.[key] === 'true');
      return [
        isDefault ? `${nameOf(storageClass)} (default)` : nameOf(storageClass),
        storageClass.provisioner ?? '',
        storageClass.reclaimPolicy ?? 'Delete',
        storageClass.volumeBindingMode ?? 'Immediate',
        storageClass.allowVolumeExpansion ?? false,
        formatAge(storageClass, context),
      ];
    },
  },
});

function validate(storageClass: StorageClass): Errors['list'] {
  const errors = new Errors();
  checkProvisioner(storageClass.provisioner ?? '', Path.root('provisioner'), errors);
  checkParameters(storageClass.parameters, Path.root('parameters'), errors, true);
  if (storageClass.reclaimPolicy)
    checkOptionalEnum(storageClass.reclaimPolicy, ['Delete', 'Retain'], ROOT, 'reclaimPolicy', errors);
  checkOptionalEnum(
    storageClass.volumeBindingMode,
    ['Immediate', 'WaitForFirstConsumer'],
    ROOT,
    'volumeBindingMode',
    errors,
  );
  checkTopologies(storageClass.allowedTopologies ?? [], Path.root('allowedTopologies'), errors);
  return errors.list;
}

export function checkProvisioner(name: string, path: Path, errors: Errors): void {
  if (name === '') errors.required(path);
  else errors.invalidEach(path, name, validateQualifiedName(name.toLowerCase()));
}

export function checkParameters(
  parameters: Record<string, string> | undefined,
  path: Path,
  errors: Errors,
  mayBeEmpty: boolean,
): void {
  const entries = Object.entries(parameters ?? {});
  if (entries.length > PARAMETERS_MAX) {
    errors.tooLong(path, PARAMETERS_MAX);
    return;
  }
  let bytes = 0;
  for (const [key, value] of entries) {
    if (key === '') errors.invalid(path, key, 'field can not be empty.');
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > PARAMETERS_MAX_BYTES) errors.tooLong(path, PARAMETERS_MAX_BYTES);
  if (!mayBeEmpty && entries.length === 0) errors.required(path, 'must contain at least one key/value pair');
}

/** Reports pairs of equal terms. As upstream, two empty terms are equal. */
const MAX_DUPLICATES = 1000;

function checkTopologies(terms: readonly TopologySelectorTerm[], path: Path, errors: Errors): void {
  const seen = new Map([['[]', terms.length]]);
  let left = MAX_DUPLICATES;
  terms.forEach((term, i) => {
    checkTerm(term, path.index(i), errors);
    const id = JSON.stringify(
      (term.matchLabelExpressions ?? [])
        .map(({ key = '', values = [] }) => [key, values.toSorted()])
        .toSorted(([a], [b]) => (a! < b! ? -1 : 1)),
    );
    const earlier = seen.get(id) ?? 0;
    for (let index = 0; index < earlier && left > 0; index++, left--)
      errors.duplicate(path.index(i).child('matchLabelExpressions'), '');
    seen.set(id, earlier + 1);
  });
}

function checkTerm(term: TopologySelectorTerm, path: Path, errors: Errors): void {
  const keys = new Set<string>();
  term.matchLabelExpressions?.forEach((requirement, i) => {
    const at = path.child('matchLabelExpressions').index(i),
      values = requirement.values ?? [];
    if (values.length === 0) errors.required(at.child('values'));
    eachRepeated(values, (value, j) => errors.duplicate(at.child('values').index(j), value));
    checkQualifiedName(requirement.key, at.child('key'), errors);
    if (keys.has(requirement.key)) errors.duplicate(at.child('key'), requirement.key);
    keys.add(requirement.key);
  });
}
