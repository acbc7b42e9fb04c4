/** PriorityClass: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const priorityclasses = defineResource({ group: 'scheduling.k8s.io', plural: 'priorityclasses' });
