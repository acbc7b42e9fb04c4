/**
 * LIST: consistent lists from the watch cache as a concatenation of ready bytes, lists at older revisions (continue tokens,
 * resourceVersionMatch=Exact) from the store's history, selectors, and the other views and encodings. Long work is done in slices.
 */
import { encodeMessage, encodeList } from '#machinery/codec/protobuf.ts';
import { statusErrors } from '#machinery/errors.ts';
import { apiVersionOf, type KubeObject, type ListMeta } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import { StoreError } from '#storage/store.ts';
import { CacheEntry } from '../cache/entry.ts';
import { refuseUnreadableBelow, unreadableInList } from '../cache/unreadable.ts';
import { listKindOf, type Endpoint } from '../catalogue.ts';
import type { RequestContext, ServerCore } from '../context.ts';
import type { ApiResponse } from '../http.ts';
import { MEDIA_TYPES } from '../negotiate.ts';
import type { StoredEndpoint } from '../objects.ts';
import { jsonResponse } from '../respond.ts';
import { inVersion, jsonBytes, metadataOf, objectOf, respondEncoded, storedOf, tableOf, viewOptions, type ViewOptions } from '../views.ts';
import { decodeContinue, encodeContinue } from './continue-token.ts';
import { requireRevision } from './get.ts';
import { checkListOptions, parseListOptions, type ListOptions } from './options.ts';
import { filterOf, inSlices, type EntryFilter } from './select.ts';

export interface ListCall { readonly context: RequestContext; readonly core: ServerCore; readonly namespace: string }

export function list(endpoint: StoredEndpoint, call: ListCall): ApiResponse | Promise<ApiResponse> {
  const { context, core, namespace } = call;
  const options = parseListOptions(endpoint, context.info.query);
  checkListOptions(options, context.info.query);
  const view = viewOptions(context, core.clock.now(), endpoint);
  requireRevision(core, options.resourceVersion);
  const { cache } = endpoint;
  refuseUnreadableBelow(cache, namespace === '' ? cache.prefix : cache.key({ namespace, name: '' }));
  const isPlain = pageSize(options) === 0 && options.continue === '' && options.resourceVersionMatch !== 'Exact' && !options.labelSelector && !options.fieldSelector;
  if (isPlain && endpoint.isStorageVersion && !endpoint.codec && view.accepted.view === 'object' && view.accepted.encoding === 'json' && !view.pretty) {
    return readyList(endpoint, { core, prefix: namespace === '' ? '' : cache.key({ namespace, name: '' }) });
  }
  return listSlowly(endpoint, { ...call, options, view });
}

/** Laid out before other requests have their turn. */
const LAYOUT_BYTES = 2 * 1024 * 1024;
/** What changes meanwhile has to be laid out again; in the end all at once. */
const MAX_LAYOUT_SLICES = 256;

function readyList(endpoint: StoredEndpoint, { core, prefix }: { readonly core: ServerCore; readonly prefix: string }): ApiResponse | Promise<ApiResponse> {
  const { entries } = endpoint.cache;
  const answer = (): ApiResponse => jsonResponse(200, [listHead(endpoint, { resourceVersion: String(core.cache.revision) }), ...entries.pieces(prefix), LIST_TAIL]);
  if (!entries.prepare(prefix, LAYOUT_BYTES)) return answer();
  const inTurns = async (): Promise<ApiResponse> => {
    let slices = 1;
    do await new Promise((resolve) => setImmediate(resolve));
    while (entries.prepare(prefix, LAYOUT_BYTES) && ++slices < MAX_LAYOUT_SLICES);
    return answer();
  };
  return inTurns();
}

const LIST_TAIL = Buffer.from(']}\n');

function listHead(endpoint: Endpoint, metadata: ListMeta): Buffer {
  return Buffer.from(`{"kind":"${listKindOf(endpoint)}","apiVersion":"${endpoint.apiVersion}","metadata":${JSON.stringify(metadata)},"items":[`);
}

async function listSlowly(endpoint: StoredEndpoint, { core, namespace, options, view }: ListCall & { readonly options: ListOptions; readonly view: ViewOptions }): Promise<ApiResponse> {
  const page = await selectPage(endpoint, { core, namespace, options });
  const metadata: ListMeta = {
    resourceVersion: String(page.revision),
    ...(page.continue === undefined ? {} : { continue: page.continue }),
    ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
  };
  return renderList(endpoint, { entries: page.entries, metadata, view });
}

export interface Page {
  readonly revision: number;
  readonly entries: readonly CacheEntry[];
  readonly continue: string | undefined;
  readonly remaining: number | undefined;
}

interface Selection { readonly core: ServerCore; readonly namespace: string; readonly options: ListOptions }

