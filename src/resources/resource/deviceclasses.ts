/** DeviceClass. */
import type { DeviceClass } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { isExtended } from '../resource-list.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkConfiguration, checkList, checkSelectors, CONFIG_MAX } from './device-checks.ts';
import { selectorsOfClass, withSelectorErrors } from './device-selectors.ts';

export const deviceclasses = defineResource<DeviceClass>({
  group: 'resource.k8s.io',
  plural: 'deviceclasses',
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (object) => withSelectorErrors(check(object), selectorsOfClass(object)),
  validateUpdate: (next, previous) =>
    withSelectorErrors(check(next), selectorsOfClass(next), selectorsOfClass(previous)),
  table: {
    columns: columns('Name', 'Age'),
    row: (object, context) => [nameOf(object), formatAge(object, context)],
  },
});

function check({ spec }: DeviceClass): Errors['list'] {
  const errors = new Errors(),
    name = spec?.extendedResourceName;
  checkSelectors(spec?.selectors, SPEC.child('selectors'), errors);
  checkList(spec?.config, SPEC.child('config'), errors, {
    most: CONFIG_MAX,
    check: (config, at) => checkConfiguration(config, at, errors),
  });
  if (name !== undefined && !isExtended(name))
    errors.invalid(SPEC.child('extendedResourceName'), name, 'must be a valid extended resource name');
  return errors.list;
}
