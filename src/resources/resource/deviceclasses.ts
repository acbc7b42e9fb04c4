/** DeviceClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const deviceclasses = defineResource({ group: 'resource.k8s.io', plural: 'deviceclasses' });
