/** DeviceClass. */
import type { DeviceClass } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

const SELECTORS_MAX = 32;

export const deviceclasses = defineResource<DeviceClass>({
  group: 'resource.k8s.io',
  plural: 'deviceclasses',
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: ({ spec }) => {
    const errors = new Errors(), selectors = spec?.selectors ?? [], path = SPEC.child('selectors');
    if (selectors.length > SELECTORS_MAX) errors.tooMany(path, selectors.length, SELECTORS_MAX);
    selectors.forEach(({ cel }, i) => {
      if (!cel) errors.required(path.index(i).child('cel'));
      else if (!cel.expression) errors.required(path.index(i).child('cel').child('expression'));
    });
    return errors.list;
  },
  table: { columns: columns('Name', 'Age'), row: (object, context) => [nameOf(object), ageOf(object, context)] },
});
