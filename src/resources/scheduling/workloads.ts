/** Workload: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const workloads = defineResource({ group: 'scheduling.k8s.io', plural: 'workloads' });
