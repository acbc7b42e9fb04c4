/** EndpointSlice: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const endpointslices = defineResource({ group: 'discovery.k8s.io', plural: 'endpointslices' });
