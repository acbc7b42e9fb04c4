/** IngressClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const ingressclasses = defineResource({ group: 'networking.k8s.io', plural: 'ingressclasses' });
