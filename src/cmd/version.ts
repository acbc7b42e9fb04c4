import { KUBERNETES_RELEASE } from '#machinery/effective-version.ts';

/** Capstan's version, and the Kubernetes version it implements, with Capstan's own behind the plus sign. */
export const CAPSTAN_VERSION = '0.1.0';
export const KUBERNETES_VERSION = `v${KUBERNETES_RELEASE}+capstan.${CAPSTAN_VERSION}`;
