/** PodGroup: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const podgroups = defineResource({ group: 'scheduling.k8s.io', plural: 'podgroups' });
