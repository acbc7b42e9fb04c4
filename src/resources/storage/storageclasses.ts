/** StorageClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const storageclasses = defineResource({ group: 'storage.k8s.io', plural: 'storageclasses' });
