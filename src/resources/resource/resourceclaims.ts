/** ResourceClaim: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const resourceclaims = defineResource({ group: 'resource.k8s.io', plural: 'resourceclaims' });
