/** ClusterRole: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const clusterroles = defineResource({ group: 'rbac.authorization.k8s.io', plural: 'clusterroles' });
