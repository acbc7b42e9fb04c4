/** NetworkPolicy: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const networkpolicies = defineResource({ group: 'networking.k8s.io', plural: 'networkpolicies' });
