/** ValidatingAdmissionPolicy: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const validatingadmissionpolicies = defineResource({ group: 'admissionregistration.k8s.io', plural: 'validatingadmissionpolicies' });
