/** StorageVersion: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const storageversions = defineResource({ group: 'internal.apiserver.k8s.io', plural: 'storageversions' });
