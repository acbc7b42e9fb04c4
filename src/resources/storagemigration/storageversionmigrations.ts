/** StorageVersionMigration: rewrites all objects of a resource in the current storage form. Executed by the controller of that name. */
import type { StorageVersionMigration } from '#api/generated/types/storagemigration-v1beta1.ts';
import type { FieldError } from '#machinery/errors.ts';
import { validateDNS1035Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { resourceVersionProblem } from '#machinery/resource-version.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { checkConditionList, checkImmutable, IMMUTABLE, invalidJoined } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepField } from '../strategy.ts';
import { columns, nameOf } from '../tables.ts';

const OUTCOMES = ['Succeeded', 'Failed'] as const;
const SHOWN = ['Running', ...OUTCOMES];

export const storageversionmigrations = defineResource<StorageVersionMigration>({
  group: 'storagemigration.k8s.io',
  plural: 'storageversionmigrations',
  allowUnconditionalUpdate: false,
  written: { status: { without: ['spec', 'metadata'] } },
  prepareForCreate: (migration) => {
    migration.status = {};
  },
  // As in upstream, it has no generation.
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (migration) => {
    const errors = new Errors();
    checkSpec(migration, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next, errors);
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    return errors.list;
  },
  status: { validateUpdate: checkStatus },
  table: {
    // As in upstream, the column is not of format name.
    columns: columns('Name', 'Resource', 'Status').map((column) => ({ ...column, format: '' })),
    row: (migration) => {
      const { group, resource = '' } = migration.spec?.resource ?? {};
      const shown = migration.status?.conditions?.findLast(
        ({ type, status }) => status === 'True' && SHOWN.includes(type),
      );
      return [nameOf(migration), group ? `${resource}.${group}` : resource, shown?.type ?? 'Unknown'];
    },
  },
});

function checkSpec({ spec }: StorageVersionMigration, errors: Errors): void {
  const { group = '', resource = '' } = spec?.resource ?? {},
    at = SPEC.child('resource');
  if (resource === '') errors.required(at.child('resource'), 'resource is required to be set');
  else invalidJoined(at.child('resource'), resource, validateDNS1035Label(resource), errors);
  if (group !== '') invalidJoined(at.child('group'), group, validateDNS1123Subdomain(group), errors);
}

function checkStatus(next: StorageVersionMigration, previous: StorageVersionMigration): FieldError[] {
  const errors = new Errors();
  const { resourceVersion = '', conditions } = next.status ?? {},
    before = previous.status?.resourceVersion ?? '';
  const at = STATUS.child('resourceVersion'),
    conditionsAt = STATUS.child('conditions');
  const problem = resourceVersion === '' ? undefined : resourceVersionProblem(resourceVersion);
  if (problem !== undefined) errors.invalid(at, resourceVersion, problem);
  checkConditionList(conditions, conditionsAt, errors);
  if (before !== '' && before !== resourceVersion) errors.invalid(at, resourceVersion, IMMUTABLE);
  if (OUTCOMES.every((outcome) => isConditionTrue(conditions, outcome)))
    errors.invalid(
      conditionsAt,
      conditions,
      'Both success and failed conditions cannot be true at the same time',
    );
  for (const outcome of OUTCOMES) {
    if (!isConditionTrue(previous.status?.conditions, outcome) || isConditionTrue(conditions, outcome))
      continue;
    errors.invalid(
      conditionsAt,
      conditions ?? null,
      `${outcome === 'Succeeded' ? 'Success' : outcome} condition cannot be set to false once it is true`,
    );
  }
  return errors.list;
}
