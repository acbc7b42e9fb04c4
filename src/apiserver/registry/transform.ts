/** Stored objects as clients want to see them: in another version, as table rows, as metadata only, in any encoding. */
import { encodeListItem, encodeMessage } from '#machinery/codec/protobuf.ts';
import type { KubeObject, ListMeta, Stored } from '#machinery/object.ts';
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import type { TableDefinition } from '#resources/define.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { ParsedObjects } from '../watchcache/parsed-objects.ts';
import type { Endpoint } from './endpoints.ts';
import type { RequestContext } from '../context.ts';
import { encodeObject } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import { negotiate, negotiateWithoutWireForm, type Accepted } from '../http/negotiation.ts';
import { isPretty, jsonResponse } from '../http/response.ts';

/** An object of the storage version, parsed or about to be. */
interface StoredForms {
  readonly object: KubeObject;
  readonly bytes: Buffer;
}

/** In the endpoint's version. Shared when the version is the stored one. */
export function inVersion(endpoint: Endpoint, object: KubeObject): KubeObject {
  return endpoint.isStorageVersion ? object : endpoint.resource.convert(object, endpoint.apiVersion);
}

/** The form that hooks receive: the storage version, or the served one where a codec is used. Shared. */
export function objectOf({ codec, cache }: Endpoint, entry: CacheEntry): Stored {
  return codec ? codec.read(entry) : cache!.parsed.of(entry);
}

export function storedOf(endpoint: Endpoint, entry: CacheEntry): StoredForms {
  const { codec } = endpoint;
  if (codec)
    return {
      get object() {
        return codec.read(entry);
      },
      get bytes() {
        return Buffer.from(JSON.stringify(codec.read(entry)));
      },
    };
  return new StoredEntry(entry, endpoint.cache!.parsed);
}

class StoredEntry implements StoredForms {
  readonly #entry: CacheEntry;
  readonly #parsed: ParsedObjects;

  constructor(entry: CacheEntry, parsed: ParsedObjects) {
    this.#entry = entry;
    this.#parsed = parsed;
  }

  get object(): KubeObject {
    return this.#parsed.of(this.#entry);
  }
  get bytes(): Buffer {
    return this.#entry.bytes;
  }
}

/** JSON of the endpoint's version. */
export function jsonBytes(endpoint: Endpoint, stored: StoredForms): Buffer {
  return endpoint.isStorageVersion
    ? stored.bytes
    : Buffer.from(JSON.stringify(inVersion(endpoint, stored.object)));
}

/** The entry as a field of its list, of the storage version; made once. */
export function protobufItem(endpoint: Endpoint, entry: CacheEntry): Buffer {
  return (entry.protobufItem ??= encodeListItem(encodeMessage(objectOf(endpoint, entry), endpoint.schema!)));
}

type IncludeObject = 'None' | 'Metadata' | 'Object';

export interface ViewOptions {
  readonly accepted: Accepted;
  readonly pretty: boolean;
  readonly include: IncludeObject;
  readonly nowMs: number;
}

/** endpoint: of the objects; without one, of a built-in kind. */
export function viewOptions(
  { request, info: { query } }: RequestContext,
  nowMs: number,
  endpoint?: Endpoint,
): ViewOptions {
  const accepted = (endpoint === undefined || endpoint.isBuiltin ? negotiate : negotiateWithoutWireForm)(
    request.headers['accept'],
  );
  const include = query['includeObject'] ?? 'Metadata';
  if (accepted.view === 'table' && include !== 'None' && include !== 'Metadata' && include !== 'Object') {
    throw statusErrors.badRequest(
      `Unable to convert to Table as requested: includeObject: Invalid value: ${JSON.stringify(include)}: must be 'Metadata', 'Object', 'None', or empty`,
    );
  }
  return { accepted, pretty: isPretty(query, request), include: include as IncludeObject, nowMs };
}

/** Encodes one object as a response. */
export function respondWithObject(
  endpoint: Endpoint,
  stored: StoredForms,
  { status, options }: { readonly status: number; readonly options: ViewOptions },
): ApiResponse {
  const { accepted, pretty } = options;
  if (accepted.view === 'object' && accepted.encoding === 'json' && !pretty)
    return jsonResponse(status, jsonBytes(endpoint, stored));
  return respondEncoded(viewOf(endpoint, stored, options), { status, options });
}