/** One page of what the options select. */
export async function selectPage(endpoint: StoredEndpoint, { core, namespace, options }: Selection): Promise<Page> {
  const { cache } = endpoint;
  const prefix = namespace === '' ? cache.prefix : cache.key({ namespace, name: '' });
  const filter = filterOf(endpoint, options);
  const limit = pageSize(options);
  if (options.continue !== '' && options.resourceVersion) throw statusErrors.badRequest('specifying resource version is not allowed when using continue');
  const token = options.continue === '' ? undefined : decodeContinue(options.continue);
  const current = core.cache.revision;
  const exact = token ? token.revision : options.resourceVersionMatch === 'Exact' || (limit > 0 && options.resourceVersionMatch === '' && (options.resourceVersion ?? 0) > 0) ? options.resourceVersion! : current;
  const revision = exact < 0 ? current : exact;
  const startKey = token ? prefix + token.startKey : undefined;
  const exactName = namespace !== '' || !endpoint.resource.namespaced ? options.fieldSelector?.exactValue('metadata.name') : undefined;

  let source: readonly CacheEntry[];
  if (revision >= cache.lastRevision) {
    // Nothing of this resource changed since: the cache is that revision.
    source = exactName === undefined ? cache.entries.list(prefix, startKey === undefined ? {} : { startKey }) : only(cache.entries.get(prefix + exactName));
  } else {
    source = await fromHistory(core, { prefix, startKey, revision, limit: filter ? 0 : limit, isContinue: token !== undefined });
  }
  // A filter may look at any of them; without one the page alone is read.
  if (endpoint.codec?.waits && filter) await endpoint.codec.ready(source);
  const picked = await pick(source, { filter, limit });
  if (endpoint.codec?.waits && !filter) await endpoint.codec.ready(picked.entries);
  if (picked.next === undefined) return { revision, entries: picked.entries, continue: undefined, remaining: undefined };
  return {
    revision, entries: picked.entries,
    continue: encodeContinue({ revision: exact < 0 ? -1 : revision, startKey: `${picked.entries.at(-1)!.key.slice(prefix.length)}\0` }),
    remaining: filter ? undefined : await remainingAfter(endpoint, { core, prefix, revision, source, taken: picked.entries.length }),
  };
}

/** As upstream: where any age will do, the answer is whole, for it comes from memory. */
function pageSize({ limit, resourceVersion }: ListOptions): number {
  return resourceVersion === 0 ? 0 : limit;
}

function only(entry: CacheEntry | undefined): CacheEntry[] {
  return entry ? [entry] : [];
}

interface History { readonly prefix: string; readonly startKey: string | undefined; readonly revision: number; readonly limit: number; readonly isContinue: boolean }

const CONTINUE_EXPIRED = 'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

async function fromHistory(core: ServerCore, { prefix, startKey, revision, limit, isContinue }: History): Promise<CacheEntry[]> {
  try {
    // One more than asked for tells whether others follow.
    const { items } = await core.store.list(prefix, { revision, ...(startKey === undefined ? {} : { startKey }), ...(limit > 0 ? { limit: limit + 1 } : {}) });
    return items.map(({ key, modRevision, value, unreadable }) => {
      if (unreadable !== undefined) throw unreadableInList(key, unreadable);
      return new CacheEntry(key, { revision: modRevision, value });
    });
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'compacted') throw error;
    if (!isContinue) throw statusErrors.expired('The resourceVersion for the provided list is too old.');
    const expired = statusErrors.expired(CONTINUE_EXPIRED);
    expired.status.metadata = { continue: encodeContinue({ revision: -1, startKey: startKey!.slice(prefix.length) }) };
    throw expired;
  }
}

