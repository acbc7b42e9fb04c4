/**
 * The record of one resource: all the API server needs to know to serve it. URL = file: /apis/apps/v1/deployments is
 * resources/apps/deployments.ts. Discovery, OpenAPI, tables, selectors and RBAC verbs derive from the record;
 * names, versions, verbs, short names and subresources come from the generated discovery facts (#api/resources.ts), so a
 * record only states behaviour. registry.ts lists every record explicitly.
 *
 * Hooks see plain JSON objects of the STORAGE version. All hooks are synchronous and pure except that prepare* and default*
 * may change the object given as first argument in place, and that validation may look at other objects by context.find. Order on create: decode → default → prepareForCreate → admission
 * (mutating) → default again → validate → admission (validating) → store. On update: … prepareForUpdate → validateUpdate.
 */
import type { WrittenFields } from '#machinery/apply/written-fields.ts';
import type { FieldError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';

export interface HookContext {
  readonly user: UserInfo;
  readonly nowMs: number;
  readonly dryRun: boolean;
  /** Of the request, for what only preparing sees: 'warnings' is the usual place. */
  readonly warn: (message: string) => void;
  /** Another stored object, as it is now; shared, never changed. For the few checks that need more than the object itself. */
  readonly find: (
    resource: { readonly group: string; readonly resource: string },
    name: { readonly name: string; readonly namespace?: string },
  ) => KubeObject | undefined;
  /** Set for writes to a subresource: 'status', 'scale', 'ephemeralcontainers', 'resize', … */
  readonly subresource?: string;
}

export type TableCell = string | number | boolean | null;

export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  readonly format?: string;
  readonly description: string;
  /** 0 = always shown, 1 = with -o wide. */
  readonly priority?: number;
}

/** What `kubectl get` shows, upstream's printer columns. A cell of a point in time is rendered by the hook as an age ('5d') from nowMs. */
export interface TableDefinition<T extends KubeObject> {
  readonly columns: readonly TableColumn[];
  row(object: T, context: { readonly nowMs: number }): TableCell[];
}

interface StatusSubresource<T extends KubeObject> {
  /** Default: take the stored object, with metadata and status of the new one as upstream's strategies do (spec and labels/annotations kept). */
  readonly prepareForUpdate?: (next: T, previous: T, context: HookContext) => void;
  readonly validateUpdate?: (next: T, previous: T, context: HookContext) => FieldError[];
}

/** Where autoscaling/v1 Scale reads and writes on the object. */
export interface ScaleSubresource<T extends KubeObject> {
  readonly get: (object: T) => {
    readonly specReplicas: number;
    readonly statusReplicas: number;
    readonly selector: string;
  };
  readonly setReplicas: (object: T, replicas: number) => void;
  /** Where the count is, for those who own it. Default ['spec', 'replicas']. */
  readonly replicasPath?: readonly string[];
}

