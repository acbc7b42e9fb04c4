/**
 * The version in which upstream's API server stores a resource. By default it is that of upstream's hash in discovery; for another oldest compatible
 * version it is the preferred one of those that a server of that version knows, as upstream's resource encoding configuration decides.
 */
import { createHash } from 'node:crypto';
import { compareMajorMinor, type MajorMinor } from '#machinery/effective-version.ts';
import { formatApiVersion, parseApiVersion } from '#machinery/object.ts';
import { introducedIn } from './lifecycle.ts';
import type { Resource } from './resource.ts';

/** minCompatibility: --min-compatibility-version. Undefined: as in upstream's discovery. */
export function upstreamStorageVersion(resource: Resource, minCompatibility?: MajorMinor): string {
  const usual = usualVersion(resource);
  // Overrides, such as events of the core group, are of no version of the resource.
  const isOverride = resource.versions.every(({ apiVersion }) => apiVersion !== usual);
  if (minCompatibility === undefined || isOverride) return usual;
  const known = resource.versions.find(({ apiVersion, kind }) => {
    const introduced = introducedIn(apiVersion, kind);
    return introduced === undefined || compareMajorMinor(introduced, minCompatibility) <= 0;
  });
  // No version is known to a server that old: how it is stored makes no difference to it.
  return known?.apiVersion ?? usual;
}

/** With the hash in discovery that this storage version has. */
export function storedFor(resource: Resource, minCompatibility: MajorMinor): Resource {
  if (resource.virtual) return resource;
  const wanted = upstreamStorageVersion(resource, minCompatibility);
  if (wanted === usualVersion(resource)) return resource;
  const storageVersionHash = hashOf(wanted, resource.kind);
  const versions = resource.versions.map((one) =>
    one.storageVersionHash === undefined ? one : { ...one, storageVersionHash },
  );
  return {
    ...resource,
    versions,
    served: (version) => versions.find((candidate) => candidate.version === version),
  };
}

function usualVersion({ group, kind, versions, storageApiVersion }: Resource): string {
  const wanted = versions.find(({ storageVersionHash }) => storageVersionHash)?.storageVersionHash;
  const candidates = [
    storageApiVersion,
    ...versions.map(({ version }) => formatApiVersion({ group, version })),
  ];
  return candidates.find((apiVersion) => hashOf(apiVersion, kind) === wanted) ?? storageApiVersion;
}

/** As in k8s.io/apiserver's pkg/endpoints/discovery: the first eight bytes of a SHA-256. */
function hashOf(apiVersion: string, kind: string): string {
  const { group, version } = parseApiVersion(apiVersion);
  return createHash('sha256')
    .update(`${group}/${version}/${kind}`)
    .digest()
    .subarray(0, 8)
    .toString('base64');
}
