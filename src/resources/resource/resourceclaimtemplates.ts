/** ResourceClaimTemplate: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const resourceclaimtemplates = defineResource({ group: 'resource.k8s.io', plural: 'resourceclaimtemplates' });
