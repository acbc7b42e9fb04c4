/**
 * The format of a backup, version 1: which entries its tar has, and what the two that describe it say (docs/designs/0005-backup.md). A reader refuses
 * a newer version and ignores fields that it does not know.
 */
import { BackupError } from './errors.ts';

export const BACKUP_FORMAT = 1;

/** The tar's entries. */
export const HEADER_ENTRY = 'backup.json';
export const MANIFEST_ENTRY = 'manifest.json';
export const FILES = 'files/';
export const OBJECTS = 'objects/';
/** All keys of the store. */
export const ROOT = '/registry/';

/** The first entry. */
export interface BackupHeader {
  readonly format: number;
  /** UID of Namespace kube-system. */
  readonly cluster: string;
  /** RFC 3339. */
  readonly time: string;
  readonly revision: number;
  readonly capstanVersion: string;
  readonly kubernetesVersion: string;
  /** What it was read from: 'embedded' or 'etcd'. */
  readonly store: string;
}

export interface ResourceDigest {
  readonly count: number;
  readonly sha256: string;
}

/** The last entry. */
export interface Manifest extends BackupHeader {
  readonly objects: number;
  /** Of the resources' digests, in their order. */
  readonly sha256: string;
  /** By 'deployments.apps'. */
  readonly resources: Readonly<Record<string, ResourceDigest>>;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/** One object of the store. */
export interface BackupRecord {
  readonly key: string;
  readonly modRevision: number;
  readonly createRevision: number;
  /** What was left of its life. */
  readonly ttlSeconds?: number | undefined;
  /** Upstream's encoding in an archive, the server's JSON in a snapshot. */
  readonly value: Buffer;
}

/** A file beside the objects. */
export interface BackupFile {
  /** Below files/. */
  readonly path: string;
  readonly mode: number;
  readonly content: Buffer;
}

const NAME = /^capstan-([0-9a-f]{8})-(\d{8}T\d{6}Z)-r(\d+)\.tar\.zst\.age$/;

/** Of the names of a cluster's backups, of which `cluster` are the first 8 digits. */
export function backupPrefix(cluster: string): string {
  return `capstan-${cluster}-`;
}

export function backupName({
  cluster,
  time,
  revision,
}: Pick<BackupHeader, 'cluster' | 'time' | 'revision'>): string {
  const stamp = `${time.slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
  return `${backupPrefix(shortCluster(cluster))}${stamp}-r${revision}.tar.zst.age`;
}

export interface ParsedName {
  readonly name: string;
  readonly cluster: string;
  readonly timeMs: number;
  readonly revision: number;
}

/** Undefined for what is no backup's name. */
export function parseBackupName(name: string): ParsedName | undefined {
  const [, cluster, stamp, revision] = NAME.exec(name) ?? [];
  if (cluster === undefined || stamp === undefined) return undefined;
  const iso = stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  return { name, cluster, timeMs: Date.parse(iso), revision: Number(revision) };
}

/** The first eight characters of a UID, which are hexadecimal. */
export function shortCluster(cluster: string): string {
  return cluster.slice(0, 8);
}

export function parseHeader(text: string): BackupHeader {
  const header = parseJson(text, HEADER_ENTRY) as Partial<BackupHeader>;
  if (!Number.isInteger(header.format) || (header.format ?? 0) < 1)
    throw new BackupError('damaged', `${HEADER_ENTRY} has no format number`);
  if (header.format! > BACKUP_FORMAT)
    throw new BackupError(
      'newer',
      `it was made by a newer Capstan (format ${header.format}; this program reads up to ${BACKUP_FORMAT}): use that version`,
    );
  const { cluster, time, revision } = header;
  if (typeof cluster !== 'string' || typeof time !== 'string' || !Number.isSafeInteger(revision))
    throw new BackupError('damaged', `${HEADER_ENTRY} lacks cluster, time or revision`);
  return header as BackupHeader;
}

export function parseManifest(text: string): Manifest {
  const manifest = { ...parseHeader(text), ...(parseJson(text, MANIFEST_ENTRY) as Manifest) };
  const { resources, files, objects, sha256 } = manifest;
  if (typeof resources !== 'object' || typeof files !== 'object' || typeof sha256 !== 'string')
    throw new BackupError('damaged', `${MANIFEST_ENTRY} lacks resources, files or sha256`);
  if (!Number.isSafeInteger(objects))
    throw new BackupError('damaged', `${MANIFEST_ENTRY} lacks the number of objects`);
  return manifest;
}

function parseJson(text: string, what: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    throw new BackupError('damaged', `${what} is not JSON`, error);
  }
  throw new BackupError('damaged', `${what} is not an object`);
}
