/** RoleBinding: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const rolebindings = defineResource({ group: 'rbac.authorization.k8s.io', plural: 'rolebindings' });
