/**
 * Checks an image archive before the runtime imports it, so that errors name the problem: an OCI image layout or a `docker save` tar, plain or gzip. The
 * tar must be complete and contain every blob of one platform's image with the right size; the runtime checks digests.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import {
  MAX_INDEX_DEPTH,
  MAX_MANIFESTS,
  parseDockerManifest,
  parseIndex,
  parseJson,
  parseManifest,
  type Descriptor,
  type DockerImage,
} from './archive-documents.ts';
import { isGzip } from './build.ts';
import { ImageError } from './errors.ts';
import { normalizeReference } from './reference.ts';

interface ArchiveContents {
  readonly format: 'oci' | 'docker';
  /** Normalised names of the images in it. */
  readonly names: readonly string[];
  readonly gzip: boolean;
}

const MAX_JSON_BYTES = 4 * 1024 * 1024;
/** Of all documents of one archive together; an archive with more is refused. */
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;
/** Files of one archive; an archive with more is refused. */
const MAX_ENTRIES = 100_000;
const TAR_BLOCK_BYTES = 512;

interface Listing {
  readonly sizes: Map<string, number>;
  /** Small files that are JSON by their place: index.json, manifest.json, blobs. */
  readonly documents: Map<string, Buffer>;
}

/** Reads the whole file once. Throws ImageError: not-readable, truncated, not-an-image. */
export async function inspectArchive(path: string): Promise<ArchiveContents> {
  const start = await readStart(path);
  const gzip = isGzip(start);
  if (!gzip && start.length < TAR_BLOCK_BYTES)
    throw new ImageError('not-an-image', `${path} is no image archive: it is no tar file`);
  const listing = await listArchive(path, gzip);
  const index = listing.documents.get('index.json');
  if (index && listing.sizes.has('oci-layout')) {
    const source = { path, name: 'index.json' };
    const manifests = parseIndex(parseJson(index, source), source);
    return { format: 'oci', gzip, names: checkOci({ listing, path, manifests }) };
  }
  const docker = listing.documents.get('manifest.json');
  if (docker) {
    const source = { path, name: 'manifest.json' };
    const images = parseDockerManifest(parseJson(docker, source), source);
    return { format: 'docker', gzip, names: checkDocker({ listing, path, images }) };
  }
  throw new ImageError(
    'not-an-image',
    `${path} is no image archive: it has neither index.json with oci-layout (OCI image layout) nor manifest.json (docker save)`,
  );
}

/** The archive's bytes without gzip. */
export function openArchive(path: string, gzip: boolean): Readable {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  if (!gzip) return file;
  const plain = createGunzip();
  file.on('error', (error) => plain.destroy(error));
  return file.pipe(plain);
}

