/**
 * The typed client every component uses: verbs on resources over a Transport, and informers (shared caches kept by list + watch).
 * Errors are StatusError from #machinery/errors.ts with the server's Status. Follows client-go's behaviour, not its API.
 */
import type { KubeList, KubeObject, Stored } from '#machinery/object.ts';
import type { Transport } from './transport.ts';

/** Identifies a resource and its TypeScript type: `const pods: ResourceRef<Pod> = { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true }`. */
export interface ResourceRef<T extends KubeObject = KubeObject> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Only for the type, never set. */
  readonly _type?: T;
}

export interface ObjectName {
  readonly name: string;
  readonly namespace?: string | undefined;
}

export interface SelectOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

export type PatchType = 'json' | 'merge' | 'strategic' | 'apply';

export interface Client {
  readonly transport: Transport;
  get<T extends KubeObject>(ref: ResourceRef<T>, name: ObjectName): Promise<Stored<T>>;
  list<T extends KubeObject>(
    ref: ResourceRef<T>,
    options?: SelectOptions & { limit?: number | undefined; continue?: string; resourceVersion?: string },
  ): Promise<KubeList<Stored<T>>>;
  /** As list, but of metadata only: the items are PartialObjectMetadata. For code that handles objects of any kind. */
  listMetadata(
    ref: ResourceRef,
    options?: SelectOptions & { limit?: number; continue?: string },
  ): Promise<KubeList<Stored>>;
  /** The namespace is that of the object. */
  create<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>>;
  update<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>>;
  updateStatus<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>>;
  /** GET of a subresource ('scale'). */
  getSubresource<T extends KubeObject>(
    ref: ResourceRef,
    name: ObjectName,
    subresource: string,
  ): Promise<Stored<T>>;
  /** PUT to a subresource that accepts the whole object ('approval'). */
  updateSubresource<T extends KubeObject>(
    ref: ResourceRef<T>,
    object: T,
    subresource: string,
  ): Promise<Stored<T>>;
  patch<T extends KubeObject>(
    ref: ResourceRef<T>,
    name: ObjectName,
    options: {
      type: PatchType;
      patch: unknown;
      subresource?: string;
      fieldManager?: string;
      force?: boolean;
    },
  ): Promise<Stored<T>>;
  delete(ref: ResourceRef, name: ObjectName, options?: DeleteOptions): Promise<void>;
  deleteCollection(ref: ResourceRef, options: SelectOptions & DeleteOptions): Promise<void>;
  /** POST to a subresource ('binding', 'token', 'eviction'); returns the server's response. maxRetries: of this request; default the client's. */
  createSubresource(
    ref: ResourceRef,
    name: ObjectName,
    options: { subresource: string; body: KubeObject; maxRetries?: number },
  ): Promise<KubeObject>;
  /** One watch; ends when the server closes it, throws StatusError (410 Gone) for an ERROR event. Informers are built on it. */
  watch<T extends KubeObject>(
    ref: ResourceRef<T>,
    options: SelectOptions & {
      resourceVersion: string;
      signal: AbortSignal;
      allowWatchBookmarks?: boolean;
      timeoutSeconds?: number;
    },
  ): AsyncIterable<WatchEvent<T>>;
  /** The same reference and options return the same shared informer within one Client. It starts at once; it stops with close(). */
  informer<T extends KubeObject>(ref: ResourceRef<T>, options?: SelectOptions): Informer<T>;
  /** A client of the same server whose requests go through `wrap(transport)`. It has this client's informers, and its close() closes this client. */
  over(wrap: (transport: Transport) => Transport): Client;
  close(): Promise<void>;
}

export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

export interface InformerHandler<T> {
  added?(object: T): void;
  updated?(object: T, previous: T): void;
  deleted?(object: T): void;
}

/** A cache of one resource. Its objects are shared: never change them, copy first (structuredClone). */
export interface Informer<T extends KubeObject> {
  /** Resolves when the first list is in the cache and was passed to handlers. */
  synced(signal?: AbortSignal): Promise<void>;
  readonly hasSynced: boolean;
  /** The cache holds everything up to this resourceVersion; '' before the first list. */
  readonly lastSyncResourceVersion: string;
  /** key: 'namespace/name' or 'name'. */
  get(key: string): Stored<T> | undefined;
  list(): Stored<T>[];
  listNamespace(namespace: string): Stored<T>[];
  /** Declare an index once, then read it: values(object) returns the object's index values. */
  addIndex(name: string, values: (object: Stored<T>) => readonly string[]): void;
  byIndex(name: string, value: string): Stored<T>[];
  /** Existing objects are replayed as added. Returns an unsubscribe function. Called in order, synchronously. */
  subscribe(handler: InformerHandler<Stored<T>>): () => void;
}
