/**
 * The JSON documents of an image archive, decoded strictly: index.json and manifests of an OCI image layout, manifest.json of `docker save`. Archives are
 * untrusted, so each field's type is checked, and an index is followed to a bounded depth and over a bounded number of manifests, each once.
 * archive.ts looks up the referenced blobs. Follows https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
 */
import { ImageError } from './errors.ts';

/** Upstream's tools nest an index of platforms in an index; deeper nesting is refused. */
export const MAX_INDEX_DEPTH = 8;
/** Manifests in one archive, however they are nested. More are refused. */
export const MAX_MANIFESTS = 1_000;
/** Layers of one image; overlayfs ends far below. More are refused. */
const MAX_LAYERS = 1_000;
/** Names of one archive. More are refused. */
const MAX_NAMES = 1_000;

const DIGEST = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

export interface Descriptor {
  readonly digest: string;
  readonly size?: number | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** An image's own manifest, or an index of further ones. */
type Manifest =
  | { readonly kind: 'index'; readonly manifests: readonly Descriptor[] }
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Descriptor[] };

export interface DockerImage {
  readonly config: string;
  readonly layers: readonly string[];
  readonly names: readonly string[];
}

/** A document and its name in errors. */
interface Source {
  readonly path: string;
  readonly name: string;
}

/** Throws ImageError not-an-image. */
export function parseJson(content: Buffer, { path, name }: Source): unknown {
  try {
    return JSON.parse(content.toString());
  } catch (error) {
    throw new ImageError('not-an-image', `${path} is no image archive: its ${name} is no JSON`, error);
  }
}

/** index.json. Throws ImageError not-an-image. */
export function parseIndex(value: unknown, source: Source): readonly Descriptor[] {
  const { manifests } = fields(value, { source, field: 'the document' });
  return descriptors(manifests ?? [], { source, field: 'manifests', most: MAX_MANIFESTS });
}

/** A manifest's blob. Throws ImageError not-an-image. */
export function parseManifest(value: unknown, source: Source): Manifest {
  const { manifests, config, layers } = fields(value, { source, field: 'the document' });
  if (manifests !== undefined)
    return {
      kind: 'index',
      manifests: descriptors(manifests, { source, field: 'manifests', most: MAX_MANIFESTS }),
    };
  return {
    kind: 'image',
    config: descriptor(config, { source, field: 'config' }),
    layers: descriptors(layers ?? [], { source, field: 'layers', most: MAX_LAYERS }),
  };
}

/** manifest.json of `docker save`. Throws ImageError not-an-image. */
export function parseDockerManifest(value: unknown, source: Source): readonly DockerImage[] {
  return list(value, { source, field: 'the document', most: MAX_MANIFESTS }).map((each, index) => {
    const { Config, Layers, RepoTags } = fields(each, { source, field: `[${index}]` });
    const strings = (
      of: unknown,
      { name, most }: { readonly name: string; readonly most: number },
    ): string[] =>
      list(of ?? [], { source, field: `[${index}].${name}`, most }).map((entry, at) =>
        text(entry, { source, field: `[${index}].${name}[${at}]` }),
      );
    return {
      config: text(Config ?? '', { source, field: `[${index}].Config` }),
      layers: strings(Layers, { name: 'Layers', most: MAX_LAYERS }),
      names: strings(RepoTags, { name: 'RepoTags', most: MAX_NAMES }),
    };
  });
}

interface Place {
  readonly source: Source;
  readonly field: string;
}

function descriptors(value: unknown, place: Place & { readonly most: number }): Descriptor[] {
  return list(value, place).map((each, index) =>
    descriptor(each, { ...place, field: `${place.field}[${index}]` }),
  );
}

function descriptor(value: unknown, place: Place): Descriptor {
  const { digest, size, annotations } = fields(value, place);
  if (typeof digest !== 'string' || !DIGEST.test(digest))
    throw wrong({ ...place, field: `${place.field}.digest` }, 'a digest such as sha256:…');
  if (size !== undefined && !(Number.isSafeInteger(size) && (size as number) >= 0))
    throw wrong({ ...place, field: `${place.field}.size` }, 'a number of bytes');
  return {
    digest,
    size: size as number | undefined,
    annotations: annotationsOf(annotations ?? {}, { ...place, field: `${place.field}.annotations` }),
  };
}

function annotationsOf(value: unknown, place: Place): Record<string, string> {
  const entries = Object.entries(fields(value, place));
  for (const [key, each] of entries)
    text(each, { ...place, field: `${place.field}[${JSON.stringify(key)}]` });
  return Object.fromEntries(entries) as Record<string, string>;
}

function fields(value: unknown, place: Place): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(place, 'an object');
  return value as Record<string, unknown>;
}

function list(value: unknown, { most, ...place }: Place & { readonly most: number }): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(place, 'a list');
  if (value.length > most)
    throw new ImageError(
      'not-an-image',
      `${place.source.path} is refused: ${place.field} of its ${place.source.name} has ${value.length} entries; at most ${most} are read`,
    );
  return value;
}

function text(value: unknown, place: Place): string {
  if (typeof value !== 'string') throw wrong(place, 'a string');
  return value;
}

function wrong({ source, field }: Place, what: string): ImageError {
  return new ImageError(
    'not-an-image',
    `${source.path} is no image archive: ${field} of its ${source.name} should be ${what}`,
  );
}
