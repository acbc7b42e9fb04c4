/**
 * One write on its way from the handler through admission and the resource's hooks to the store.
 * Admission plugins see it as AdmissionAttributes, hooks of resources as HookContext; nothing is copied between them.
 *
 *   handler: new WriteRequest(…) ─► RegistryStore.create | update | delete ─► begin() once for each attempt ─► admission, hooks, store
 */
import type {
  GroupVersionKind,
  GroupVersionResource,
  KubeObject,
  Stored,
  UserInfo,
} from '#machinery/object.ts';
import type { HookContext } from '#resources/define.ts';
import type { AdmissionAttributes, AdmissionOperation, Annotate } from '../admission/plugin.ts';
import type { Reinvocation } from '../admission/reinvocation.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { Endpoint } from './endpoints.ts';
import type { InternalApi } from './loopback-client.ts';

export type StoredEndpoint = Endpoint & { readonly cache: ResourceCache };

/** '' where there is none: cluster-scoped kinds, creates without a name in the path. */
export interface Target {
  readonly namespace: string;
  readonly name: string;
}

interface WriteOptions {
  readonly endpoint: Pick<Endpoint, 'gvr' | 'gvk' | 'resource'>;
  readonly target: Target;
  readonly user: UserInfo;
  /** Who acts as the user. */
  readonly impersonator?: string | undefined;
  readonly internal: InternalApi;
  readonly dryRun?: boolean;
  /** False for the server's own writes, and where another body was admitted. Default true. */
  readonly admitted?: boolean;
  readonly subresource?: string;
  /** The owner of changed fields. Default 'unknown'. */
  readonly manager?: string;
  /** The verb's options as JSON. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly warn?: (message: string) => void;
  readonly annotate?: Annotate | undefined;
  readonly timeoutMs?: number | undefined;
  readonly onAbort?: AdmissionAttributes['onAbort'];
}

/** What one attempt of a write is about. */
interface Attempt {
  readonly operation: AdmissionOperation;
  readonly nowMs: number;
  readonly object: KubeObject | undefined;
  readonly oldObject: KubeObject | undefined;
  /** Default: the endpoint's kind. */
  readonly gvk?: GroupVersionKind | undefined;
  /** Default: the target's name. */
  readonly name?: string | undefined;
}

export class WriteRequest implements AdmissionAttributes, HookContext {
  readonly target: Target;
  readonly gvr: GroupVersionResource;
  readonly namespace: string;
  readonly user: UserInfo;
  readonly impersonator: string | undefined;
  readonly internal: InternalApi;
  readonly dryRun: boolean;
  readonly admitted: boolean;
  readonly subresource: string;
  readonly manager: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly warn: (message: string) => void;
  readonly annotate: Annotate | undefined;
  readonly timeoutMs: number | undefined;
  readonly onAbort: AdmissionAttributes['onAbort'];
  readonly find: HookContext['find'];
  readonly features: HookContext['features'];
  readonly #write: WriteOptions;

  operation: AdmissionOperation = 'CREATE';
  nowMs = 0;
  gvk: GroupVersionKind;
  name: string;
  object: KubeObject | undefined;
  oldObject: KubeObject | undefined;
  reinvocation: Reinvocation | undefined;
  /** The store was asked to write it. */
  isDecided = false;

  constructor(write: WriteOptions) {
    const { endpoint, target } = write;
    this.#write = write;
    this.target = target;
    this.gvr = endpoint.gvr;
    this.gvk = endpoint.gvk;
    this.name = target.name;
    this.namespace = endpoint.resource.behaviour.isNamespace ? target.name : target.namespace;
    this.user = write.user;
    this.impersonator = write.impersonator;
    this.internal = write.internal;
    this.dryRun = write.dryRun ?? false;
    this.admitted = write.admitted ?? true;
    this.subresource = write.subresource ?? '';
    this.manager = write.manager ?? 'unknown';
    this.options = write.options ?? {};
    this.warn = write.warn ?? ignore;
    this.annotate = write.annotate;
    this.timeoutMs = write.timeoutMs;
    this.onAbort = write.onAbort;
    this.find = write.internal.get;
    this.features = write.internal.features;
  }

  /** Sets the object of an attempt. Called again for a retry after a conflict. */
  begin({ operation, nowMs, object, oldObject, gvk, name }: Attempt): void {
    this.operation = operation;
    this.nowMs = nowMs;
    this.object = object;
    this.oldObject = oldObject;
    this.gvk = gvk ?? this.#write.endpoint.gvk;
    this.name = name ?? this.target.name;
    this.reinvocation = undefined;
  }

  /** The same write of another object, or by another way. */
  with(changes: Partial<WriteOptions>): WriteRequest {
    return new WriteRequest({ ...this.#write, ...changes });
  }
}

function ignore(): void {}

/** Another kind that shows a part of an object: a Scale. */
interface Face {
  readonly gvk: GroupVersionKind;
  /** A new object. */
  show(object: KubeObject): KubeObject;
  /** Copies the subresource's fields into the object. */
  take(object: KubeObject, face: KubeObject): void;
}

/** An update: computes the new object from the stored one. */
export interface Change {
  /**
   * Returns the new object (current is undefined when it is absent and may be created). Called again after a conflict;
   * must return a fresh object each time and not mutate the current one.
   */
  change(current: Stored | undefined): KubeObject | Promise<KubeObject>;
  /** In place of the resource's preparation and validation: for subresources that change one part. */
  readonly prepare?: ((next: KubeObject, previous: KubeObject, context: HookContext) => void) | undefined;
  /** What admission sees in place of the whole object, and may change. */
  readonly face?: Face;
  /** false: the change cannot make the object invalid. Metadata is checked all the same. */
  readonly validate?: false | undefined;
  readonly mayCreate?: boolean;
  /** A conflict with a resourceVersion in the new object is the client's; otherwise the change is tried again. */
  readonly mustHaveResourceVersion?: boolean;
  /** The object was made from the stored one: its uid is validated rather than a precondition. */
  readonly patches?: true;
  /** A change of nothing but the times in managedFields is not written. */
  readonly ignoresTimes?: true;
  /** managedFields stay as change() made them: server-side apply, and binding, which upstream does not record. */
  readonly applied?: boolean;
}
