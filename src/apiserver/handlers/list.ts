/**
 * LIST: consistent lists from the watch cache as a concatenation of encoded items, lists at older revisions (continue tokens,
 * resourceVersionMatch=Exact) from the store's history, selectors, and the other transforms and encodings. Long work is sliced.
 */
import { performance } from 'node:perf_hooks';
import { encodeList, encodeListAround, encodeMessage } from '#machinery/codec/protobuf.ts';
import { statusErrors } from '#machinery/errors.ts';
import { formatApiVersion, type KubeObject, type ListMeta } from '#machinery/object.ts';
import { serializedHead } from '#machinery/serialize.ts';
import { schemaForKind } from '#api/schemas.ts';
import { StoreError } from '#storage/store.ts';
import { CacheEntry } from '../watchcache/entry.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { Slab } from '../watchcache/slab.ts';
import { protobufForm, type SlabForm } from '../watchcache/slab-forms.ts';
import { refuseUnreadableBelow, unreadableInList } from '../watchcache/unreadable.ts';
import { findListKind, type Endpoint } from '../registry/endpoints.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import { compressGzip, storedPart, type GzipPart } from '../http/gzip-parts.ts';
import type { ApiResponse } from '../http/request.ts';
import { MEDIA_TYPES } from '../http/negotiation.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { jsonResponse } from '../http/response.ts';
import type { StoredResource } from '../nonresource/store-metrics.ts';
import {
  inVersion,
  jsonBytes,
  partialMetadata,
  notOfThisShape,
  objectOf,
  protobufItem,
  respondEncoded,
  storedOf,
  tableOf,
  viewOptions,
  type ViewOptions,
} from '../registry/transform.ts';
import { listObject, shownMetadata, withoutType } from '../registry/list-object.ts';
import { decodeContinue, encodeContinue } from './continue-token.ts';
import { requireRevision } from './get.ts';
import { parseListOptions, type ListOptions } from '../registry/verb-options.ts';
import { createFilter, inSlices, type EntryFilter } from './select.ts';

interface ListCall {
  readonly context: RequestContext;
  readonly core: ServerCore;
  readonly namespace: string;
}

export function list(endpoint: StoredEndpoint, call: ListCall): ApiResponse | Promise<ApiResponse> {
  const { context, core, namespace } = call;
  const options = parseListOptions(endpoint, context.info.query);
  const view = viewOptions(context, core.clock.now(), endpoint);
  if (view.accepted.view === 'metadata') throw notOfThisShape(endpoint, 'PartialObjectMetadata');
  requireRevision(core, options.resourceVersion);
  const { cache } = endpoint;
  refuseUnreadableBelow(cache, namespace === '' ? cache.prefix : cache.key({ namespace, name: '' }));
  const form = options.labelSelector || options.fieldSelector ? undefined : readyForm(endpoint, view);
  if (
    form &&
    pageSize(options) === 0 &&
    options.continue === '' &&
    options.resourceVersionMatch !== 'Exact'
  ) {
    countReady(cache, { prefix: namespace === '' ? '' : cache.key({ namespace, name: '' }), options });
    return readyList(endpoint, {
      core,
      form,
      prefix: namespace === '' ? '' : cache.key({ namespace, name: '' }),
    });
  }
  return listSlowly(endpoint, { ...call, options, view, form });
}

function countReady(
  { entries, lists }: ResourceCache,
  { prefix, options }: { readonly prefix: string; readonly options: ListOptions },
): void {
  const count = entries.count(prefix);
  lists.served++;
  lists.fetched += count;
  lists.returned += count;
  if (options.resourceVersion === undefined) lists.consistent++;
}

// ----------------------------------------------------------------------------------------------------------- ready lists

/** A form in which whole lists are put together of ready items. */
interface ReadyForm extends SlabForm {
  readonly contentType: string;
  /** Between two items, as a part of a gzip body too. */
  readonly separator?: { readonly bytes: Buffer; readonly part: GzipPart };
  around(metadata: ListMeta, itemBytes: number): { readonly head: Buffer; readonly tail: Buffer };
}

