/** ClusterTrustBundle: served with the generic behaviour. */
import { defineResource } from '../define.ts';

export const clustertrustbundles = defineResource({ group: 'certificates.k8s.io', plural: 'clustertrustbundles' });
