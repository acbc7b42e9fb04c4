/** What Capstan says it is: the Kubernetes version it implements, with its own behind the plus sign. */
export const KUBERNETES_VERSION = 'v1.36.0+capstan.0.1.0';
