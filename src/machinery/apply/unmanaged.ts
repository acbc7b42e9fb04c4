/** Fields that no manager owns: they identify an object or are set by the server. */
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

/** As paths: top-level fields, then those of metadata. */
export const UNMANAGED_PATHS: readonly (readonly string[])[] = [
  ['f:apiVersion'],
  ['f:kind'],
  ['f:metadata'],
  ...[...UNMANAGED_METADATA].map((name) => ['f:metadata', `f:${name}`]),
];

/** Whether a top-level or metadata field is unmanaged. metadata as a whole is not owned, its contents may be. */
export function isUnmanaged(name: string, inMetadata?: string): boolean {
  return inMetadata === undefined
    ? name === 'apiVersion' || name === 'kind'
    : UNMANAGED_METADATA.has(inMetadata);
}
