/** MutatingAdmissionPolicy: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const mutatingadmissionpolicies = defineResource({ group: 'admissionregistration.k8s.io', plural: 'mutatingadmissionpolicies' });
