/** CSINode: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const csinodes = defineResource({ group: 'storage.k8s.io', plural: 'csinodes' });
