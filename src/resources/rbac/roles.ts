/** Role: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const roles = defineResource({ group: 'rbac.authorization.k8s.io', plural: 'roles' });
