/** ClusterRoleBinding. */
import type { ClusterRoleBinding } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { bindingBehaviour } from './rules.ts';

export const clusterrolebindings = defineResource<ClusterRoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'clusterrolebindings',
  ...bindingBehaviour(['ClusterRole'], { namespaced: false }),
});
