/** Deprecated versions of built-in kinds: since, until and replacement, for upstream's warnings. */

interface Deprecation {
  readonly since: string;
  readonly gone: string;
  readonly instead?: string;
}

const BY_VERSION: Readonly<Record<string, Deprecation>> = {
  'admissionregistration.k8s.io/v1alpha1': { since: 'v1.35', gone: 'v1.38' },
  'coordination.k8s.io/v1alpha2': { since: 'v1.35', gone: 'v1.38' },
  'coordination.k8s.io/v1beta1': { since: 'v1.36', gone: 'v1.39' },
  'networking.k8s.io/v1beta1': { since: 'v1.34', gone: 'v1.37' },
  'resource.k8s.io/v1beta1': { since: 'v1.35', gone: 'v1.38' },
  'resource.k8s.io/v1beta2': { since: 'v1.36', gone: 'v1.39' },
  'resource.k8s.io/v1alpha3': { since: 'v1.36', gone: 'v1.39' },
  'storage.k8s.io/v1beta1': { since: 'v1.34', gone: 'v1.37', instead: 'storage.k8s.io/v1' },
};
/** Newer than others of their version. */
const NOT_YET = new Set([
  'resource.k8s.io/v1alpha3 ResourcePoolStatusRequest',
  'resource.k8s.io/v1beta2 DeviceTaintRule',
]);

/** apiVersion: 'resource.k8s.io/v1beta1'. */
export function deprecationOf(apiVersion: string, kind: string): Deprecation | undefined {
  return Object.hasOwn(BY_VERSION, apiVersion) && !NOT_YET.has(`${apiVersion} ${kind}`)
    ? BY_VERSION[apiVersion]
    : undefined;
}

/** The warning for requests of the kind in this version. */
export function findDeprecation(apiVersion: string, kind: string): string | undefined {
  const found = deprecationOf(apiVersion, kind);
  return (
    found &&
    `${apiVersion} ${kind} is deprecated in ${found.since}+, unavailable in ${found.gone}+${found.instead ? `; use ${found.instead} ${kind}` : ''}`
  );
}
