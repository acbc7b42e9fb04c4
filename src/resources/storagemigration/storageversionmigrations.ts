/** StorageVersionMigration: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const storageversionmigrations = defineResource({ group: 'storagemigration.k8s.io', plural: 'storageversionmigrations' });
