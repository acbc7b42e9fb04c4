/** MutatingAdmissionPolicyBinding: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const mutatingadmissionpolicybindings = defineResource({ group: 'admissionregistration.k8s.io', plural: 'mutatingadmissionpolicybindings' });
