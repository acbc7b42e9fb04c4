/**
 * WATCH: a stream of changes to the selected objects. First the existing objects (unless the client resumes at a revision), written with
 * backpressure while newer events wait in a bounded backlog; then live, where each event's frame is encoded once for all watchers of the same
 * form.
 *
 *   initial --all written--> catching up --backlog empty--> live --timeout, shutdown, client gone, too slow, cache reset--> ended
 *
 * Live watchers with identical bytes share their writes: broadcast.ts.
 */
import { encodeEnvelope, encodeWatchEvent, messageOfListItem } from '#machinery/codec/protobuf.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import { refuseUnreadableBelow } from '../watchcache/unreadable.ts';
import type { CacheEvent, Change } from '../watchcache/events.ts';
import type { CacheListener } from '../watchcache/resource-cache.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import { encodeObject } from '../http/codecs.ts';
import type { ApiResponse, ResponseSink } from '../http/request.ts';
import type { RequestLabels, WatchSeries } from '../nonresource/metrics.ts';
import { MEDIA_TYPES, STREAM_TYPES } from '../http/negotiation.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { label } from '#stdx/instruments.ts';
import { computeLabels } from '../nonresource/request-labels.ts';
import { statusOf } from '../http/response.ts';
import {
  inVersion,
  jsonBytes,
  partialMetadata,
  objectOf,
  protobufItem,
  storedOf,
  tableOf,
  versionOf,
  viewOptions,
  type ViewOptions,
} from '../registry/transform.ts';
import { Broadcast, type BroadcastMember } from './broadcast.ts';
import { requireRevision } from './get.ts';
import { parseWatchOptions, type WatchOptions } from '../registry/verb-options.ts';
import { createFilter, type EntryFilter } from './select.ts';

/** A client that is this far behind is cut off; it comes back and resumes from its revision, or lists. */
const MAX_BUFFERED_BYTES = 16 * 1024 * 1024;
/** Events that may wait while the initial objects are written. */
const MAX_BACKLOG_EVENTS = 10_000;
const BOOKMARK_EVERY_MS = 60_000;
/** A last bookmark is sent this long before the timeout, so that the client can resume. */
const LAST_BOOKMARK_BEFORE_MS = 2000;
const WRITE_SLICE_BYTES = 64 * 1024;
const SLICE_MS = 8;

interface WatchCall {
  readonly context: RequestContext;
  readonly core: ServerCore;
  readonly namespace: string;
  readonly name?: string;
}

export async function watch(
  endpoint: StoredEndpoint,
  { context, core, namespace, name }: WatchCall,
): Promise<ApiResponse> {
  const options = parseWatchOptions(endpoint, context.info.query);
  if (
    name !== undefined &&
    options.fieldSelector &&
    options.fieldSelector.exactValue('metadata.name') !== name
  )
    throw statusErrors.badRequest("fieldSelector metadata.name doesn't match requested name");
  const view = viewOptions(context, core.clock.now(), endpoint);
  const form = formOf(endpoint, view);
  const { cache } = endpoint;
  const exactName =
    name ??
    (namespace !== '' || !endpoint.resource.namespaced
      ? options.fieldSelector?.exactValue('metadata.name')
      : undefined);
  const keyPrefix =
    namespace === '' && exactName === undefined
      ? cache.prefix
      : cache.key({ namespace, name: exactName ?? '' });
  const watcher = new Watcher({
    endpoint,
    core,
    form,
    keyPrefix,
    filter: createFilter(endpoint, options),
    bookmarks: options.allowBookmarks,
    timeoutMs: timeoutOf(options, core.deadlines.minWatchMs),
    labels: computeLabels(context.info),
    begun: context.release,
  });
  // It holds its seat until the objects there are were written.
  context.release = undefined;
  try {
    if (options.sendInitialEvents === true) requireRevision(core, options.resourceVersion);
    await watcher.begin(options);
  } catch (error) {
    watcher.end();
    // As upstream: errors after the options were parsed are an event of the stream.
    const status = statusOf(error);
    if (!status) throw error;
    return {
      status: 200,
      headers: { 'content-type': form.contentType, 'cache-control': 'no-cache, private' },
      body: form.objectFrame('ERROR', status as unknown as KubeObject),
    };
  }
  return {
    status: 200,
    headers: { 'content-type': form.contentType, 'cache-control': 'no-cache, private' },
    body: (sink) => watcher.run(sink),
  };
}

