/** CSIStorageCapacity. */
import type { CSIStorageCapacity } from '#api/types.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import { checkImmutable, checkLabelSelector, NEGATIVE } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { parseResourceQuantity } from '../resource-list.ts';
import { columns, nameOf } from '../tables.ts';

export const csistoragecapacities = defineResource<CSIStorageCapacity>({
  group: 'storage.k8s.io',
  plural: 'csistoragecapacities',
  allowUnconditionalUpdate: false,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    for (const field of ['nodeTopology', 'storageClassName'] as const)
      checkImmutable(next[field], previous[field], Path.root(field), errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Created At:date'),
    row: (capacity) => [nameOf(capacity), capacity.metadata?.creationTimestamp ?? null],
  },
});

function validate(object: CSIStorageCapacity): Errors['list'] {
  const errors = new Errors(),
    name = object.storageClassName ?? '';
  checkLabelSelector(object.nodeTopology, Path.root('nodeTopology'), errors);
  errors.invalidEach(Path.root('storageClassName'), name, validateDNS1123Subdomain(name));
  if (object.capacity !== undefined && parseResourceQuantity(object.capacity).sign < 0)
    errors.invalid(Path.root('capacity'), object.capacity, NEGATIVE);
  return errors.list;
}
