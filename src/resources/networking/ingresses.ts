/** Ingress: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const ingresses = defineResource({ group: 'networking.k8s.io', plural: 'ingresses' });