export interface ResourceBehaviour<T extends KubeObject = KubeObject> {
  readonly group: string;
  /** Plural name, as in the URL. Must exist in the generated discovery facts (asserted). */
  readonly plural: string;
  /** Fill absent fields with upstream's defaults for this kind (idempotent). Also applied to what is read from the store. */
  readonly applyDefaults?: (object: T) => void;
  /** Reset what clients may not set (status…), set generation etc. Default: drop status when a status subresource exists, generation = 1 for kinds with spec. */
  readonly prepareForCreate?: (object: T, context: HookContext) => void;
  /** Default: keep the stored status when a status subresource exists, bump generation when spec changed. */
  readonly prepareForUpdate?: (next: T, previous: T, context: HookContext) => void;
  /** Metadata (names, labels, annotations, finalizers, owner references) is validated generically before; nameRule picks the rule. */
  readonly validate?: (object: T, context: HookContext) => FieldError[];
  readonly validateUpdate?: (next: T, previous: T, context: HookContext) => FieldError[];
  /**
   * What each way in writes, by subresource ('' the object itself): the other fields the server resets, so that nobody comes to own them
   * through it. Default: all but the status through the object, all but the spec through its status.
   */
  readonly written?: Readonly<Record<string, WrittenFields>>;
  readonly warnings?: (object: T, previous: T | undefined) => string[];
  /** A warning that goes with every answer about this resource, reads too. */
  readonly deprecation?: string;
  /** A warning that goes with a delete whose client did not say what is to become of dependents. */
  readonly deleteWarning?: string;
  /** The metadata of new objects is looked at only where all else is in order. */
  readonly metadataLast?: boolean;
  /** Default 'dns-subdomain'. 'path-segment' = rbac-like names (no '/', '%', '.', '..'). */
  readonly nameRule?:
    | 'dns-subdomain'
    | 'dns-label'
    | 'dns-1035-label'
    | 'path-segment'
    | ((name: string) => string[]);
  /** Extra field selectors beyond metadata.name / metadata.namespace: field → value of an object ('' when unset). */
  readonly fieldSelectors?: Readonly<Record<string, (object: T) => string>>;
  /** Which of them clients may name. Default: all. Only for kinds that share their objects with another's selectors. */
  readonly selectableFields?: readonly string[];
  /** The error of an unknown field selector, where it differs from most kinds'; apiVersion: of the request. */
  readonly unknownFieldSelector?: (field: string, apiVersion: string) => string;
  readonly table?: TableDefinition<T>;
  readonly status?: StatusSubresource<T>;
  readonly scale?: ScaleSubresource<T>;
  /** PUT to an absent name creates (upstream's AllowCreateOnUpdate). */
  readonly allowCreateOnUpdate?: boolean;
  /** PUT without resourceVersion is allowed (default true; false for those where upstream refuses with 'must be specified for an update'). */
  readonly allowUnconditionalUpdate?: boolean;
  /** Delete in two steps: the grace period in seconds for this delete (0 = at once), given what was asked for. Pods: spec.terminationGracePeriodSeconds, 0 when not scheduled or already finished. */
  readonly gracefulDelete?: (object: T, requestedSeconds: number | undefined) => number;
  /** Values of its objects stand in no message, also where upstream shows them: messages are kept in audit logs. */
  readonly confidential?: boolean;
  /** What becomes of dependents when the client does not say; 'unsupported': whatever it says, nothing waits for them. Default 'background'. */
  readonly defaultPropagation?: 'background' | 'orphan' | 'unsupported';
  /** Objects of this kind are namespaces: a request for one is in the namespace of its name, as upstream's request info has it. */
  readonly isNamespace?: boolean;
  /** An object under deletion stays while this is true, also without finalizers. */
  readonly holdsDeletion?: (object: T) => boolean;
  /** Changes an object that is marked as being deleted. Such kinds have no deletionGracePeriodSeconds. */
  readonly markDeleting?: (object: T) => void;
  /** Called with the marked object, which may be changed, when it is first to be deleted: a finalizer is put on here that the server's own controllers take off. Nothing else is done then. */
  readonly beginDeletion?: (object: T, nowMs: number) => void;
  /** Objects live this long after their last write (Events: 3600). */
  readonly ttlSeconds?: number;
  /** Never stored: the server answers create itself (reviews). Handled in apiserver/registry/reviews.ts. */
  readonly virtual?: boolean;
  /** Converts between served versions, named by their whole apiVersion; JSON in, JSON out (may return the same object). Only where shapes differ: else the apiVersion alone is set. */
  readonly convert?: (object: KubeObject, toApiVersion: string) => KubeObject;
  /** The apiVersion objects are stored as, where it is not the newest of the most stable ones: events.k8s.io shares the core's. */
  readonly storedAs?: string;
}

/** Checks and names a record's type: every file in resources/ exports one made by this. */
export function defineResource<T extends KubeObject>(behaviour: ResourceBehaviour<T>): ResourceBehaviour {
  return behaviour as unknown as ResourceBehaviour;
}
