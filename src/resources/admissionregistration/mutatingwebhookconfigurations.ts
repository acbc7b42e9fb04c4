/** MutatingWebhookConfiguration: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const mutatingwebhookconfigurations = defineResource({ group: 'admissionregistration.k8s.io', plural: 'mutatingwebhookconfigurations' });
