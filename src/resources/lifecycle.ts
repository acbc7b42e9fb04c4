/**
 * In which versions of Kubernetes each API version of a built-in kind is served: since when (upstream's prerelease-lifecycle-gen:introduced), and until
 * when (deprecations.ts). Introductions before the oldest version that can be emulated are not listed. What is served by default is api/resources.ts.
 */
import { builtinResources } from '#api/resources.ts';
import { compareMajorMinor, parseMajorMinor, type MajorMinor } from '#machinery/effective-version.ts';
import { formatApiVersion, type GroupVersion } from '#machinery/object.ts';
import { deprecationOf } from './deprecations.ts';

/** By API version, or by API version and kind, which goes first. */
const INTRODUCED: Readonly<Record<string, string>> = {
  'admissionregistration.k8s.io/v1 MutatingAdmissionPolicy': '1.36',
  'admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding': '1.36',
  'admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicy': '1.34',
  'admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicyBinding': '1.34',
  'certificates.k8s.io/v1beta1 ClusterTrustBundle': '1.33',
  'certificates.k8s.io/v1beta1 PodCertificateRequest': '1.35',
  'coordination.k8s.io/v1beta1 LeaseCandidate': '1.33',
  'networking.k8s.io/v1 IPAddress': '1.33',
  'networking.k8s.io/v1 ServiceCIDR': '1.33',
  'resource.k8s.io/v1': '1.34',
  'resource.k8s.io/v1beta2': '1.33',
  'resource.k8s.io/v1beta2 DeviceTaintRule': '1.36',
  'resource.k8s.io/v1alpha3 DeviceTaintRule': '1.33',
  'resource.k8s.io/v1alpha3 ResourcePoolStatusRequest': '1.36',
  'scheduling.k8s.io/v1alpha2': '1.36',
  'storage.k8s.io/v1 VolumeAttributesClass': '1.34',
  'storagemigration.k8s.io/v1beta1': '1.35',
};

/** Undefined: before every version that can be emulated. */
export function introducedIn(apiVersion: string, kind: string): MajorMinor | undefined {
  const name = `${apiVersion} ${kind}`;
  const found = Object.hasOwn(INTRODUCED, name) ? INTRODUCED[name] : INTRODUCED[apiVersion];
  return found === undefined ? undefined : parseMajorMinor(found);
}

/** The first version without it. Undefined: none is announced. */
export function removedIn(apiVersion: string, kind: string): MajorMinor | undefined {
  const gone = deprecationOf(apiVersion, kind)?.gone;
  return gone === undefined ? undefined : parseMajorMinor(gone);
}

/** Whether a server that behaves as that version has the API at all. */
export function existsIn(version: MajorMinor, apiVersion: string, kind: string): boolean {
  const introduced = introducedIn(apiVersion, kind);
  const removed = removedIn(apiVersion, kind);
  return (
    (introduced === undefined || compareMajorMinor(introduced, version) <= 0) &&
    (removed === undefined || compareMajorMinor(removed, version) > 0)
  );
}

/** The same for a resource; '' is the whole group and version: any of its resources. */
export function resourceExistsIn(
  emulated: MajorMinor,
  { group, version, resource }: GroupVersion & { readonly resource: string },
): boolean {
  const facts = builtinResources.filter(
    (fact) =>
      fact.group === group && fact.version === version && (resource === '' || fact.plural === resource),
  );
  return (
    facts.length === 0 ||
    facts.some(({ kind }) => existsIn(emulated, formatApiVersion({ group, version }), kind))
  );
}
