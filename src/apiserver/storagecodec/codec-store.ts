/**
 * The Store of an API server on etcd: stores objects in upstream's encoding and returns them in the server's own. It wraps encryption at rest, so
 * that the plaintext equals upstream's. The embedded store keeps the server's JSON and does not use this codec.
 *
 *   API server ──JSON──► CodecStore ──protobuf or JSON──► EncryptedStore ──► etcd
 *              ◄──the writer's own JSON, without decoding── event with the bytes of a put in flight ◄──┘
 */
import type { MajorMinor } from '#machinery/effective-version.ts';
import type { KubeObject } from '#machinery/object.ts';
import { storedResource } from '#resources/stored-resource.ts';
import {
  StoreError,
  type DeleteOptions,
  type GetOptions,
  type ListOptions,
  type ListResult,
  type PutOptions,
  type Revision,
  type Store,
  type StoredValue,
  type StoreEvent,
  type StoreStats,
  type StoreWatch,
  type WatchOptions,
} from '#storage/store.ts';
import { codecOf, KindCodec, StoredFormError, type ObjectCodec } from './object-codec.ts';

const NOTHING = Buffer.alloc(0);
/** Objects that are decoded in one go: others run between two. */
const SLICE = 256;

export class CodecStore implements Store {
  readonly #store: Store;
  readonly #codecs: Codecs;
  /** Stored bytes → the server's JSON of puts in flight, where decoding would return the same. */
  readonly #ours = new Map<Buffer, Buffer>();
  readonly newestRevision?: () => Promise<Revision>;
  readonly ttlSeconds?: (key: string) => Promise<number | undefined>;

  /** minCompatibility: of the server, which decides the versions in which it stores. Default: upstream's without flags. */
  constructor(store: Store, minCompatibility?: MajorMinor) {
    this.#store = store;
    this.#codecs = minCompatibility ? new Codecs(minCompatibility) : USUAL;
    if (store.newestRevision) this.newestRevision = () => store.newestRevision!();
    if (store.ttlSeconds) this.ttlSeconds = (key) => store.ttlSeconds!(key);
  }

  get revision(): Revision {
    return this.#store.revision;
  }
  get compactedRevision(): Revision {
    return this.#store.compactedRevision;
  }

  async get(key: string, options?: GetOptions): Promise<StoredValue | undefined> {
    const stored = await this.#store.get(key, options);
    return stored && decoded(stored);
  }

