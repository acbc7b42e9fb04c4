/**
 * The controller interface: the objects it watches, how they map to keys, and one level-based reconcile function.
 * run-controllers.ts runs it: one work queue per controller, per-key serial, rate-limited retries, only on the leader.
 */
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { Client, Informer, ResourceRef, SelectOptions } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import { assert } from '#stdx/assert.ts';
import type { Expectations } from './expectations.ts';

export interface WatchSource<T extends KubeObject = KubeObject> {
  readonly resource: ResourceRef<T>;
  readonly select?: SelectOptions;
  /**
   * The keys to reconcile when this object is added, changed or deleted. Default: the object's own key.
   * For a change, it is called with the new and with the old object, and both results are enqueued. Pure; informers are synced.
   */
  readonly keys?: (object: Stored<T>, context: SourceContext) => readonly string[];
  /** False: this update has no relevant change (a heartbeat, say) and enqueues nothing. Default: every update is relevant. Pure. */
  readonly changed?: (object: Stored<T>, previous: Stored<T>) => boolean;
  /** Called before keys() with the informer's event: update expectations here and do nothing else; keys are enqueued anyway. */
  readonly observe?: SourceObserver<T>;
}

interface SourceObserver<T extends KubeObject = KubeObject> {
  added?(object: Stored<T>, context: SourceContext): void;
  updated?(object: Stored<T>, previous: Stored<T>, context: SourceContext): void;
  deleted?(object: Stored<T>, context: SourceContext): void;
}

/** What a keys() function may read. */
export interface SourceContext {
  informer<U extends KubeObject>(resource: ResourceRef<U>): Informer<U>;
  /** The same as in ReconcileContext. */
  readonly expectations: Expectations;
}

export interface ReconcileContext {
  /** 'namespace/name' or 'name', or the result of keys(). */
  readonly key: string;
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  /** Aborted when the controller stops or loses leadership: return at once. */
  readonly signal: AbortSignal;
  /** Creations and deletions that this controller has not observed yet. One for each run of a controller: empty after a change of leadership. */
  readonly expectations: Expectations;
  /** Other state of this run of the controller (never module variables: several clusters share a process). A cache only. */
  readonly memory: Map<string, unknown>;
  /** The shared informer of a resource the controller declared in `watches` (asserted). */
  informer<T extends KubeObject>(resource: ResourceRef<T>): Informer<T>;
  /** The client whose informers all controllers of a manager share: for resources that are only known at run time. Use `api` for everything else. */
  readonly shared: Client;
  /** Enqueues this key too, at once or after a delay. For controllers with other event sources than `watches`. */
  enqueue(key: string, delayMs?: number): void;
}

/** Nothing = done until something changes. requeueAfterMs = call again then. Throwing = retry with exponential backoff (5 ms … 1,000 s; conflicts retried quietly). */
export type ReconcileResult = void | { readonly requeueAfterMs: number };

export interface ControllerDefinition {
  /** Upstream's controller name, as in kube-controller-manager --controllers: 'deployment-controller'. */
  readonly name: string;
  /** Its service account in kube-system, when every controller has its own credentials. Default: its name. */
  readonly serviceAccount?: string;
  /** The reporting component of its events. Default: its name. */
  readonly eventSource?: string;
  /** Runs only when this feature gate is enabled. Default: it always runs. */
  readonly featureGate?: string;
  readonly watches: readonly WatchSource<never>[];
  /** Indexes to declare on informers before they are read. */
  readonly indexes?: readonly {
    readonly resource: ResourceRef;
    readonly name: string;
    readonly values: (object: never) => readonly string[];
  }[];
  /** Parallel keys, default 5. */
  readonly workers?: number;
  /**
   * A sync of a key waits, by rate-limited retries, until the caches have seen what earlier syncs of that key wrote. Each that is put off counts in
   * `<subsystem>_stale_sync_skips_total`. Default: a sync may read a cache from before its own last write.
   */
  readonly seesOwnWrites?: { readonly featureGate: string; readonly subsystem: string };
  /** Called for a key until actual and desired state match: level-based (must not assume which event caused it), idempotent, may be called spuriously, never concurrently for one key. */
  reconcile(context: ReconcileContext): Promise<ReconcileResult>;
  /** Period at which key '' is enqueued, for controllers that sweep; the first time at once. */
  readonly resyncEveryMs?: number;
}

/** Checks a definition (assert) and returns it; every controller in src/controllers/ is made with it. */
export function defineController(definition: ControllerDefinition): ControllerDefinition {
  const { name, workers, resyncEveryMs, watches } = definition;
  assert(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name),
    `controller name "${name}" is lower-case words with dashes`,
  );
  assert(
    workers === undefined || (Number.isInteger(workers) && workers > 0),
    `${name}: workers is a whole number above 0`,
  );
  assert(resyncEveryMs === undefined || resyncEveryMs > 0, `${name}: resyncEveryMs is above 0`);
  assert(
    watches.length > 0 || resyncEveryMs !== undefined,
    `${name}: a controller watches something or sweeps`,
  );
  return definition;
}

/** Types one watch source: `watch(pods, { keys: (pod) => [...] })`. */
export function watch<T extends KubeObject>(
  resource: ResourceRef<T>,
  options: Omit<WatchSource<T>, 'resource'> = {},
): WatchSource<never> {
  return { resource, ...options } as unknown as WatchSource<never>;
}
