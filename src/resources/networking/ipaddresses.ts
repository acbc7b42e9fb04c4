/** IPAddress: an allocated service cluster IP, which is its name. */
import type { IPAddress } from '#api/types.ts';
import { validateDNS1123Subdomain, validateIP, validatePathSegmentName } from '#machinery/names.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';

export const ipaddresses = defineResource<IPAddress>({
  group: 'networking.k8s.io',
  plural: 'ipaddresses',
  nameRule: validateIP,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next.spec?.parentRef, previous.spec?.parentRef, SPEC.child('parentRef'), errors);
    return [...validate(next), ...errors.list];
  },
  table: {
    columns: columns('Name', 'ParentRef'),
    row: (address) => {
      const { group, resource, namespace, name } =
        address.spec?.parentRef ?? ({} as Partial<NonNullable<IPAddress['spec']>['parentRef']>);
      return [
        nameOf(address),
        `${resource ?? ''}${group ? `.${group}` : ''}/${namespace ? `${namespace}/` : ''}${name ?? ''}`,
      ];
    },
  },
});

function validate(address: IPAddress): Errors['list'] {
  const errors = new Errors(),
    path = SPEC.child('parentRef'),
    parent = address.spec?.parentRef;
  if (!parent) {
    errors.required(path);
    return errors.list;
  }
  if (parent.group)
    errors.invalidEach(path.child('group'), parent.group, validateDNS1123Subdomain(parent.group));
  for (const field of ['resource', 'name', 'namespace'] as const) {
    const value = parent[field];
    if (value) errors.invalidEach(path.child(field), value, validatePathSegmentName(value));
    else if (field !== 'namespace') errors.required(path.child(field));
  }
  return errors.list;
}
