/** RoleBinding. */
import type { RoleBinding } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { bindingBehaviour } from './rules.ts';

export const rolebindings = defineResource<RoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'rolebindings',
  ...bindingBehaviour(['Role', 'ClusterRole'], { namespaced: true }),
});
