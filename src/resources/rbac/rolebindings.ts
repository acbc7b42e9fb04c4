/** RoleBinding. */
import type { RoleBinding } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { bindingCells, checkBinding, checkSameRoleRef, defaultBinding } from './rules.ts';

const ROLE_KINDS = ['Role', 'ClusterRole'];

export const rolebindings = defineResource<RoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'rolebindings',
  nameRule: 'path-segment',
  allowCreateOnUpdate: true,
  applyDefaults: defaultBinding,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (binding) => {
    const errors = new Errors();
    checkBinding(binding, errors, ROLE_KINDS, true);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkBinding(next, errors, ROLE_KINDS, true);
    checkSameRoleRef(next, previous, errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Role', 'Age', 'Users:wide', 'Groups:wide', 'ServiceAccounts:wide'),
    row: (binding, context) => {
      const { role, users, groups, accounts } = bindingCells(binding);
      return [nameOf(binding), role, ageOf(binding, context), users, groups, accounts];
    },
  },
});