function timeoutOf({ timeoutSeconds }: WatchOptions, minMs: number): number {
  return timeoutSeconds > 0 ? timeoutSeconds * 1000 : minMs * (1 + Math.random());
}

// ----------------------------------------------------------------------------------------------------------------- forms

/** Encodes events for one kind of client. */
interface Form {
  readonly contentType: string;
  /** Frames of the same encoding are shared; undefined = made for one watcher alone. */
  readonly encoding: string | undefined;
  frame(type: string, entry: CacheEntry): Buffer;
  objectFrame(type: string, object: KubeObject): Buffer;
  /** An object that has metadata only, in the client's view: clients read it as they read the others. */
  bookmark(object: KubeObject): KubeObject;
}

function formOf(endpoint: StoredEndpoint, view: ViewOptions): Form {
  const { accepted } = view;
  const version = endpoint.apiVersion;
  if (accepted.encoding === 'yaml') throw statusErrors.notAcceptable(STREAM_TYPES);
  const render = renderer(endpoint, view);
  const bookmark = (object: KubeObject): KubeObject => bookmarkIn(endpoint, object, view);
  if (accepted.encoding === 'protobuf') {
    const isReady =
      accepted.view === 'object' &&
      endpoint.isStorageVersion &&
      !endpoint.codec &&
      endpoint.schema !== undefined;
    const objectFrame = (type: string, object: KubeObject): Buffer =>
      delimited(encodeWatchEvent({ type, object: encodeObject(object, 'protobuf').body }));
    return {
      contentType: `${MEDIA_TYPES.protobuf};stream=watch`,
      encoding: accepted.view === 'table' ? undefined : `protobuf ${accepted.view} ${version}`,
      frame: isReady
        ? (type, entry) => delimited(encodeWatchEvent({ type, object: protobufEntry(endpoint, entry) }))
        : (type, entry) => objectFrame(type, render(entry)),
      objectFrame,
      bookmark,
    };
  }
  const objectFrame = (type: string, object: KubeObject): Buffer =>
    Buffer.from(`{"type":"${type}","object":${JSON.stringify(object)}}\n`);
  if (accepted.view === 'object')
    return {
      contentType: MEDIA_TYPES.json,
      encoding: `json ${version}`,
      frame: (type, entry) => jsonFrame(type, jsonBytes(endpoint, storedOf(endpoint, entry))),
      objectFrame,
      bookmark,
    };
  return {
    contentType: MEDIA_TYPES.json,
    encoding: accepted.view === 'table' ? undefined : `json metadata ${accepted.viewVersion}`,
    frame: (type, entry) => objectFrame(type, render(entry)),
    objectFrame,
    bookmark,
  };
}

/** A stored object in the form a single get returns, from the encoding that lists and watches share. */
function protobufEntry(endpoint: StoredEndpoint, entry: CacheEntry): Buffer {
  return encodeEnvelope({
    apiVersion: endpoint.apiVersion,
    kind: endpoint.served.kind,
    message: messageOfListItem(protobufItem(endpoint, entry)),
  });
}

function renderer(endpoint: StoredEndpoint, view: ViewOptions): (entry: CacheEntry) => KubeObject {
  const { accepted } = view;
  if (accepted.view === 'metadata' || accepted.view === 'metadata-list')
    return (entry) => partialMetadata(objectOf(endpoint, entry), accepted.viewVersion);
  if (accepted.view !== 'table') return (entry) => inVersion(endpoint, objectOf(endpoint, entry));
  let first = true;
  return (entry) => {
    const object = objectOf(endpoint, entry);
    const table = tableOf(endpoint, [object], {
      metadata: versionOf(object),
      options: { ...view, nowMs: Date.now() },
      withoutHeaders: !first,
    });
    first = false;
    return table;
  };
}

