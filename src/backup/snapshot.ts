/**
 * A snapshot: every object of a store at one revision, page by page, while others write. As a stream of frames it passes from a running API server to the
 * process that makes the backup; a stream without its last frame is refused.
 *
 *   frame: bytes of the head (4) · bytes of the value (4) · head as JSON · value        the first has {cluster, revision, store}, the last {end, objects} or {error}
 */
import { setImmediate as turn } from 'node:timers/promises';
import { StoreError, type Store } from '#storage/store.ts';
import { BackupError } from './errors.ts';
import { ROOT, type BackupRecord } from './format.ts';

/** A page, of small objects and of large ones: it is in memory a few times, and holds up other requests while it is read. */
const PAGE = 200;
const PAGE_BYTES = 512 * 1024;
/** Keys of running servers, which expire with them: not part of the cluster's state. */
const PASSING = /^\/registry\/(masterleases\/|peerserverleases\/|capstan\.)/;
/** Whether it is a key of running servers. */
export function isPassing(key: string): boolean {
  return PASSING.test(key);
}

/** The only objects with a time to live, by upstream and here. */
const EXPIRING = /^\/registry\/events\//;
/** Questions for what is left of an event's life that are in flight. */
const ASKING = 32;
const MAX_FRAME_BYTES = 8 * 1024 * 1024;
const KUBE_SYSTEM = '/registry/namespaces/kube-system';

export interface Snapshot {
  readonly cluster: string;
  readonly revision: number;
  /** 'embedded' or 'etcd'. */
  readonly store: string;
  /** Values in the server's JSON. In the order of keys. */
  readonly records: AsyncIterable<readonly BackupRecord[]>;
}

/** store: as the API server sees it. Rejects with StoreError 'compacted' where it takes longer than history is kept: take another one. */
export async function takeSnapshot(store: Store): Promise<Snapshot> {
  const first = await store.list(ROOT, { limit: PAGE, maxBytes: PAGE_BYTES });
  const { revision } = first;
  const cluster = await clusterUID(store, revision);
  return {
    cluster,
    revision,
    store: store.newestRevision ? 'etcd' : 'embedded',
    records: pagesOf(store, first),
  };
}

/** UID of Namespace kube-system. Rejects with BackupError 'missing' where no API server has run on the store yet. */
export async function clusterUID(store: Store, revision?: number): Promise<string> {
  const found = await store.get(KUBE_SYSTEM, revision === undefined ? {} : { revision });
  const { metadata } = JSON.parse(found?.value.toString() || '{}') as { metadata?: { uid?: string } };
  if (metadata?.uid) return metadata.uid;
  throw new BackupError('missing', 'the store has no Namespace kube-system: no API server has run on it yet');
}

async function* pagesOf(
  store: Store,
  first: Awaited<ReturnType<Store['list']>>,
): AsyncGenerator<readonly BackupRecord[], void, void> {
  for (let page = first; ;) {
    const kept = page.items.filter(({ key }) => !isPassing(key));
    const unreadable = kept.find((one) => one.unreadable !== undefined);
    if (unreadable)
      throw new BackupError('damaged', `${unreadable.key} cannot be read: ${unreadable.unreadable}`);
    yield await withLives(store, kept);
    if (!page.more) return;
    // Others first.
    await turn();
    page = await store.list(ROOT, {
      limit: PAGE,
      maxBytes: PAGE_BYTES,
      startKey: `${page.items.at(-1)!.key}\0`,
      revision: first.revision,
    });
  }
}

async function withLives(store: Store, items: readonly BackupRecord[]): Promise<readonly BackupRecord[]> {
  const records: BackupRecord[] = items.map(({ key, value, modRevision, createRevision }) => ({
    key,
    value,
    modRevision,
    createRevision,
  }));
  const expiring = records.flatMap(({ key }, i) => (EXPIRING.test(key) ? [i] : []));
  for (let at = 0; at < expiring.length; at += ASKING)
    await Promise.all(
      expiring.slice(at, at + ASKING).map(async (i) => {
        // One that has expired meanwhile is at its end.
        const ttlSeconds = (await store.ttlSeconds?.(records[i]!.key)) ?? 1;
        records[i] = { ...records[i]!, ttlSeconds };
      }),
    );
  return records;
}

