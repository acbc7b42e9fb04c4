/** ReplicaSet: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const replicasets = defineResource({ group: 'apps', plural: 'replicasets' });