function bookmarkIn(
  endpoint: StoredEndpoint,
  object: KubeObject,
  { accepted: { view, viewVersion } }: ViewOptions,
): KubeObject {
  if (view === 'object') return object;
  const metadata = partialMetadata(object, viewVersion);
  if (view !== 'table') return metadata;
  const cells = endpoint.resource.table.columns.map(({ name, type }) =>
    name === 'Age'
      ? '<unknown>'
      : type === 'integer'
        ? 0
        : type === 'boolean'
          ? false
          : type === 'date'
            ? null
            : '',
  );
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${viewVersion}`,
    metadata: { resourceVersion: object.metadata!.resourceVersion! },
    columnDefinitions: null,
    rows: [{ cells, object: metadata }],
  };
}

const FRAME_HEADS: Readonly<Record<string, Buffer>> = Object.fromEntries(
  ['ADDED', 'MODIFIED', 'DELETED'].map((type) => [type, Buffer.from(`{"type":"${type}","object":`)]),
);

function jsonFrame(type: string, object: Buffer): Buffer {
  const head = FRAME_HEADS[type]!;
  const frame = Buffer.allocUnsafe(head.length + object.length + 2);
  head.copy(frame, 0);
  object.copy(frame, head.length);
  frame[frame.length - 2] = 0x7d;
  frame[frame.length - 1] = 0x0a;
  return frame;
}

function delimited(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(message.length + 4);
  frame.writeUInt32BE(message.length, 0);
  message.copy(frame, 4);
  return frame;
}

// --------------------------------------------------------------------------------------------------------------- watcher

interface WatcherOptions {
  readonly endpoint: StoredEndpoint;
  readonly core: ServerCore;
  readonly form: Form;
  readonly keyPrefix: string;
  readonly filter: EntryFilter | undefined;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  /** Labels of the watch's metrics while it runs. */
  readonly labels: RequestLabels;
  /** Called at least once when the stream is live or has ended. */
  readonly begun: (() => void) | undefined;
}

class Watcher implements CacheListener, BroadcastMember {
  readonly keyPrefix: string;
  readonly #options: WatcherOptions;
  readonly #matches: EntryFilter | undefined;
  #unsubscribe: (() => void) | undefined;
  /** Once live, where others see the same. */
  #broadcast: Broadcast | undefined;
  #initial: readonly CacheEntry[] = [];
  #replayed: readonly CacheEvent[] = [];
  /** Set until live. */
  #backlog: CacheEvent[] | undefined = [];
  /** Events up to here came by replay. */
  #replayedUpTo = 0;
  #announceInitialEnd = false;
  /** Monotonic start time of a watch that requested initial events. */
  #watchListBegunMs: number | undefined;
  /** By the monotonic clock. */
  #deadlineMs = 0;
  /** Set while the writer of the backlog waits for an event. */
  #wake: (() => void) | undefined;
  #pending: Buffer[] = [];
  #sink: ResponseSink | undefined;
  #ended = false;
  readonly #counts: WatchSeries;
  readonly #left: () => void;
  readonly #stop = (): void => this.end();
  readonly #timers: { cancel(): void }[] = [];

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#matches = options.filter;
    this.keyPrefix = options.keyPrefix;
    this.#counts = options.core.metrics.watchSeries(options.endpoint.gvr);
    this.#left = options.core.metrics.longRunning(options.labels);
  }

  /** Fixes the start of the stream: no later event is missed. Throws 410 when the revision was compacted. */
  async begin({ resourceVersion, sendInitialEvents }: WatchOptions): Promise<void> {
    const {
      endpoint: { cache },
      core,
    } = this.#options;
    if (core.stopping) throw statusErrors.unavailable('the server is shutting down');
    core.running.add(this.#stop);
    this.#unsubscribe = cache.subscribe(this);
    this.#replayedUpTo = core.cache.revision;
    const wantsInitial = sendInitialEvents ?? (resourceVersion === undefined || resourceVersion === 0);
    // Readers of bookmarks receive one.
    this.#announceInitialEnd = sendInitialEvents === true && this.#options.bookmarks;
    if (sendInitialEvents === true) this.#watchListBegunMs = core.clock.monotonic();
    if (wantsInitial) {
      const { keyPrefix } = this;
      refuseUnreadableBelow(cache, keyPrefix);
      this.#initial = keyPrefix.endsWith('/')
        ? cache.entries.list(keyPrefix)
        : only(cache.entries.get(keyPrefix));
      cache.initialEvents += this.#initial.length;
      return;
    }
    if (resourceVersion === undefined || resourceVersion === 0 || resourceVersion === this.#replayedUpTo)
      return;
    // The requested revision is newer than this server's, written by another server or before a restore: only later events are missing.
    if (resourceVersion > this.#replayedUpTo) return void (this.#replayedUpTo = resourceVersion);
    const found = core.cache.eventsAfter(cache, resourceVersion);
    const events = found instanceof Promise ? await found : found;
    if (!events)
      throw statusErrors.expired(`too old resource version: ${resourceVersion} (${cache.lastRevision})`);
    this.#replayed = events;
  }

  #observeWatchList(): void {
    if (this.#watchListBegunMs === undefined) return;
    const {
      core: { clock, metrics },
      labels: { group, resource, scope, version },
    } = this.#options;
    metrics.watchListSeconds.observe(
      `${label('group', group)},${label('resource', resource)},scope="${scope}",${label('version', version)}`,
      (clock.monotonic() - this.#watchListBegunMs) / 1000,
    );
  }

  run(sink: ResponseSink): void {
    this.#sink = sink;
    sink.onClose(() => this.end());
    if (this.#ended) return sink.end();
    const { core, timeoutMs, bookmarks } = this.#options;
    this.#deadlineMs = core.clock.monotonic() + timeoutMs;
    this.#timers.push(core.clock.after(timeoutMs, () => this.end()));
    if (bookmarks) this.#scheduleBookmark();
    void this.#writeBeginning();
  }

  /** Writes the objects there were and what happened meanwhile, then goes live in the tick in which nothing is left. */
  async #writeBeginning(): Promise<void> {
    try {
      const initial = this.#initial;
      this.#initial = [];
      await this.#readyFor(initial);
      await this.#writeAll(initial, (entry) =>
        this.#matches === undefined || this.#matches(entry)
          ? this.#options.form.frame('ADDED', entry)
          : undefined,
      );
      const replayed = this.#replayed.filter(({ key }) =>
        this.keyPrefix.endsWith('/') ? key.startsWith(this.keyPrefix) : key === this.keyPrefix,
      );
      this.#replayed = [];
      await this.#readyFor(replayed.flatMap(listEntries));
      await this.#writeAll(replayed, (event) => this.#frameOf(event));
      if (this.#announceInitialEnd) this.#sink!.write(this.#bookmark(true));
      this.#observeWatchList();
      this.#options.begun?.();
      for (let backlog = this.#backlog; backlog !== undefined; backlog = this.#backlog) {
        if (backlog.length === 0) {
          // Where conversions take time the events pass through the backlog for good.
          if (!this.#options.endpoint.codec?.waits) break;
          await this.#nextEvent();
          continue;
        }
        this.#backlog = [];
        await this.#readyFor(backlog.flatMap(listEntries));
        await this.#writeAll(backlog, (event) => this.#frameOf(event));
      }
      this.#goLive();
    } catch (error) {
      this.#options.core.log.error('a watch failed', {
        resource: this.#options.endpoint.resource.plural,
        error: error instanceof Error ? error.message : String(error),
      });
      this.end();
    }
  }

  /** In the tick in which nothing is left to be written: alone, or together with all who see the same. */
  #goLive(): void {
    this.#backlog = undefined;
    const {
        endpoint: { cache },
        core,
        form,
      } = this.#options,
      counts = this.#counts;
    if (
      this.#ended ||
      this.#matches ||
      form.encoding === undefined ||
      this.#replayedUpTo > core.cache.revision
    )
      return;
    this.#unsubscribe?.();
    const broadcast = Broadcast.join(this, {
      cache,
      keyPrefix: this.keyPrefix,
      form: {
        encoding: form.encoding,
        frame: (type, entry) => form.frame(type, entry),
        sent: (bytes, watchers) => count(counts, bytes, watchers),
      },
      clock: core.clock,
    });
    this.#broadcast = broadcast;
    this.#unsubscribe = () => broadcast.leave(this);
  }

  async #readyFor(entries: readonly CacheEntry[]): Promise<void> {
    const { codec } = this.#options.endpoint;
    if (codec?.waits) await codec.ready(entries);
  }

  #nextEvent(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  async #writeAll<T>(items: readonly T[], frameOf: (item: T) => Buffer | undefined): Promise<void> {
    const sink = this.#sink!;
    let frames: Buffer[] = [];
    let size = 0;
    let sliceEnd = performance.now() + SLICE_MS;
    for (const item of items) {
      if (this.#ended) return;
      const frame = frameOf(item);
      if (frame) {
        count(this.#counts, frame.length, 1);
        frames.push(frame);
        size += frame.length;
      }
      const late = performance.now() > sliceEnd;
      if (size < WRITE_SLICE_BYTES && !late) continue;
      if (size > 0 && !sink.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames, size)))
        await sink.drained();
      else if (late) await new Promise((resolve) => setImmediate(resolve));
      frames = [];
      size = 0;
      if (late) sliceEnd = performance.now() + SLICE_MS;
    }
    if (size > 0 && !this.#ended) sink.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames, size));
  }

  #frameOf(event: CacheEvent): Buffer | undefined {
    const change: Change | undefined = event.changeFor(this.#matches);
    if (!change) return undefined;
    const { form } = this.#options;
    if (form.encoding === undefined) return form.frame(change.type, change.entry);
    return event.frame(change.type, form.encoding, () => form.frame(change.type, change.entry));
  }

  deliver(event: CacheEvent): void {
    if (this.#ended || event.revision <= this.#replayedUpTo) return;
    if (this.#backlog) {
      this.#backlog.push(event);
      this.#wake?.();
      if (this.#backlog.length > MAX_BACKLOG_EVENTS) this.#cut('its backlog is full');
      return;
    }
    const frame = this.#frameOf(event);
    if (!frame) return;
    count(this.#counts, frame.length, 1);
    this.#pending.push(frame);
  }

  flush(): void {
    const pending = this.#pending;
    if (pending.length === 0 || this.#ended) return;
    this.#pending = [];
    this.write(pending.length === 1 ? pending[0]! : Buffer.concat(pending));
  }

  write(frames: Buffer): void {
    if (this.#ended) return;
    const sink = this.#sink!;
    sink.write(frames);
    if (sink.bufferedBytes > MAX_BUFFERED_BYTES) this.#cut('it reads too slowly');
  }

  reset(): void {
    this.end();
  }

  #cut(why: string): void {
    this.#counts.cutOff.value++;
    this.#options.core.log.warn('ended a watch', { resource: this.#options.endpoint.resource.plural, why });
    this.end();
  }

  #scheduleBookmark(): void {
    const { clock } = this.#options.core;
    const untilLastMs = this.#deadlineMs - LAST_BOOKMARK_BEFORE_MS - clock.monotonic();
    const timer = clock.after(
      untilLastMs > 0 ? Math.min(untilLastMs, BOOKMARK_EVERY_MS) : BOOKMARK_EVERY_MS,
      () => {
        if (this.#ended) return;
        // Waiting for an event, everything before it is written.
        if (!this.#backlog || this.#wake) {
          this.#broadcast?.writeWaiting();
          this.#sink!.write(this.#bookmark(false));
        }
        this.#timers.splice(this.#timers.indexOf(timer), 1);
        this.#scheduleBookmark();
      },
    );
    this.#timers.push(timer);
  }

  /** Sends a bookmark with the revision up to which the client has seen every event. */
  #bookmark(isInitialEnd: boolean): Buffer {
    const { endpoint, core, form } = this.#options;
    const resourceVersion = String(
      isInitialEnd ? this.#replayedUpTo : Math.max(core.cache.revision, this.#replayedUpTo),
    );
    const metadata = {
      resourceVersion,
      ...(isInitialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
    };
    return form.objectFrame(
      'BOOKMARK',
      form.bookmark({ kind: endpoint.served.kind, apiVersion: endpoint.apiVersion, metadata }),
    );
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#left();
    this.#unsubscribe?.();
    this.#options.begun?.();
    this.#options.core.running.delete(this.#stop);
    for (const timer of this.#timers) timer.cancel();
    this.#pending = [];
    this.#backlog = undefined;
    this.#wake?.();
    this.#sink?.end();
  }
}

function count({ events, bytes }: WatchSeries, size: number, watchers: number): void {
  events.value += watchers;
  bytes.observe(size, watchers);
}

/** Inputs for encoding an event's frame. */
function listEntries(event: CacheEvent): CacheEntry[] {
  return [event.current, event.previous, event.previous && event.departed].filter(
    (entry) => entry !== undefined,
  );
}

function only(entry: CacheEntry | undefined): CacheEntry[] {
  return entry ? [entry] : [];
}
