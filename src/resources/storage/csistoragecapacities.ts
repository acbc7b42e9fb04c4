/** CSIStorageCapacity: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const csistoragecapacities = defineResource({ group: 'storage.k8s.io', plural: 'csistoragecapacities' });
