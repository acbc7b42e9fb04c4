/** APIService: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const apiservices = defineResource({ group: 'apiregistration.k8s.io', plural: 'apiservices' });