async function pick(source: readonly CacheEntry[], { filter, limit }: { readonly filter: EntryFilter | undefined; readonly limit: number }): Promise<{ readonly entries: readonly CacheEntry[]; readonly next: CacheEntry | undefined }> {
  if (!filter) return limit > 0 && source.length > limit ? { entries: source.slice(0, limit), next: source[limit] } : { entries: source, next: undefined };
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

/** How many follow the page. From history it takes a count of its own. */
async function remainingAfter(endpoint: StoredEndpoint, { core, prefix, revision, source, taken }: {
  readonly core: ServerCore; readonly prefix: string; readonly revision: number; readonly source: readonly CacheEntry[]; readonly taken: number;
}): Promise<number> {
  if (revision >= endpoint.cache.lastRevision) return source.length - taken;
  const rest = await core.store.list(prefix, { revision, startKey: `${source[taken - 1]!.key}\0` });
  return rest.items.length;
}

// ------------------------------------------------------------------------------------------------------------- rendering

export interface Rendered { readonly entries: readonly CacheEntry[]; readonly metadata: ListMeta; readonly view: ViewOptions }

async function renderList(endpoint: StoredEndpoint, { entries, metadata, view }: Rendered): Promise<ApiResponse> {
  const { accepted, pretty } = view;
  if (accepted.encoding === 'json' && !pretty) return jsonResponse(200, await jsonPieces(endpoint, { entries, metadata, view }));
  if (accepted.encoding === 'protobuf' && accepted.view === 'object') return protobufList(endpoint, { entries, metadata, view });
  const objects: KubeObject[] = [];
  await inSlices(entries, (entry) => void objects.push(objectOf(endpoint, entry)));
  return respondEncoded(listObject(endpoint, { objects, metadata, view }), { status: 200, options: view });
}

function listObject(endpoint: Endpoint, { objects, metadata, view }: { readonly objects: readonly KubeObject[]; readonly metadata: ListMeta; readonly view: ViewOptions }): KubeObject {
  const { accepted } = view;
  switch (accepted.view) {
    case 'table': return tableOf(endpoint, objects, { metadata, options: view });
    case 'metadata': case 'metadata-list': return {
      kind: 'PartialObjectMetadataList', apiVersion: `meta.k8s.io/${accepted.viewVersion}`, metadata: metadata as KubeObject['metadata'] & object,
      items: objects.map((object) => metadataOf(object, accepted.viewVersion)),
    };
    default: return { kind: listKindOf(endpoint), apiVersion: endpoint.apiVersion, metadata: metadata as KubeObject['metadata'] & object, items: objects.map((object) => (endpoint.isBuiltin ? withoutType(inVersion(endpoint, object)) : inVersion(endpoint, object))) };
  }
}

const COMMA = Buffer.from(',');
/** Between items that lose their kind and apiVersion, and before the first: these end what was cut off. */
const COMMA_BRACE = Buffer.from(',{');
const BRACE = Buffer.from('{');

/** Many small pieces: carriers put them together as suits them. */
async function jsonPieces(endpoint: StoredEndpoint, { entries, metadata, view }: Rendered): Promise<Buffer[]> {
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

/** How a list of this view begins, and each item of it. */
function jsonParts(endpoint: StoredEndpoint, { metadata, view }: { readonly metadata: ListMeta; readonly view: ViewOptions }): JsonParts {
  const { accepted } = view;
  if (accepted.view === 'object' && endpoint.isBuiltin) return { head: listHead(endpoint, metadata), opening: BRACE, separator: COMMA_BRACE, item: untypedItem(endpoint) };
  if (accepted.view === 'object') return { head: listHead(endpoint, metadata), item: (entry) => jsonBytes(endpoint, storedOf(endpoint, entry)) };
  const empty = listObject(endpoint, { objects: [], metadata, view });
  const text = JSON.stringify(empty);
  // The list is the last field and empty.
  const head = Buffer.from(text.slice(0, -2));
  if (accepted.view === 'table') {
    return { head, item: (entry) => Buffer.from(JSON.stringify((tableOf(endpoint, [objectOf(endpoint, entry)], { metadata: {}, options: view, withoutHeaders: true })['rows'] as unknown[])[0])) };
  }
  return { head, item: (entry) => Buffer.from(JSON.stringify(metadataOf(objectOf(endpoint, entry), accepted.viewVersion))) };
}

/** Items of a built-in list do not say what they are, in upstream's bytes; each from behind its opening brace on. */
function untypedItem(endpoint: StoredEndpoint): (entry: CacheEntry) => Buffer {
  const { served: { kind }, apiVersion } = endpoint;
  const from = Buffer.byteLength(`{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)},`);
  if (endpoint.isStorageVersion) return (entry) => entry.bytes.subarray(from);
  return (entry) => Buffer.from(JSON.stringify(withoutType(inVersion(endpoint, objectOf(endpoint, entry)))).slice(1));
}

function withoutType({ kind: _, apiVersion: __, ...rest }: KubeObject): KubeObject {
  return rest;
}

async function protobufList(endpoint: StoredEndpoint, { entries, metadata }: Rendered): Promise<ApiResponse> {
  const { schema, gvk, served } = endpoint;
  const listMeta = schemaForKind({ ...gvk, kind: `${served.kind}List` })?.byName.get('metadata')?.value;
  if (!schema || listMeta?.kind !== 'object') throw statusErrors.notAcceptable([MEDIA_TYPES.json, MEDIA_TYPES.yaml]);
  const items: Buffer[] = [];
  await inSlices(entries, (entry) => void items.push(encodeMessage(inVersion(endpoint, objectOf(endpoint, entry)), schema)));
  const body = encodeList({ apiVersion: apiVersionOf(gvk), kind: `${served.kind}List`, metadata: encodeMessage(metadata as Record<string, unknown>, listMeta.type()), items });
  return { status: 200, headers: { 'content-type': MEDIA_TYPES.protobuf, 'cache-control': 'no-cache, private' }, body };
}