/** Undefined: this view of it has to be made for each request. */
function readyForm(endpoint: StoredEndpoint, { accepted, pretty }: ViewOptions): ReadyForm | undefined {
  if (!endpoint.isStorageVersion || endpoint.codec || accepted.view !== 'object') return undefined;
  if (accepted.encoding === 'json' && !pretty) return jsonLists(endpoint);
  return accepted.encoding === 'protobuf' && endpoint.schema ? protobufLists(endpoint) : undefined;
}

const LIST_TAIL = Buffer.from(']}\n');
const COMMA = Buffer.from(',');
const SEPARATOR = { bytes: COMMA, part: storedPart(COMMA) };

function jsonLists(endpoint: StoredEndpoint): ReadyForm {
  return {
    ...endpoint.cache.jsonForm,
    contentType: MEDIA_TYPES.json,
    separator: SEPARATOR,
    around: (metadata) => ({ head: listHead(endpoint, metadata), tail: LIST_TAIL }),
  };
}

function protobufLists(endpoint: StoredEndpoint): ReadyForm | undefined {
  const {
    gvk,
    served: { kind },
  } = endpoint;
  const listMeta = schemaForKind({ ...gvk, kind: `${kind}List` })?.byName.get('metadata')?.value;
  if (listMeta?.kind !== 'object') return undefined;
  return {
    ...protobufForm((entry) => protobufItem(endpoint, entry)),
    contentType: MEDIA_TYPES.protobuf,
    around: (metadata, itemBytes) =>
      encodeListAround({
        apiVersion: formatApiVersion(gvk),
        kind: `${kind}List`,
        metadata: encodeMessage(metadata as Record<string, unknown>, listMeta.type()),
        itemBytes,
      }),
  };
}

/** What changes meanwhile has to be laid out again; in the end all at once. */
const MAX_LAYOUT_TURNS = 1024;

function readyList(
  endpoint: StoredEndpoint,
  { core, form, prefix }: { readonly core: ServerCore; readonly form: ReadyForm; readonly prefix: string },
): ApiResponse | Promise<ApiResponse> {
  const { entries } = endpoint.cache;
  const answer = (): ApiResponse =>
    slabResponse(
      { resourceVersion: String(core.cache.revision) },
      { form, slabs: entries.slabs(prefix, form) },
    );
  if (!entries.prepare(prefix, form)) return answer();
  const inTurns = async (): Promise<ApiResponse> => {
    let turns = 1;
    do await new Promise((resolve) => setImmediate(resolve));
    while (entries.prepare(prefix, form) && ++turns < MAX_LAYOUT_TURNS);
    return answer();
  };
  return inTurns();
}

function listHead(endpoint: Endpoint, metadata: ListMeta): Buffer {
  return Buffer.from(
    `{"kind":"${findListKind(endpoint)}","apiVersion":"${endpoint.apiVersion}","metadata":${JSON.stringify(shownMetadata(endpoint, metadata))},"items":[`,
  );
}

interface ReadyItems {
  readonly form: ReadyForm;
  readonly slabs: readonly Slab[];
}

/** A list of ready items, which stay ready in compressed form too. */
function slabResponse(metadata: ListMeta, { form, slabs }: ReadyItems): ApiResponse {
  const { separator, contentType } = form;
  const { head, tail } = form.around(
    metadata,
    slabs.reduce((sum, { bytes }) => sum + bytes.length, 0),
  );
  const body = [
    head,
    ...slabs.flatMap(({ bytes }, index) => (index > 0 && separator ? [separator.bytes, bytes] : [bytes])),
    tail,
  ];
  const gzipped = async (): Promise<Buffer[]> => {
    const items = await compressedSlabs(slabs);
    return compressGzip([
      storedPart(head),
      ...items.flatMap((part, index) => (index > 0 && separator ? [separator.part, part] : [part])),
      storedPart(tail),
    ]);
  };
  return {
    status: 200,
    headers: { 'content-type': contentType, 'cache-control': 'no-cache, private' },
    body,
    gzipped,
  };
}

/** Slabs compressed at the same time for one request: others need threads too. */
const COMPRESSED_AT_ONCE = 2;

async function compressedSlabs(slabs: readonly Slab[]): Promise<GzipPart[]> {
  const compressed: GzipPart[] = [];
  const queue = slabs.entries();
  const work = async (): Promise<void> => {
    for (const [index, slab] of queue) compressed[index] = await slab.compressed();
  };
  await Promise.all(Array.from({ length: COMPRESSED_AT_ONCE }, work));
  return compressed;
}

