/** What identifies an object or is the server's own: owned by nobody. */
const UNMANAGED_METADATA: ReadonlySet<string> = new Set([
  'name',
  'namespace',
  'creationTimestamp',
  'selfLink',
  'uid',
  'clusterName',
  'generation',
  'managedFields',
  'resourceVersion',
]);

/** As paths: the fields at the top, then those of the metadata. */
export const UNMANAGED_PATHS: readonly (readonly string[])[] = [
  ['f:apiVersion'],
  ['f:kind'],
  ['f:metadata'],
  ...[...UNMANAGED_METADATA].map((name) => ['f:metadata', `f:${name}`]),
];

/** Of a field at the top, or of one of the metadata. The metadata as a whole is not owned, what is in it may be. */
export function isUnmanaged(name: string, inMetadata?: string): boolean {
  return inMetadata === undefined
    ? name === 'apiVersion' || name === 'kind'
    : UNMANAGED_METADATA.has(inMetadata);
}
