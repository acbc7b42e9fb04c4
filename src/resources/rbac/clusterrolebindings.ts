/** ClusterRoleBinding. */
import type { ClusterRoleBinding } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { bindingCells, checkBinding, checkSameRoleRef, defaultBinding } from './rules.ts';

const ROLE_KINDS = ['ClusterRole'];

export const clusterrolebindings = defineResource<ClusterRoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'clusterrolebindings',
  nameRule: 'path-segment',
  allowCreateOnUpdate: true,
  applyDefaults: defaultBinding,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (binding) => {
    const errors = new Errors();
    checkBinding(binding, errors, ROLE_KINDS, false);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkBinding(next, errors, ROLE_KINDS, false);
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