// ----------------------------------------------------------------------------------------------------------- other lists

async function listSlowly(
  endpoint: StoredEndpoint,
  {
    core,
    namespace,
    options,
    view,
    form,
  }: ListCall & {
    readonly options: ListOptions;
    readonly view: ViewOptions;
    readonly form: ReadyForm | undefined;
  },
): Promise<ApiResponse> {
  const page = await selectPage(endpoint, { core, namespace, options, form });
  const metadata = metadataOfPage(page);
  if (form && page.slabs) return slabResponse(metadata, { form, slabs: page.slabs });
  return renderList(endpoint, { entries: page.entries, metadata, view });
}

export function metadataOfPage(page: Page): ListMeta {
  return {
    resourceVersion: String(page.revision),
    ...(page.continue === undefined ? {} : { continue: page.continue }),
    ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
  };
}

interface Page {
  readonly revision: number;
  readonly entries: readonly CacheEntry[];
  readonly continue: string | undefined;
  readonly remaining: number | undefined;
  /** The same entries in encoded form; only on request, for stored state. */
  readonly slabs?: readonly Slab[] | undefined;
}

interface Selection {
  readonly core: ServerCore;
  readonly namespace: string;
  readonly options: ListOptions;
  readonly form?: ReadyForm | undefined;
}

/** Larger pages are not laid out in one go. */
const MAX_SLAB_PAGE = 2000;

/** One page of the selected objects. */
export async function selectPage(
  endpoint: StoredEndpoint,
  { core, namespace, options, form }: Selection,
): Promise<Page> {
  const { cache } = endpoint;
  const prefix = namespace === '' ? cache.prefix : cache.key({ namespace, name: '' });
  const filter = createFilter(endpoint, options);
  const limit = pageSize(options);
  const token = options.continue === '' ? undefined : decodeContinue(options.continue);
  if (token && options.resourceVersion)
    throw statusErrors.badRequest('specifying resource version is not allowed when using continue');
  if (token) requireRevision(core, token.revision);
  const current = core.cache.revision;
  const exact = token
    ? token.revision
    : options.resourceVersionMatch === 'Exact' ||
        (limit > 0 && options.resourceVersionMatch === '' && (options.resourceVersion ?? 0) > 0)
      ? options.resourceVersion!
      : current;
  const revision = exact < 0 ? current : exact;
  const startKey = token ? prefix + token.startKey : undefined;
  const exactName =
    namespace !== '' || !endpoint.resource.namespaced
      ? options.fieldSelector?.exactValue('metadata.name')
      : undefined;

  let source: readonly CacheEntry[];
  let slabs: readonly Slab[] | undefined;
  /** How many there are from the start key on, where that is known. */
  let live: number | undefined;
  const isCurrent =
    revision >= cache.lastRevision && (revision === current || revision >= core.store.compactedRevision);
  if (isCurrent) {
    // Nothing of this resource changed since: the cache is that revision. A forgotten one is refused all the same, as clients expect of its age.
    const isPage = limit > 0 && !filter;
    // One extra item shows whether another page follows.
    source =
      exactName === undefined
        ? cache.entries.list(prefix, { startKey, ...(isPage ? { limit: limit + 1 } : {}) })
        : only(cache.entries.get(prefix + exactName));
    if (isPage && source.length > limit) live = cache.entries.count(prefix, { startKey });
    if (form && isPage && limit <= MAX_SLAB_PAGE)
      slabs = cache.entries.slabs(prefix, form, { startKey, limit });
  } else {
    source = await fromHistory(core, {
      of: endpoint.groupResource,
      prefix,
      startKey,
      revision,
      limit: filter ? 0 : limit,
      isContinue: token !== undefined,
    });
  }
  // A filter may look at any of them; without one the page alone is read.
  if (endpoint.codec?.waits && filter) await endpoint.codec.ready(source);
  const picked = await pick(source, { filter, limit });
  if (endpoint.codec?.waits && !filter) await endpoint.codec.ready(picked.entries);
  const counts = isCurrent ? cache.lists : cache.historicLists;
  counts.served++;
  counts.fetched += source.length;
  counts.returned += picked.entries.length;
  if (isCurrent && options.resourceVersion === undefined) cache.lists.consistent++;
  if (picked.next === undefined)
    return { revision, entries: picked.entries, slabs, continue: undefined, remaining: undefined };
  return {
    revision,
    entries: picked.entries,
    slabs,
    continue: encodeContinue({
      revision: exact < 0 ? -1 : revision,
      startKey: `${picked.entries.at(-1)!.key.slice(prefix.length)}\0`,
    }),
    remaining: filter
      ? undefined
      : live === undefined
        ? await remainingAfter(core, { prefix, revision, last: picked.entries.at(-1)! })
        : live - picked.entries.length,
  };
}

