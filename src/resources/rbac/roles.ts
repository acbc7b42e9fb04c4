/** Role. */
import type { Role } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';
import { checkRules, emptyRulesAsNull } from './rules.ts';

export const roles = defineResource<Role>({
  group: 'rbac.authorization.k8s.io',
  plural: 'roles',
  nameRule: 'path-segment',
  allowCreateOnUpdate: true,
  prepareForCreate: emptyRulesAsNull,
  prepareForUpdate: emptyRulesAsNull,
  validate: (role) => {
    const errors = new Errors();
    checkRules(role.rules, errors, true);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Created At:date'),
    row: (role) => [nameOf(role), role.metadata?.creationTimestamp ?? null],
  },
});