interface FirstFrame {
  readonly cluster: string;
  readonly revision: number;
  readonly store: string;
}
type LastFrame =
  | { readonly end: true; readonly objects: number }
  | { readonly error: string; readonly code?: string };

export async function* encodeSnapshot({ records, ...head }: Snapshot): AsyncGenerator<Buffer, void, void> {
  const first: FirstFrame = head;
  yield frame(first);
  let objects = 0;
  try {
    for await (const batch of records) {
      objects += batch.length;
      if (batch.length > 0) yield Buffer.concat(batch.map(({ value, ...rest }) => frame(rest, value)));
    }
  } catch (error) {
    yield frame(errorFrame(error));
    return;
  }
  const last: LastFrame = { end: true, objects };
  yield frame(last);
}

/** In place of a snapshot that could not begin. */
export function errorFrame(error: unknown): LastFrame {
  const code = error instanceof StoreError || error instanceof BackupError ? error.code : undefined;
  return { error: error instanceof Error ? error.message : String(error), ...(code && { code }) };
}

export function frame(head: object, value: Buffer = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(JSON.stringify(head));
  const sizes = Buffer.alloc(8);
  sizes.writeUInt32BE(json.length, 0);
  sizes.writeUInt32BE(value.length, 4);
  return Buffer.concat([sizes, json, value]);
}

/** Rejects with a BackupError 'damaged' for a stream that was cut, and with the StoreError of the other side. */
export async function decodeSnapshot(source: AsyncIterable<Uint8Array>): Promise<Snapshot> {
  const frames = readFrames(source);
  const first = await frames.next();
  if (first.done) throw cut();
  const head = first.value.head as unknown as FirstFrame & LastFrame;
  if ('error' in head) throw theirs(head);
  return { cluster: head.cluster, revision: head.revision, store: head.store, records: recordsOf(frames) };
}

async function* recordsOf(
  frames: AsyncGenerator<Frame, void, void>,
): AsyncGenerator<readonly BackupRecord[], void, void> {
  let objects = 0;
  let batch: BackupRecord[] = [];
  let bytes = 0;
  for await (const { head, value } of frames) {
    if ('error' in head) throw theirs(head as { error: string; code?: string });
    if ('end' in head) {
      yield batch;
      if (head['objects'] !== objects) throw cut();
      return;
    }
    objects++;
    batch.push({ ...(head as unknown as Omit<BackupRecord, 'value'>), value });
    bytes += value.length;
    if (batch.length < PAGE && bytes < PAGE_BYTES) continue;
    yield batch;
    [batch, bytes] = [[], 0];
  }
  throw cut();
}

interface Frame {
  readonly head: Record<string, unknown>;
  readonly value: Buffer;
}

async function* readFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Frame, void, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest =
      rest.length === 0
        ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
        : Buffer.concat([rest, chunk]);
    while (rest.length >= 8) {
      const headBytes = rest.readUInt32BE(0);
      const size = 8 + headBytes + rest.readUInt32BE(4);
      if (size > MAX_FRAME_BYTES)
        throw new BackupError('damaged', `a frame of the snapshot has ${size} bytes`);
      if (rest.length < size) break;
      const head = JSON.parse(rest.toString('utf8', 8, 8 + headBytes)) as Frame['head'];
      yield { head, value: rest.subarray(8 + headBytes, size) };
      rest = rest.subarray(size);
    }
  }
}

function theirs({ error, code }: { readonly error: string; readonly code?: string }): Error {
  return code === 'compacted' ? new StoreError('compacted', error) : new BackupError('unavailable', error);
}

function cut(): BackupError {
  return new BackupError(
    'damaged',
    'the snapshot ended in the middle: the API server or the connection went away',
  );
}
