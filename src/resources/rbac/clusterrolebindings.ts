/** ClusterRoleBinding: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const clusterrolebindings = defineResource({ group: 'rbac.authorization.k8s.io', plural: 'clusterrolebindings' });
