/** ValidatingAdmissionPolicyBinding: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const validatingadmissionpolicybindings = defineResource({ group: 'admissionregistration.k8s.io', plural: 'validatingadmissionpolicybindings' });
