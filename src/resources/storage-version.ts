/**
 * The version in which upstream's API server stores a resource, usually that of the record. Derived from upstream's hash in
 * discovery, so that it is correct for every kind without a list.
 */
import { createHash } from 'node:crypto';
import { formatApiVersion, parseApiVersion } from '#machinery/object.ts';
import type { Resource } from './resource.ts';

export function upstreamStorageVersion({ group, kind, versions, storageApiVersion }: Resource): string {
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