/** As upstream: a list at any resourceVersion is served whole from memory. */
function pageSize({ limit, resourceVersion }: ListOptions): number {
  return resourceVersion === 0 ? 0 : limit;
}

function only(entry: CacheEntry | undefined): CacheEntry[] {
  return entry ? [entry] : [];
}

interface History {
  readonly of: StoredResource;
  readonly prefix: string;
  readonly startKey: string | undefined;
  readonly revision: number;
  readonly limit: number;
  readonly isContinue: boolean;
}

const CONTINUE_EXPIRED =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

async function fromHistory(
  core: ServerCore,
  { of, prefix, startKey, revision, limit, isContinue }: History,
): Promise<CacheEntry[]> {
  const timing = core.metrics.store.of(of, 'list'),
    begunMs = performance.now();
  try {
    // One extra item shows whether another page follows.
    const { items } = await core.store.list(prefix, {
      revision,
      ...(startKey === undefined ? {} : { startKey }),
      ...(limit > 0 ? { limit: limit + 1 } : {}),
    });
    timing.succeeded(begunMs);
    return items.map(({ key, modRevision, value, unreadable }) => {
      if (unreadable !== undefined) throw unreadableInList(key, unreadable);
      return new CacheEntry(key, { revision: modRevision, value });
    });
  } catch (error) {
    if (error instanceof StoreError) timing.failed(begunMs);
    if (!(error instanceof StoreError) || error.code !== 'compacted') throw error;
    if (!isContinue) throw statusErrors.expired('The resourceVersion for the provided list is too old.');
    const expired = statusErrors.expired(CONTINUE_EXPIRED);
    expired.status.metadata = {
      continue: encodeContinue({ revision: -1, startKey: startKey!.slice(prefix.length) }),
    };
    throw expired;
  }
}

async function pick(
  source: readonly CacheEntry[],
  { filter, limit }: { readonly filter: EntryFilter | undefined; readonly limit: number },
): Promise<{ readonly entries: readonly CacheEntry[]; readonly next: CacheEntry | undefined }> {
  if (!filter)
    return limit > 0 && source.length > limit
      ? { entries: source.slice(0, limit), next: source[limit] }
      : { entries: source, next: undefined };
  const entries: CacheEntry[] = [];
  let next: CacheEntry | undefined;
  await inSlices(source, (entry) => {
    if (!filter(entry)) return true;
    if (limit > 0 && entries.length === limit) {
      next = entry;
      return false;
    }
    entries.push(entry);
    return true;
  });
  return { entries, next };
}

/** How many followed the page at a revision of the past. */
async function remainingAfter(
  { store }: ServerCore,
  {
    prefix,
    revision,
    last,
  }: { readonly prefix: string; readonly revision: number; readonly last: CacheEntry },
): Promise<number> {
  return (await store.list(prefix, { revision, startKey: `${last.key}\0` })).items.length;
}

// ------------------------------------------------------------------------------------------------------------- rendering

interface Rendered {
  readonly entries: readonly CacheEntry[];
  readonly metadata: ListMeta;
  readonly view: ViewOptions;
}

export async function renderList(
  endpoint: StoredEndpoint,
  { entries, metadata, view }: Rendered,
): Promise<ApiResponse> {
  const { accepted, pretty } = view;
  if (accepted.encoding === 'json' && !pretty)
    return jsonResponse(200, await jsonPieces(endpoint, { entries, metadata, view }));
  if (accepted.encoding === 'protobuf' && accepted.view === 'object')
    return protobufList(endpoint, { entries, metadata, view });
  const objects: KubeObject[] = [];
  await inSlices(entries, (entry) => void objects.push(objectOf(endpoint, entry)));
  return respondEncoded(listObject(endpoint, { objects, metadata, view }), { status: 200, options: view });
}

