/**
 * The record of one resource: everything that the API server needs to serve it. URL = file: /apis/apps/v1/deployments is
 * resources/apps/deployments.ts. Discovery, OpenAPI, tables, selectors and RBAC verbs derive from the record;
 * names, versions, verbs, short names and subresources come from the generated discovery data (#api/resources.ts), so a
 * record only defines behaviour. registry.ts lists every record explicitly.
 *
 * Hooks see plain JSON objects of the STORAGE version. All hooks are synchronous and pure except that prepare* and default*
 * may change the object given as first argument in place, and that validation may read other objects with context.find. Order on create: decode → default → prepareForCreate → admission
 * (mutating) → default again → validate → admission (validating) → store. On update: … prepareForUpdate → validateUpdate.
 */
import type { WrittenFields } from '#machinery/apply/written-fields.ts';
import type { FieldError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';

export interface HookContext {
  readonly user: UserInfo;
  readonly nowMs: number;
  readonly dryRun: boolean;
  /** Warnings of preparation; 'warnings' is the usual hook for them. */
  readonly warn: (message: string) => void;
  /** Reads another stored object, uncached; shared, do not change it. For the few checks that need more than the object itself. */
  readonly find: (
    resource: { readonly group: string; readonly resource: string },
    name: { readonly name: string; readonly namespace?: string },
  ) => KubeObject | undefined;
  /** Feature gates that are on. Absent: none. */
  readonly features?: ReadonlySet<string> | undefined;
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

/** The columns of `kubectl get`, upstream's printer columns. The hook renders times as ages ('5d') from nowMs. */
export interface TableDefinition<T extends KubeObject> {
  readonly columns: readonly TableColumn[];
  row(object: T, context: { readonly nowMs: number }): TableCell[];
}

interface StatusSubresource<T extends KubeObject> {
  /** Default: the stored object, with metadata and status of the new one as in upstream's strategies (spec and labels/annotations kept). */
  readonly prepareForUpdate?: (next: T, previous: T, context: HookContext) => void;
  readonly validateUpdate?: (next: T, previous: T, context: HookContext) => FieldError[];
}

/** The fields of the object that autoscaling/v1 Scale reads and writes. */
export interface ScaleSubresource<T extends KubeObject> {
  readonly get: (object: T) => {
    readonly specReplicas: number;
    readonly statusReplicas: number;
    readonly selector: string;
  };
  readonly setReplicas: (object: T, replicas: number) => void;
  /** The path of replicas, for field ownership. Default ['spec', 'replicas']. */
  readonly replicasPath?: readonly string[];
}

export interface ResourceBehaviour<T extends KubeObject = KubeObject> {
  readonly group: string;
  /** Plural name, as in the URL. Must exist in the generated discovery data (asserted). */
  readonly plural: string;
  /** Sets upstream's defaults for this kind (idempotent). Also applied to objects read from the store. */
  readonly applyDefaults?: (object: T) => void;
  /** Resets fields that clients may not set (status…), sets generation etc. Default: drop status when a status subresource exists, generation = 1 for kinds with spec. */
  readonly prepareForCreate?: (object: T, context: HookContext) => void;
  /** Default: keep the stored status when a status subresource exists, bump generation when spec changed. */
  readonly prepareForUpdate?: (next: T, previous: T, context: HookContext) => void;
  /** Metadata (names, labels, annotations, finalizers, owner references) is validated generically before; nameRule selects the rule. */
  readonly validate?: (object: T, context: HookContext) => FieldError[];
  readonly validateUpdate?: (next: T, previous: T, context: HookContext) => FieldError[];
  /**
   * The fields that each endpoint writes, by subresource ('' the object itself): the server resets other fields, so that their ownership does
   * not change. Default: the object endpoint excludes the status, the status endpoint the spec.
   */
  readonly written?: Readonly<Record<string, WrittenFields>>;
  readonly warnings?: (object: T, previous: T | undefined) => string[];
  /** A warning for every response about this resource, including reads. */
  readonly deprecation?: string;
  /** A warning for a delete without a propagation policy. */
  readonly deleteWarning?: string;
  /** The metadata of new objects is validated only when everything else is valid. */
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
  /** The fields that clients may use. Default: all. Only for kinds that share their objects with another kind. */
  readonly selectableFields?: readonly string[];
  /** The error of an unknown field selector, when it differs from that of most kinds; apiVersion: that of the request. */
  readonly unknownFieldSelector?: (field: string, apiVersion: string) => string;
  readonly table?: TableDefinition<T>;
  readonly status?: StatusSubresource<T>;
  readonly scale?: ScaleSubresource<T>;
  /** PUT to an absent name creates (upstream's AllowCreateOnUpdate). */
  readonly allowCreateOnUpdate?: boolean;
  /** PUT without resourceVersion is allowed (default true; false for kinds where upstream requires 'must be specified for an update'). */
  readonly allowUnconditionalUpdate?: boolean;
  /** Graceful deletion: the grace period in seconds for this delete (0 = at once), given the requested one. Pods: spec.terminationGracePeriodSeconds, 0 when unscheduled or finished. */
  readonly gracefulDelete?: (object: T, requestedSeconds: number | undefined) => number;
  /** Messages must not contain values of its objects, also where upstream includes them, because messages are stored in audit logs. */
  readonly confidential?: boolean;
  /** The default propagation policy; 'unsupported': deletion never waits for dependents. Default 'background'. */
  readonly defaultPropagation?: 'background' | 'orphan' | 'unsupported';
  /** Objects of this kind are namespaces: a request for one is in the namespace of its name, as in upstream's request info. */
  readonly isNamespace?: boolean;
  /** An object under deletion is kept while this is true, also without finalizers. */
  readonly holdsDeletion?: (object: T) => boolean;
  /** Changes an object when deletion starts. Such kinds have no deletionGracePeriodSeconds. */
  readonly markDeleting?: (object: T) => void;
  /** Called with the object when deletion starts; it may add a finalizer that the server's own controllers remove. Nothing else happens then. */
  readonly beginDeletion?: (object: T, nowMs: number) => void;
  /** TTL of objects after their last write (Events: 3600). */
  readonly ttlSeconds?: number;
  /** Never stored: the server handles create itself (reviews), in apiserver/registry/reviews.ts. */
  readonly virtual?: boolean;
  /** Converts between served versions, identified by apiVersion; JSON in, JSON out (may return the same object). Only for differing shapes: otherwise only the apiVersion is set. */
  readonly convert?: (object: KubeObject, toApiVersion: string) => KubeObject;
  /** The storage apiVersion, if it is not the newest of the most stable ones: events.k8s.io shares the core's. */
  readonly storedAs?: string;
}

/** Checks a record and types it: every file in resources/ exports one made with it. */
export function defineResource<T extends KubeObject>(behaviour: ResourceBehaviour<T>): ResourceBehaviour {
  return behaviour as unknown as ResourceBehaviour;
}
