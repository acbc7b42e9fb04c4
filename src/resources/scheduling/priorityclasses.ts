/** PriorityClass. */
import type { PriorityClass } from '#api/types.ts';
import { checkEnum, checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, Path } from '../field-path.ts';
import { startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const USER_MAX = 1000000000;
const SYSTEM_PREFIX = 'system-';
const SYSTEM_VALUES: Readonly<Record<string, number>> = {
  'system-node-critical': 2000001000,
  'system-cluster-critical': 2000000000,
};

export const priorityclasses = defineResource<PriorityClass>({
  group: 'scheduling.k8s.io',
  plural: 'priorityclasses',
  applyDefaults: (priorityClass) => {
    priorityClass.preemptionPolicy ??= 'PreemptLowerPriority';
  },
  prepareForCreate: startGeneration,
  prepareForUpdate: () => {},
  validate: (priorityClass) => {
    const errors = new Errors(),
      name = nameOf(priorityClass),
      value = priorityClass.value ?? 0;
    if (name.startsWith(SYSTEM_PREFIX)) {
      if (SYSTEM_VALUES[name] !== value)
        errors.forbidden(
          METADATA.child('name'),
          `priority class names with '${SYSTEM_PREFIX}' prefix are reserved for system use only. error: ${systemProblem(name, value)}`,
        );
    } else if (value > USER_MAX)
      errors.forbidden(Path.root('value'), `maximum allowed value of a user defined priority is ${USER_MAX}`);
    if (priorityClass.preemptionPolicy !== undefined)
      checkEnum(
        priorityClass.preemptionPolicy,
        ['PreemptLowerPriority', 'Never'],
        Path.root(''),
        'preemptionPolicy',
        errors,
      );
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    if (next.value !== previous.value)
      errors.forbidden(Path.root('value'), 'may not be changed in an update.');
    checkImmutable(next.preemptionPolicy, previous.preemptionPolicy, Path.root('preemptionPolicy'), errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Value:integer', 'Global-Default:boolean', 'Age', 'PreemptionPolicy'),
    row: (priorityClass, context) => [
      nameOf(priorityClass),
      priorityClass.value ?? 0,
      priorityClass.globalDefault ?? false,
      formatAge(priorityClass, context),
      priorityClass.preemptionPolicy ?? '',
    ],
  },
});

function systemProblem(name: string, value: number): string {
  const known = SYSTEM_VALUES[name];
  return known === undefined
    ? `${name} is not a known system priority class`
    : `value of ${name} PriorityClass must be ${known}, got ${value}`;
}
