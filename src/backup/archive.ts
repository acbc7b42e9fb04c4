/**
 * An archive as a stream of bytes, before compression and encryption: made from a header, files and objects, and read again. The reader hands objects out as
 * they come, and compares digests at the end: who acts on objects before that must be able to undo it.
 */
import { createHash } from 'node:crypto';
import { DigestBuilder, differences } from './digests.ts';
import { BackupError } from './errors.ts';
import {
  FILES,
  HEADER_ENTRY,
  MANIFEST_ENTRY,
  OBJECTS,
  parseHeader,
  parseManifest,
  ROOT,
  type BackupFile,
  type BackupHeader,
  type BackupRecord,
  type Manifest,
} from './format.ts';
import { readTar, TAR_END, tarEntry, type TarEntry } from './tar.ts';

/** As extended attributes, which GNU tar knows and shows with --xattrs. */
const MOD = 'SCHILY.xattr.user.capstan.mod_revision';
const CREATE = 'SCHILY.xattr.user.capstan.create_revision';
const TTL = 'SCHILY.xattr.user.capstan.ttl_seconds';
const PRIVATE = 0o600;

interface ArchiveSource {
  readonly header: BackupHeader;
  readonly files: readonly BackupFile[];
  /** In upstream's encoding, in the order of keys. */
  readonly records: AsyncIterable<readonly BackupRecord[]>;
  readonly onManifest: (manifest: Manifest) => void;
}

export async function* writeArchive({
  header,
  files,
  records,
  onManifest,
}: ArchiveSource): AsyncGenerator<Buffer, void, void> {
  const timeMs = Date.parse(header.time);
  const json = (path: string, value: object): Buffer[] =>
    tarEntry({
      path,
      mode: PRIVATE,
      timeMs,
      pax: {},
      content: Buffer.from(`${JSON.stringify(value, null, 2)}\n`),
    });
  yield* json(HEADER_ENTRY, header);
  for (const { path, mode, content } of files)
    yield* tarEntry({ path: FILES + path, mode, timeMs, pax: {}, content });
  const digests = new DigestBuilder();
  for await (const batch of records) {
    const blocks: Buffer[] = [];
    for (const record of batch) {
      digests.add(record);
      for (const block of recordEntry(record, timeMs)) blocks.push(block);
    }
    if (blocks.length > 0) yield Buffer.concat(blocks);
  }
  const manifest: Manifest = { ...header, ...digests.finish(), files: fileDigests(files) };
  onManifest(manifest);
  yield* json(MANIFEST_ENTRY, manifest);
  yield TAR_END;
}

function recordEntry(record: BackupRecord, timeMs: number): Buffer[] {
  const { key, modRevision, createRevision, ttlSeconds, value } = record;
  return tarEntry({
    path: OBJECTS + key.slice(ROOT.length),
    mode: PRIVATE,
    timeMs,
    pax: {
      [MOD]: String(modRevision),
      [CREATE]: String(createRevision),
      ...(ttlSeconds === undefined ? {} : { [TTL]: String(ttlSeconds) }),
    },
    content: value,
  });
}

function fileDigests(files: readonly BackupFile[]): Manifest['files'] {
  return Object.fromEntries(
    files.map(({ path, content }) => [path, { bytes: content.length, sha256: sha256(content) }]),
  );
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

export interface ArchiveVisitor {
  /** First. Throw to refuse the archive. */
  readonly onHeader?: ((header: BackupHeader) => Promise<void> | void) | undefined;
  readonly onFile?: ((file: BackupFile) => Promise<void> | void) | undefined;
  readonly onRecord?: ((record: BackupRecord) => Promise<void> | void) | undefined;
}

/** Rejects with a BackupError where the archive is not whole, or differs from its manifest. */
export async function readArchive(
  source: AsyncIterable<Uint8Array>,
  { onHeader, onFile, onRecord }: ArchiveVisitor,
): Promise<Manifest> {
  const digests = new DigestBuilder();
  const files: BackupFile[] = [];
  let header: BackupHeader | undefined;
  let manifest: Manifest | undefined;
  for await (const entry of readTar(source)) {
    if (manifest) throw new BackupError('damaged', `${entry.path} follows ${MANIFEST_ENTRY}`);
    if (!header) {
      if (entry.path !== HEADER_ENTRY)
        throw new BackupError('damaged', `it begins with ${entry.path}, which should be ${HEADER_ENTRY}`);
      header = parseHeader(entry.content.toString());
      await onHeader?.(header);
    } else if (entry.path === MANIFEST_ENTRY) manifest = parseManifest(entry.content.toString());
    else if (entry.path.startsWith(FILES)) {
      const file = {
        path: safePath(entry.path.slice(FILES.length)),
        mode: entry.mode,
        content: entry.content,
      };
      // Only its digest is kept.
      files.push({ ...file, content: Buffer.from(sha256(file.content)) });
      await onFile?.(file);
    } else if (entry.path.startsWith(OBJECTS)) {
      const record = toRecord(entry);
      digests.add(record);
      await onRecord?.(record);
    } else throw new BackupError('damaged', `it has an unknown entry ${entry.path}`);
  }
  if (!header || !manifest) throw new BackupError('damaged', `it has no ${MANIFEST_ENTRY}`);
  requireSame({ header, manifest, files }, digests);
  return manifest;
}

function toRecord({ path, pax, content }: TarEntry): BackupRecord {
  const modRevision = Number(pax[MOD]);
  const createRevision = Number(pax[CREATE]);
  if (!Number.isSafeInteger(modRevision) || !Number.isSafeInteger(createRevision))
    throw new BackupError('damaged', `${path} has no revision`);
  const ttl = pax[TTL];
  return {
    key: ROOT + path.slice(OBJECTS.length),
    modRevision,
    createRevision,
    ...(ttl === undefined ? {} : { ttlSeconds: Number(ttl) }),
    value: content,
  };
}

/** Relative, and never above where it is unpacked. */
function safePath(path: string): string {
  if (path === '' || path.startsWith('/') || path.split('/').some((part) => part === '..' || part === ''))
    throw new BackupError('damaged', `it has a file of the path ${JSON.stringify(path)}`);
  return path;
}

function requireSame(
  {
    header,
    manifest,
    files,
  }: { readonly header: BackupHeader; readonly manifest: Manifest; readonly files: readonly BackupFile[] },
  builder: DigestBuilder,
): void {
  const digests = builder.finish();
  const [different] = differences(manifest, digests);
  if (different !== undefined || digests.sha256 !== manifest.sha256 || digests.objects !== manifest.objects)
    throw new BackupError('mismatch', `its objects differ from its manifest: ${different ?? digests.sha256}`);
  if (manifest.revision !== header.revision || manifest.cluster !== header.cluster)
    throw new BackupError('mismatch', `${HEADER_ENTRY} and ${MANIFEST_ENTRY} are of two backups`);
  const found = Object.fromEntries(files.map(({ path, content }) => [path, content.toString()]));
  for (const path of new Set([...Object.keys(manifest.files), ...Object.keys(found)]))
    if (manifest.files[path]?.sha256 !== found[path])
      throw new BackupError('mismatch', `its file ${path} differs from its manifest`);
}
