/** Files of one volume that would overwrite each other: the same path twice, or one where the other needs a directory. */
import type { Volume, VolumeProjection } from '#api/types.ts';

/** Maximum number of files of one volume that are compared; later ones get no warning. */
const MAX_PAIRS = 50_000;

interface File {
  readonly path: string;
  readonly source: string;
}

export function warnOverlappingPaths(volumes: readonly Volume[], warnings: string[]): void {
  for (const { name, configMap, secret, downwardAPI, projected } of volumes) {
    if (configMap?.items)
      warnVolume(
        { name, what: `ConfigMap ${quoted(configMap.name)}`, files: filesOf(configMap.items) },
        warnings,
      );
    if (secret?.items)
      warnVolume(
        { name, what: `Secret ${quoted(secret.secretName)}`, files: filesOf(secret.items) },
        warnings,
      );
    if (downwardAPI?.items)
      warnVolume({ name, what: 'DownwardAPI', files: filesOf(downwardAPI.items) }, warnings);
    if (!projected) continue;
    const files: File[] = [];
    for (const source of projected.sources ?? []) {
      if (Object.keys(source).length === 0)
        warnings.push(`volume ${quoted(name)} (Projected) has no sources provided`);
      files.push(...projectedFiles(source));
    }
    warnVolume({ name, what: 'Projected', files }, warnings);
  }
}

function quoted(text: string | undefined): string {
  return JSON.stringify(text ?? '');
}

function filesOf(items: readonly { readonly path?: string }[], source = ''): File[] {
  return items.map(({ path = '' }) => ({ path, source }));
}

function projectedFiles({
  configMap,
  secret,
  downwardAPI,
  serviceAccountToken,
  clusterTrustBundle,
  podCertificate,
}: VolumeProjection): File[] {
  if (configMap?.items) return filesOf(configMap.items, `ConfigMap ${quoted(configMap.name)}`);
  if (secret?.items) return filesOf(secret.items, `Secret ${quoted(secret.name)}`);
  if (downwardAPI?.items) return filesOf(downwardAPI.items, 'DownwardAPI');
  if (serviceAccountToken) return [{ path: serviceAccountToken.path ?? '', source: 'ServiceAccountToken' }];
  if (clusterTrustBundle)
    return [
      {
        path: clusterTrustBundle.path ?? '',
        source: `ClusterTrustBundle ${quoted(clusterTrustBundle.name ?? clusterTrustBundle.signerName)}`,
      },
    ];
  if (!podCertificate) return [];
  const { certificateChainPath = '', keyPath = '', credentialBundlePath = '' } = podCertificate;
  return [
    { path: certificateChainPath, source: 'PodCertificate chain' },
    { path: keyPath, source: 'PodCertificate key' },
    { path: credentialBundlePath, source: 'PodCertificate credential bundle' },
  ];
}

function warnVolume(
  { name, what, files }: { readonly name: string; readonly what: string; readonly files: readonly File[] },
  warnings: string[],
): void {
  if (files.length < 2) return;
  const seen: File[] = [];
  let left = MAX_PAIRS;
  for (const { path, source } of files) {
    const file = { path: withoutTrailingSlashes(path), source };
    for (const other of seen) {
      if (--left < 0) return;
      if (overlap(file.path, other.path))
        warnings.push(
          `volume ${quoted(name)} (${what}): overlapping paths: ${shown(file)} with ${shown(other)}`,
        );
    }
    seen.push(file);
  }
}

function overlap(path: string, other: string): boolean {
  if (path === '' || other === '') return false;
  const [shorter, longer] = path.length < other.length ? [path, other] : [other, path];
  return (longer.length === shorter.length || longer[shorter.length] === '/') && longer.startsWith(shorter);
}

/** Not with a regular expression: slashes in the middle would take quadratic time. */
function withoutTrailingSlashes(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '/') end--;
  return path.slice(0, end);
}

function shown({ path, source }: File): string {
  return source === '' ? quoted(path) : `${quoted(path)} (${source})`;
}
