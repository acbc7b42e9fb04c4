/** LeaseCandidate: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const leasecandidates = defineResource({ group: 'coordination.k8s.io', plural: 'leasecandidates' });