async function readStart(path: string): Promise<Buffer> {
  try {
    const file = await open(path);
    try {
      const info = await file.stat();
      if (!info.isFile()) throw new ImageError('not-readable', `cannot read ${path}: it is no regular file`);
      if (info.size === 0) throw new ImageError('not-an-image', `${path} is no image archive: it is empty`);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(TAR_BLOCK_BYTES), 0, TAR_BLOCK_BYTES, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new ImageError(
      'not-readable',
      missing
        ? `cannot read ${path}: there is no such file`
        : `cannot read ${path}: ${(error as Error).message}`,
      error,
    );
  }
}

async function listArchive(path: string, gzip: boolean): Promise<Listing> {
  const listing: Listing = { sizes: new Map(), documents: new Map() };
  const extract = tar.extract();
  const source = openArchive(path, gzip);
  source.on('error', (error) => extract.destroy(error));
  source.pipe(extract);
  let documentBytes = 0;
  try {
    for await (const entry of extract) {
      if (listing.sizes.size >= MAX_ENTRIES) throw tooMuch(path, `more than ${MAX_ENTRIES} files`);
      const name = entry.header.name.replace(/^\.\//, '');
      if (entry.header.type === 'file' || entry.header.type === 'contiguous-file')
        listing.sizes.set(name, entry.header.size ?? 0);
      // docker save links equal layers to each other.
      else if (entry.header.type === 'symlink' || entry.header.type === 'link') listing.sizes.set(name, -1);
      const wanted =
        (name.endsWith('.json') || name.startsWith('blobs/')) && (entry.header.size ?? 0) <= MAX_JSON_BYTES;
      const parts: Buffer[] = [];
      let isDocument = wanted;
      for await (const part of entry as AsyncIterable<Buffer>) {
        if (parts.length === 0) isDocument &&= !name.startsWith('blobs/') || mayBeJson(part);
        if (isDocument) parts.push(part);
      }
      if (!isDocument || parts.length === 0) continue;
      documentBytes += entry.header.size ?? 0;
      if (documentBytes > MAX_DOCUMENT_BYTES)
        throw tooMuch(path, `more than ${MAX_DOCUMENT_BYTES / 2 ** 20} MB of manifests`);
      listing.documents.set(name, Buffer.concat(parts));
    }
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw damaged({ path, error, empty: listing.sizes.size === 0 });
  } finally {
    source.destroy();
  }
  return listing;
}

function damaged(of: {
  readonly path: string;
  readonly error: unknown;
  readonly empty: boolean;
}): ImageError {
  const { message } = of.error as Error;
  if (/unexpected end/i.test(message))
    return new ImageError(
      'truncated',
      `${of.path} is not whole: the archive ends in the middle of a file`,
      of.error,
    );
  if (of.empty)
    return new ImageError('not-an-image', `${of.path} is no image archive: it is no tar file`, of.error);
  return new ImageError('truncated', `${of.path} is damaged: ${message}`, of.error);
}

/** A document's first byte that is not white space; layers begin with others (a tar with a name, gzip and zstd with their magic bytes). */
function mayBeJson(start: Buffer): boolean {
  const first = start.find((byte) => byte > 0x20);
  return first === 0x7b || first === 0x5b;
}

function tooMuch(path: string, what: string): ImageError {
  return new ImageError('not-an-image', `${path} is refused: it has ${what}`);
}

function checkOci(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly manifests: readonly Descriptor[];
}): string[] {
  if (of.manifests.length === 0)
    throw new ImageError('not-an-image', `${of.path} holds no image: its index.json lists no manifest`);
  checkManifests(of);
  return of.manifests.flatMap(({ annotations }) => {
    const name =
      annotations['io.containerd.image.name'] ?? annotations['org.opencontainers.image.ref.name'] ?? '';
    // A bare tag names nothing.
    const full =
      annotations['io.containerd.image.name'] || /[/:]/.test(name) ? normalizeReference(name) : undefined;
    return full ? [full] : [];
  });
}

interface Found {
  readonly descriptor: Descriptor;
  /** Digests of the indexes that lead here. */
  readonly above: readonly string[];
}

/** Every manifest that can be reached from index.json, once, whatever the indexes name. */
function checkManifests(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly manifests: readonly Descriptor[];
}): void {
  const { path } = of;
  const seen = new Set<string>();
  const left: Found[] = of.manifests.map((descriptor) => ({ descriptor, above: [] }));
  for (let next = left.pop(); next; next = left.pop()) {
    const { descriptor, above } = next;
    const { digest } = descriptor;
    if (above.includes(digest))
      throw new ImageError('not-an-image', `${path} is no image archive: manifest ${digest} names itself`);
    const name = requireBlob({ ...of, descriptor });
    if (seen.has(digest)) continue;
    seen.add(digest);
    if (seen.size > MAX_MANIFESTS) throw tooMuch(path, `more than ${MAX_MANIFESTS} manifests`);
    if (above.length >= MAX_INDEX_DEPTH)
      throw tooMuch(path, `indexes of manifests more than ${MAX_INDEX_DEPTH} deep`);
    for (const found of checkManifest({ ...of, descriptor, name }))
      left.push({ descriptor: found, above: [...above, digest] });
  }
}

/** Manifests that an index names and the archive contains, with all their blobs. */
function checkManifest({
  descriptor,
  name,
  ...of
}: {
  readonly listing: Listing;
  readonly path: string;
  readonly descriptor: Descriptor;
  readonly name: string;
}): readonly Descriptor[] {
  const content = of.listing.documents.get(name);
  const source = { path: of.path, name: `manifest ${descriptor.digest}` };
  if (!content)
    throw new ImageError('not-an-image', `${of.path} is no image archive: its ${source.name} is no JSON`);
  const manifest = parseManifest(parseJson(content, source), source);
  if (manifest.kind === 'image') {
    for (const blob of [manifest.config, ...manifest.layers]) requireBlob({ ...of, descriptor: blob });
    return [];
  }
  // Archives often carry only some of the platforms.
  const present = manifest.manifests.filter(({ digest }) => of.listing.sizes.has(blobPath(digest)));
  if (present.length === 0)
    throw new ImageError(
      'truncated',
      `${of.path} is not whole: none of the platforms of manifest ${descriptor.digest} is in it`,
    );
  return present;
}

function requireBlob(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly descriptor: Descriptor;
}): string {
  const name = blobPath(of.descriptor.digest);
  const size = of.listing.sizes.get(name);
  if (size === undefined)
    throw new ImageError('truncated', `${of.path} is not whole: blob ${of.descriptor.digest} is missing`);
  if (size >= 0 && of.descriptor.size !== undefined && size !== of.descriptor.size) {
    throw new ImageError(
      'truncated',
      `${of.path} is damaged: blob ${of.descriptor.digest} has ${size} bytes, its manifest says ${of.descriptor.size}`,
    );
  }
  return name;
}

function checkDocker(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly images: readonly DockerImage[];
}): string[] {
  if (of.images.length === 0)
    throw new ImageError('not-an-image', `${of.path} holds no image: its manifest.json is empty`);
  for (const { config, layers } of of.images) {
    for (const file of [config, ...layers]) {
      if (!of.listing.sizes.has(file))
        throw new ImageError(
          'truncated',
          `${of.path} is not whole: ${file || 'the configuration'} is missing`,
        );
    }
  }
  return of.images.flatMap(({ names }) => names).flatMap((name) => normalizeReference(name) ?? []);
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}
