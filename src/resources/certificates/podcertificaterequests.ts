/** PodCertificateRequest: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const podcertificaterequests = defineResource({ group: 'certificates.k8s.io', plural: 'podcertificaterequests' });
