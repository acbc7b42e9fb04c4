/** IPAddress: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const ipaddresses = defineResource({ group: 'networking.k8s.io', plural: 'ipaddresses' });
