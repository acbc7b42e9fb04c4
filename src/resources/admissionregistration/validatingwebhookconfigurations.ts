/** ValidatingWebhookConfiguration: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const validatingwebhookconfigurations = defineResource({ group: 'admissionregistration.k8s.io', plural: 'validatingwebhookconfigurations' });
