/** ResourcePoolStatusRequest: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const resourcepoolstatusrequests = defineResource({ group: 'resource.k8s.io', plural: 'resourcepoolstatusrequests' });
