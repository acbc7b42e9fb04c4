/**
 * The API server's in-process access to its own objects, used by authorization (RBAC's cache), admission plugins and bootstrap. Reads are synchronous
 * from the watch cache, which is never behind a write that this server acknowledged. Writes take the ordinary path (defaulting, validation, storage) as user
 * system:apiserver, without authorization and admission.
 * Objects are JSON data of the storage version; those returned by reads and watches are shared: copy before a mutation.
 */
import type { KubeObject, Stored } from '#machinery/object.ts';

export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}
export interface InternalName {
  readonly name: string;
  /** Absent or '' for cluster-scoped resources. */ readonly namespace?: string | undefined;
}

export interface InternalWatchHandler {
  /** Also called, synchronously and before watch() returns, for every existing object. */
  added(object: Stored): void;
  updated(object: Stored, previous: Stored | undefined): void;
  /** object: the last state. */
  deleted(object: Stored): void;
}

export interface InternalApi {
  /** Feature gates that are on. Absent: none. */
  readonly features?: ReadonlySet<string> | undefined;
  /** Resolves when reads see everything that any server acknowledged before. Undefined: they do, as no other server writes to the store. */
  caughtUp(): Promise<void> | undefined;
  get(resource: GroupResource, name: InternalName): Stored | undefined;
  /** In key order; namespace absent or '' = all. Parses every object: for small resources or one namespace, not for hot paths over pods. */
  list(resource: GroupResource, options?: { readonly namespace?: string | undefined }): Stored[];
  /** How many objects there are, without parsing them. */
  count(resource: GroupResource, options?: { readonly namespace?: string | undefined }): number;
  /** Called synchronously as events commit, in order, before the writers' responses. Must not throw. Returns an unsubscribe function. */
  watch(resource: GroupResource, handler: InternalWatchHandler): () => void;
  /** Throws StatusError AlreadyExists, Invalid, … Returns the stored object. */
  create(resource: GroupResource, object: KubeObject): Promise<Stored>;
  /** The object's resourceVersion, when set, is a precondition (Conflict). */
  update(
    resource: GroupResource,
    object: KubeObject,
    options?: { readonly subresource?: 'status' },
  ): Promise<Stored>;
  /** Reads, lets change() mutate a copy (return false = no change), writes, and retries on conflict. Throws NotFound. */
  modify(
    resource: GroupResource,
    name: InternalName,
    change: (object: Stored) => boolean | void,
    options?: ModifyOptions,
  ): Promise<Stored>;
  /** uid: a precondition (Conflict). */
  delete(
    resource: GroupResource,
    name: InternalName,
    preconditions?: { readonly uid?: string | undefined },
  ): Promise<void>;
}

export interface ModifyOptions {
  readonly subresource?: 'status';
  /** For objects that must be written even where they are invalid already. */
  readonly unvalidated?: boolean;
}