/** Separators between items without kind and apiVersion, and the prefix of the first: they complete the omitted text. */
const COMMA_BRACE = Buffer.from(',{');
const BRACE = Buffer.from('{');

/** Many small pieces: listeners put them together as suits them. */
async function jsonPieces(
  endpoint: StoredEndpoint,
  { entries, metadata, view }: Rendered,
): Promise<Buffer[]> {
  if (entries.length === 0 && view.accepted.view !== 'object')
    return [Buffer.from(JSON.stringify(listObject(endpoint, { objects: [], metadata, view })))];
  const { head, item, opening = EMPTY, separator = COMMA } = jsonParts(endpoint, { metadata, view });
  const pieces: Buffer[] = [head];
  await inSlices(entries, (entry) => {
    pieces.push(pieces.length > 1 ? separator : opening, item(entry));
  });
  pieces.push(LIST_TAIL);
  return pieces;
}

const EMPTY = Buffer.alloc(0);

interface JsonParts {
  readonly head: Buffer;
  item(entry: CacheEntry): Buffer;
  /** Before the first item, and between two. */
  readonly opening?: Buffer;
  readonly separator?: Buffer;
}

/** Prefixes of a list of this view and of each item. */
function jsonParts(
  endpoint: StoredEndpoint,
  { metadata, view }: { readonly metadata: ListMeta; readonly view: ViewOptions },
): JsonParts {
  const { accepted } = view;
  if (accepted.view === 'object' && endpoint.isBuiltin)
    return {
      head: listHead(endpoint, metadata),
      opening: BRACE,
      separator: COMMA_BRACE,
      item: untypedItem(endpoint),
    };
  if (accepted.view === 'object')
    return {
      head: listHead(endpoint, metadata),
      item: (entry) => jsonBytes(endpoint, storedOf(endpoint, entry)),
    };
  const text = JSON.stringify(listObject(endpoint, { objects: [], metadata, view }));
  // The list is the last field and empty, one way or the other.
  const head = Buffer.from(text.replace(/(?:null|\[\])\}$/, '['));
  if (accepted.view === 'table') {
    return {
      head,
      item: (entry) =>
        Buffer.from(
          JSON.stringify(
            (
              tableOf(endpoint, [objectOf(endpoint, entry)], {
                metadata: {},
                options: view,
                withoutHeaders: true,
              })['rows'] as unknown[]
            )[0],
          ),
        ),
    };
  }
  return {
    head,
    item: (entry) =>
      Buffer.from(JSON.stringify(partialMetadata(objectOf(endpoint, entry), accepted.viewVersion))),
  };
}

/** Items of a built-in list carry no kind and apiVersion in upstream's encoding; each slice starts after its opening brace. */
function untypedItem(endpoint: StoredEndpoint): (entry: CacheEntry) => Buffer {
  const {
    served: { kind },
    apiVersion,
  } = endpoint;
  const head = serializedHead({ kind, apiVersion });
  if (endpoint.isStorageVersion)
    return (entry) => entry.bytesAfter(entry.beginsWith(head) ? head : undefined);
  return (entry) =>
    Buffer.from(JSON.stringify(withoutType(inVersion(endpoint, objectOf(endpoint, entry)))).slice(1));
}

async function protobufList(endpoint: StoredEndpoint, { entries, metadata }: Rendered): Promise<ApiResponse> {
  const { schema, gvk, served } = endpoint;
  const listMeta = schemaForKind({ ...gvk, kind: `${served.kind}List` })?.byName.get('metadata')?.value;
  if (!schema || listMeta?.kind !== 'object')
    throw statusErrors.notAcceptable([MEDIA_TYPES.json, MEDIA_TYPES.yaml]);
  const items: Buffer[] = [];
  await inSlices(
    entries,
    (entry) => void items.push(encodeMessage(inVersion(endpoint, objectOf(endpoint, entry)), schema)),
  );
  const body = encodeList({
    apiVersion: formatApiVersion(gvk),
    kind: `${served.kind}List`,
    metadata: encodeMessage(metadata as Record<string, unknown>, listMeta.type()),
    items,
  });
  return {
    status: 200,
    headers: { 'content-type': MEDIA_TYPES.protobuf, 'cache-control': 'no-cache, private' },
    body,
  };
}
