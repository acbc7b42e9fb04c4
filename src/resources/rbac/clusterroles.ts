/** ClusterRole. */
import type { ClusterRole } from '#api/types.ts';
import { checkLabelSelector } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';
import { checkRules, emptyRulesAsNull } from './rules.ts';

const SELECTORS = Path.root('aggregationRule').child('clusterRoleSelectors');

export const clusterroles = defineResource<ClusterRole>({
  group: 'rbac.authorization.k8s.io',
  plural: 'clusterroles',
  nameRule: 'path-segment',
  allowCreateOnUpdate: true,
  prepareForCreate: emptyRulesAsNull,
  prepareForUpdate: emptyRulesAsNull,
  validate: (role) => {
    const errors = new Errors();
    checkRules(role.rules, errors, false);
    if (role.aggregationRule) {
      const selectors = role.aggregationRule.clusterRoleSelectors ?? [];
      if (selectors.length === 0)
        errors.required(SELECTORS, 'at least one clusterRoleSelector required if aggregationRule is non-nil');
      selectors.forEach((selector, i) => {
        const before = errors.list.length;
        checkLabelSelector(selector, SELECTORS.index(i), errors);
        if (errors.list.length > before) errors.invalid(SELECTORS.index(i), null, 'invalid label selector.');
      });
    }
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Created At:date'),
    row: (role) => [nameOf(role), role.metadata?.creationTimestamp ?? null],
  },
});
