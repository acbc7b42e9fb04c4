/** VolumeAttributesClass. */
import type { VolumeAttributesClass } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkParameters, checkProvisioner } from './storageclasses.ts';

export const volumeattributesclasses = defineResource<VolumeAttributesClass>({
  group: 'storage.k8s.io',
  plural: 'volumeattributesclasses',
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    if (next.driverName !== previous.driverName)
      errors.forbidden(Path.root('driverName'), 'updates to driverName are forbidden.');
    if (!semanticEqual(next.parameters, previous.parameters))
      errors.forbidden(Path.root('parameters'), 'updates to parameters are forbidden.');
    return [...errors.list, ...validate(next)];
  },
  table: {
    columns: columns('Name', 'DriverName', 'Age'),
    row: (object, context) => [
      isDefault(object) ? `${nameOf(object)} (default)` : nameOf(object),
      object.driverName ?? '',
      formatAge(object, context),
    ],
  },
});

function validate(object: VolumeAttributesClass): Errors['list'] {
  const errors = new Errors();
  checkProvisioner(object.driverName ?? '', Path.root('driverName'), errors);
  checkParameters(object.parameters, Path.root('parameters'), errors, false);
  return errors.list;
}

function isDefault(object: VolumeAttributesClass): boolean {
  return object.metadata?.annotations?.['storage.alpha.kubernetes.io/is-default-class'] === 'true';
}
