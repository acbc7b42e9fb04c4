/** CSIDriver: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const csidrivers = defineResource({ group: 'storage.k8s.io', plural: 'csidrivers' });
