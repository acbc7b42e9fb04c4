/**
 * Builds an image from files, with no daemon and no download: layers as tars, a config and a manifest in one OCI image layout tar
 * (https://github.com/opencontainers/image-spec), with a docker `manifest.json` beside it so that `docker load` takes it too. The same
 * input gives the same bytes. It runs no build instructions.
 */
import { formatTime } from '#machinery/time.ts';
import { createHash } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createGunzip, createGzip } from 'node:zlib';
import tar from 'tar-stream';
import { formatReference, parseReference } from './reference.ts';
import { ImageError } from './errors.ts';

export type ImageArchitecture = 'amd64' | 'arm64';

/** A file, directory or link of a layer. Owner is root. */
export type LayerEntry =
  | {
      readonly path: string;
      readonly type?: 'file';
      readonly content: Buffer | string;
      readonly mode?: number;
    }
  | { readonly path: string; readonly type: 'directory'; readonly mode?: number }
  | { readonly path: string; readonly type: 'symlink' | 'hardlink'; readonly target: string };

/** Entries, or a ready tar (plain or gzip). */
export type LayerSource = { readonly entries: readonly LayerEntry[] } | { readonly tar: string | Buffer };

/** The `config` object of the OCI image configuration. */
export interface ImageRunConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

interface BuildImageOptions {
  /** Full or short name; normalised as containerd does: 'busybox' is stored as 'docker.io/library/busybox:latest'. */
  readonly name: string;
  /** Lowest first. */
  readonly layers: readonly LayerSource[];
  readonly config?: ImageRunConfig;
  /** This machine's by default. */
  readonly architecture?: ImageArchitecture;
  /** Seconds since the epoch; 0 by default, so that the same input gives the same image. */
  readonly createdSeconds?: number;
  /** False: layers are plain tars, for an image that goes no further than this machine. Default true. */
  readonly compress?: boolean | undefined;
}

export interface BuiltImage {
  /** Normalised. */
  readonly name: string;
  /** 'sha256:…' of the configuration: the image's id. */
  readonly id: string;
  /** 'sha256:…' of the manifest. */
  readonly digest: string;
  /** The whole archive: for writeImage and importImage. */
  readonly tar: Buffer;
}

const MEDIA = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
  plainLayer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** This machine's architecture in the words of images; undefined where we build none for it. */
export function hostArchitecture(): ImageArchitecture | undefined {
  return process.arch === 'x64' ? 'amd64' : process.arch === 'arm64' ? 'arm64' : undefined;
}

/** Everything is held in memory: for images of some 100 MB at most. Throws ImageError. */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  const reference = parseReference(options.name);
  if (!reference || reference.digest)
    throw new ImageError(
      'invalid-name',
      `"${options.name}" is no valid image name: it should look like registry/path/name:tag, in lower case`,
    );
  const architecture = options.architecture ?? hostArchitecture();
  if (!architecture)
    throw new ImageError('unsupported', `images are built for amd64 and arm64, not for ${process.arch}`);
  const name = formatReference(reference);
  const created = formatTime((options.createdSeconds ?? 0) * 1000);

  const blobs = new Map<string, Buffer>();
  const add = (mediaType: string, content: Buffer): Descriptor => {
    const digest = sha256(content);
    blobs.set(digest, content);
    return { mediaType, digest, size: content.length };
  };
  const layers: Descriptor[] = [];
  const diffIds: string[] = [];
  for (const source of options.layers) {
    const plain = await layerTar(source);
    diffIds.push(sha256(plain));
    layers.push(
      options.compress === false ? add(MEDIA.plainLayer, plain) : add(MEDIA.layer, await gzip(plain)),
    );
  }
  const config = add(
    MEDIA.config,
    json({
      created,
      architecture,
      os: 'linux',
      config: options.config ?? {},
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: diffIds.map(() => ({ created, created_by: 'capstan image build' })),
    }),
  );
  const manifest = add(MEDIA.manifest, json({ schemaVersion: 2, mediaType: MEDIA.manifest, config, layers }));
  const tag = reference.tag ?? 'latest';
  const index = json({
    schemaVersion: 2,
    mediaType: MEDIA.index,
    manifests: [
      {
        ...manifest,
        platform: { architecture, os: 'linux' },
        annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tag },
      },
    ],
  });
  const dockerManifest = json([
    {
      Config: blobPath(config.digest),
      RepoTags: [name],
      Layers: layers.map((layer) => blobPath(layer.digest)),
    },
  ]);
  const files: readonly LayerEntry[] = [
    { path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', content: index },
    { path: 'manifest.json', content: dockerManifest },
    ...[...blobs].map(([digest, content]) => ({ path: blobPath(digest), content })),
  ];
  const archive = await packEntries(files);
  return { name, id: config.digest, digest: manifest.digest, tar: archive };
}

export async function writeImage(image: BuiltImage, path: string): Promise<void> {
  await writeFile(path, image.tar);
}

async function layerTar(source: LayerSource): Promise<Buffer> {
  if ('entries' in source) return packEntries(source.entries);
  const content = typeof source.tar === 'string' ? await readTar(source.tar) : source.tar;
  return isGzip(content) ? collect(pipeThrough(content)) : content;
}

async function readTar(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ImageError('not-readable', `cannot read the layer ${path}: ${(error as Error).message}`, error);
  }
}

function pipeThrough(content: Buffer): AsyncIterable<Buffer> {
  const gunzip = createGunzip();
  gunzip.end(content);
  return gunzip;
}

async function gzip(content: Buffer): Promise<Buffer> {
  const stream = createGzip({ level: 1 });
  stream.end(content);
  return collect(stream);
}

/** A tar of these entries in this order; parents are not added. */
async function packEntries(entries: readonly LayerEntry[]): Promise<Buffer> {
  const pack = tar.pack();
  const mtime = new Date(0);
  const packed = collect(pack as AsyncIterable<Buffer>);
  for (const entry of entries) {
    const header = { name: entry.path.replace(/^\/+/, ''), mtime, uid: 0, gid: 0 };
    if (entry.type === 'directory') pack.entry({ ...header, type: 'directory', mode: entry.mode ?? 0o755 });
    else if ('target' in entry)
      pack.entry({
        ...header,
        type: entry.type === 'symlink' ? 'symlink' : 'link',
        linkname: entry.target,
        mode: 0o777,
      });
    else
      pack.entry(
        { ...header, type: 'file', mode: entry.mode ?? 0o644 },
        Buffer.from(entry.content as string),
      );
  }
  pack.finalize();
  return packed;
}

/** A file of the host as an entry, with its mode. */
export async function entryOfFile(hostPath: string, path: string): Promise<LayerEntry> {
  try {
    return { path, content: await readFile(hostPath), mode: (await stat(hostPath)).mode & 0o777 };
  } catch (error) {
    throw new ImageError('not-readable', `cannot read ${hostPath}: ${(error as Error).message}`, error);
  }
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

export function isGzip(start: Buffer): boolean {
  return start[0] === 0x1f && start[1] === 0x8b;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

function sha256(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