  async list(prefix: string, options?: ListOptions): Promise<ListResult> {
    const { items: stored, ...rest } = await this.#store.list(prefix, options);
    if (options?.keysOnly) return { ...rest, items: stored };
    const items: StoredValue[] = [];
    for (const item of stored) {
      items.push(decoded(item));
      if (items.length % SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return { ...rest, items };
  }

  async put(key: string, value: Buffer, options?: PutOptions): Promise<StoredValue> {
    const encoded = this.#encode(key, value, options?.decoded as KubeObject | undefined);
    try {
      return { ...(await this.#store.put(key, encoded, options)), value };
    } catch (error) {
      throw decodedConflict(error);
    } finally {
      this.#ours.delete(encoded);
    }
  }

  #encode(key: string, value: Buffer, object: KubeObject | undefined): Buffer {
    const codec = this.#codecs.at(key);
    if (!object) return codec.encode(value);
    const { bytes, isFaithful } = codec.encodeObject(object, value);
    if (isFaithful) this.#ours.set(bytes, value);
    return bytes;
  }

  async delete(
    key: string,
    options?: DeleteOptions,
  ): Promise<{ readonly revision: Revision; readonly previous: StoredValue }> {
    try {
      const { revision, previous } = await this.#store.delete(key, options);
      return { revision, previous: decoded(previous) };
    } catch (error) {
      throw decodedConflict(error);
    }
  }

  watch(options: WatchOptions): StoreWatch {
    return this.#store.watch({
      ...options,
      onEvents: (events) => options.onEvents(events.map((event) => this.#decodedEvent(event))),
    });
  }

  #decodedEvent({ previous, value, ...event }: StoreEvent): StoreEvent {
    const ours = value && this.#ours.get(value.value);
    return {
      ...event,
      ...(value && { value: ours ? { ...value, value: ours } : decoded(value) }),
      ...(previous && { previous: new LateValue(previous) }),
    };
  }

  async reveal(stored: StoredValue): Promise<StoredValue> {
    return decoded((await this.#store.reveal?.(stored)) ?? stored);
  }

  compact(revision: Revision): Promise<void> {
    return this.#store.compact(revision);
  }

  async isStale(key: string): Promise<boolean> {
    if (await this.#store.isStale?.(key)) return true;
    const stored = await this.#store.get(key);
    return (
      stored !== undefined && stored.unreadable === undefined && !this.#codecs.at(key).isCurrent(stored.value)
    );
  }

  stats(): StoreStats {
    return this.#store.stats();
  }
  close(): Promise<void> {
    return this.#store.close();
  }
}

const CUSTOM = codecOf(undefined);
const BESIDE: readonly { readonly prefix: string; readonly codec: ObjectCodec }[] = [
  { prefix: '/registry/ranges/', codec: new KindCodec('RangeAllocation') },
  { prefix: '/registry/masterleases/', codec: new KindCodec('Endpoints') },
  { prefix: '/registry/peerserverleases/', codec: new KindCodec('Endpoints') },
];

/** By prefix: few, and the same again and again. Custom resources and what is no resource share one. */
class Codecs {
  readonly #byPrefix = new Map<string, ObjectCodec>();
  readonly #minCompatibility: MajorMinor | undefined;

  constructor(minCompatibility?: MajorMinor) {
    this.#minCompatibility = minCompatibility;
  }

  at(key: string): ObjectCodec {
    const { prefix, builtin } = storedResource(key);
    if (!builtin) return BESIDE.find((one) => key.startsWith(one.prefix))?.codec ?? CUSTOM;
    let codec = this.#byPrefix.get(prefix);
    if (!codec) this.#byPrefix.set(prefix, (codec = codecOf(builtin, this.#minCompatibility)));
    return codec;
  }
}

const USUAL = new Codecs();

function codecAt(key: string): ObjectCodec {
  return USUAL.at(key);
}

/** The form that both sides of a migration agree on: as a reader of the stored bytes sees it, whichever server wrote them. */
export function canonicalAt(key: string, json: Buffer): Buffer {
  const codec = codecAt(key);
  return codec.decode(codec.encode(json));
}

/** From the server's JSON to upstream's encoding. */
export function encodeAt(key: string, json: Buffer): Buffer {
  return codecAt(key).encode(json);
}

/** From upstream's encoding to the server's JSON. Throws a StoredFormError. */
export function decodeAt(key: string, stored: Buffer): Buffer {
  return codecAt(key).decode(stored);
}

function decoded(stored: StoredValue): StoredValue {
  if (stored.unreadable !== undefined) return stored;
  try {
    return { ...stored, value: codecAt(stored.key).decode(stored.value) };
  } catch (error) {
    if (!(error instanceof StoredFormError)) throw error;
    return { ...stored, value: NOTHING, unreadable: error.message };
  }
}

/** Live watches do not look at what was there before, so that it is decoded only where it is asked for. */
class LateValue implements StoredValue {
  readonly key: string;
  readonly modRevision: Revision;
  readonly createRevision: Revision;
  readonly #stored: StoredValue;
  #read: StoredValue | undefined;

  constructor(stored: StoredValue) {
    this.#stored = stored;
    this.key = stored.key;
    this.modRevision = stored.modRevision;
    this.createRevision = stored.createRevision;
  }

  get value(): Buffer {
    return (this.#read ??= decoded(this.#stored)).value;
  }
  get unreadable(): string | undefined {
    return (this.#read ??= decoded(this.#stored)).unreadable;
  }
}

function decodedConflict(error: unknown): unknown {
  if (!(error instanceof StoreError) || !error.current) return error;
  return new StoreError(error.code, error.message, { current: decoded(error.current), cause: error });
}
