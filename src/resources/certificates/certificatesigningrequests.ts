/** CertificateSigningRequest: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const certificatesigningrequests = defineResource({ group: 'certificates.k8s.io', plural: 'certificatesigningrequests' });