/** One object in the client's requested form. */
function viewOf(endpoint: Endpoint, stored: StoredForms, options: ViewOptions): KubeObject {
  switch (options.accepted.view) {
    case 'table':
      return tableOf(endpoint, [stored.object], { metadata: versionOf(stored.object), options });
    case 'metadata':
      return partialMetadata(stored.object, options.accepted.viewVersion);
    case 'metadata-list':
      throw notOfThisShape(endpoint, 'PartialObjectMetadataList');
    default:
      return inVersion(endpoint, stored.object);
  }
}

/** asked: the requested kind, of a list where this is an object, or the reverse. */
export function notOfThisShape(
  endpoint: Pick<Endpoint, 'isBuiltin' | 'gvk' | 'served'>,
  asked: 'PartialObjectMetadata' | 'PartialObjectMetadataList',
): StatusError {
  const list = asked === 'PartialObjectMetadata' ? 'List' : '';
  const type = endpoint.isBuiltin
    ? `${internalPackageOf(endpoint.gvk.group)}.${endpoint.served.kind}${list}`
    : `unstructured.Unstructured${list}`;
  return statusErrors.otherShape(
    `you requested ${asked}, but the requested object is ${list ? 'a' : 'not a'} list (*${type})`,
  );
}

/** The Go package of a group's kinds, which upstream's messages contain. */
function internalPackageOf(group: string): string {
  return INTERNAL_PACKAGES[group] ?? group.split('.')[0]!;
}

const INTERNAL_PACKAGES: Readonly<Record<string, string>> = {
  '': 'core',
  'events.k8s.io': 'core',
  'internal.apiserver.k8s.io': 'apiserverinternal',
};

export function respondEncoded(
  object: KubeObject,
  {
    status,
    options,
  }: { readonly status: number; readonly options: Pick<ViewOptions, 'accepted' | 'pretty'> },
): ApiResponse {
  const { body, contentType } = encodeObject(object, options.accepted.encoding, { pretty: options.pretty });
  return { status, headers: { 'content-type': contentType, 'cache-control': 'no-cache, private' }, body };
}

/** List metadata of a table with one object. */
export function versionOf({ metadata }: KubeObject): ListMeta {
  return metadata?.resourceVersion ? { resourceVersion: metadata.resourceVersion } : {};
}

export function partialMetadata(object: KubeObject, viewVersion: string): KubeObject {
  return {
    kind: 'PartialObjectMetadata',
    apiVersion: `meta.k8s.io/${viewVersion}`,
    metadata: object.metadata ?? {},
  };
}

interface TableOptions {
  readonly metadata: ListMeta;
  readonly options: ViewOptions;
  readonly withoutHeaders?: boolean;
}

/** objects: of the storage version, which the resource's columns are of. */
export function tableOf(
  endpoint: Endpoint,
  objects: readonly KubeObject[],
  options: TableOptions,
): KubeObject {
  return tableWith(endpoint.resource.table, objects, {
    ...options,
    show: (object) => inVersion(endpoint, object),
  });
}

/** show: what a row includes when whole objects are requested. */
export function tableWith(
  table: TableDefinition<KubeObject>,
  objects: readonly KubeObject[],
  {
    metadata,
    options,
    withoutHeaders = false,
    show,
  }: TableOptions & { readonly show: (object: KubeObject) => KubeObject },
): KubeObject {
  const { viewVersion } = options.accepted;
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${viewVersion}`,
    metadata: metadata as KubeObject['metadata'] & object,
    columnDefinitions: withoutHeaders
      ? null
      : table.columns.map(({ name, type, format, description, priority }) => ({
          name,
          type,
          format: format ?? '',
          description,
          priority: priority ?? 0,
        })),
    rows:
      objects.length === 0 && isPlain(table)
        ? null
        : objects.map((object) => ({
            cells: table.row(object, options),
            ...rowObject(object, options, show),
          })),
  };
}

/** A kind without columns of its own: rows is null in upstream's empty table. */
function isPlain({ columns }: TableDefinition<KubeObject>): boolean {
  return columns.length === 2 && columns[1]!.name === 'Created At';
}

function rowObject(
  object: KubeObject,
  { include, accepted }: ViewOptions,
  show: (object: KubeObject) => KubeObject,
): { readonly object: KubeObject | null } {
  switch (include) {
    case 'None':
      return { object: null };
    case 'Object':
      return { object: show(object) };
    default:
      return { object: partialMetadata(object, accepted.viewVersion) };
  }
}
