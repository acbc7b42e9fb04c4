/**
 * Looks at an image archive before the runtime gets it, so that a wrong file is named as what it is: an OCI image layout or a
 * `docker save` tar, plain or gzip. It checks that the tar is whole and that every blob the image needs for one platform is in it with
 * the right size; the runtime checks digests.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import { isGzip } from './build.ts';
import { ImageError } from './errors.ts';
import { normalizeReference } from './reference.ts';

export interface ArchiveContents {
  readonly format: 'oci' | 'docker';
  /** Normalised names of the images in it. */
  readonly names: readonly string[];
  readonly gzip: boolean;
}

const MAX_JSON_BYTES = 4 * 1024 * 1024;
const TAR_BLOCK_BYTES = 512;

interface Descriptor {
  digest?: string;
  size?: number;
  annotations?: Record<string, string>;
}
interface OciIndex {
  manifests?: Descriptor[];
}
interface OciManifest {
  config?: Descriptor;
  layers?: Descriptor[];
  manifests?: (Descriptor & { platform?: { architecture?: string; os?: string } })[];
}
type DockerManifest = { Config?: string; RepoTags?: string[] | null; Layers?: string[] }[];

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
  const index = document<OciIndex>({ listing, name: 'index.json', path });
  const docker = document<DockerManifest>({ listing, name: 'manifest.json', path });
  if (index && listing.sizes.has('oci-layout'))
    return { format: 'oci', gzip, names: checkOci({ listing, path, index }) };
  if (docker) return { format: 'docker', gzip, names: checkDocker({ listing, path, docker }) };
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
  try {
    for await (const entry of extract) {
      const name = entry.header.name.replace(/^\.\//, '');
      if (entry.header.type === 'file' || entry.header.type === 'contiguous-file')
        listing.sizes.set(name, entry.header.size ?? 0);
      // docker save links equal layers to each other.
      else if (entry.header.type === 'symlink' || entry.header.type === 'link') listing.sizes.set(name, -1);
      const wanted =
        (name.endsWith('.json') || name.startsWith('blobs/')) && (entry.header.size ?? 0) <= MAX_JSON_BYTES;
      const parts: Buffer[] = [];
      for await (const part of entry) if (wanted) parts.push(part as Buffer);
      if (wanted && parts[0]?.[0] !== undefined && !isGzip(parts[0]))
        listing.documents.set(name, Buffer.concat(parts));
    }
  } catch (error) {
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

function document<T>(of: {
  readonly listing: Listing;
  readonly name: string;
  readonly path: string;
}): T | undefined {
  const content = of.listing.documents.get(of.name);
  if (!content) return undefined;
  try {
    return JSON.parse(content.toString()) as T;
  } catch (error) {
    throw new ImageError('not-an-image', `${of.path} is no image archive: its ${of.name} is no JSON`, error);
  }
}

function checkOci(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly index: OciIndex;
}): string[] {
  const manifests = of.index.manifests ?? [];
  if (manifests.length === 0)
    throw new ImageError('not-an-image', `${of.path} holds no image: its index.json lists no manifest`);
  for (const manifest of manifests) checkManifest({ ...of, descriptor: manifest });
  return manifests.flatMap(({ annotations }) => {
    const name =
      annotations?.['io.containerd.image.name'] ?? annotations?.['org.opencontainers.image.ref.name'] ?? '';
    // A bare tag names nothing.
    const full =
      annotations?.['io.containerd.image.name'] || /[/:]/.test(name) ? normalizeReference(name) : undefined;
    return full ? [full] : [];
  });
}

function checkManifest(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly descriptor: Descriptor;
}): void {
  const manifest = document<OciManifest>({ ...of, name: requireBlob(of) });
  if (!manifest)
    throw new ImageError(
      'not-an-image',
      `${of.path} is no image archive: manifest ${of.descriptor.digest} is no JSON`,
    );
  if (manifest.manifests) {
    // An index of several platforms: archives often carry only some of them.
    const present = manifest.manifests.filter(({ digest }) => of.listing.sizes.has(blobPath(digest)));
    if (present.length === 0)
      throw new ImageError(
        'truncated',
        `${of.path} is not whole: none of the platforms of manifest ${of.descriptor.digest} is in it`,
      );
    for (const descriptor of present) checkManifest({ ...of, descriptor });
    return;
  }
  for (const descriptor of [manifest.config ?? {}, ...(manifest.layers ?? [])])
    requireBlob({ ...of, descriptor });
}

function requireBlob(of: {
  readonly listing: Listing;
  readonly path: string;
  readonly descriptor: Descriptor;
}): string {
  const name = blobPath(of.descriptor.digest);
  const size = of.listing.sizes.get(name);
  if (size === undefined)
    throw new ImageError(
      'truncated',
      `${of.path} is not whole: blob ${of.descriptor.digest ?? '(without a digest)'} is missing`,
    );
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
  readonly docker: DockerManifest;
}): string[] {
  if (!Array.isArray(of.docker) || of.docker.length === 0)
    throw new ImageError('not-an-image', `${of.path} holds no image: its manifest.json is empty`);
  for (const image of of.docker) {
    for (const file of [image.Config ?? '', ...(image.Layers ?? [])]) {
      if (!of.listing.sizes.has(file))
        throw new ImageError(
          'truncated',
          `${of.path} is not whole: ${file || 'the configuration'} is missing`,
        );
    }
  }
  return of.docker.flatMap((image) => image.RepoTags ?? []).flatMap((name) => normalizeReference(name) ?? []);
}

function blobPath(digest = ''): string {
  return `blobs/${digest.replace(':', '/')}`;
}
