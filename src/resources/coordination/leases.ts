/** Lease: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const leases = defineResource({ group: 'coordination.k8s.io', plural: 'leases' });
