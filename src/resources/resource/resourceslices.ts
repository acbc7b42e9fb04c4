/** ResourceSlice: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const resourceslices = defineResource({ group: 'resource.k8s.io', plural: 'resourceslices' });
