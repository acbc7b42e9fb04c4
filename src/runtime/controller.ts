/**
 * The shape of a controller: which objects it watches, how they map to keys, and one level-based reconcile function.
 * run-controllers.ts drives it: one work queue per controller, per-key serial, rate-limited retry on error, leader-only.
 */
import type { KubeObject } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { Client, Informer, ResourceRef, SelectOptions } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';

export interface WatchSource<T extends KubeObject = KubeObject> {
  readonly resource: ResourceRef<T>;
  readonly select?: SelectOptions;
  /**
   * The keys to reconcile when this object is added, changed or deleted. Default: the object's own key.
   * For a change, it is called with the new and with the old object, and both results are enqueued. Pure; informers are synced.
   */
  readonly keys?: (object: T, context: SourceContext) => readonly string[];
}

/** What a keys() function may look things up in. */
export interface SourceContext {
  informer<U extends KubeObject>(resource: ResourceRef<U>): Informer<U>;
}

export interface ReconcileContext {
  /** 'namespace/name' or 'name', or whatever keys() made. */
  readonly key: string;
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  /** Aborted when the controller stops or loses leadership: give up at once. */
  readonly signal: AbortSignal;
  /** The shared informer of a resource the controller declared in `watches` (asserted). */
  informer<T extends KubeObject>(resource: ResourceRef<T>): Informer<T>;
}

/** Nothing = done until something changes. requeueAfterMs = call again then. Throwing = retry with exponential backoff (5 ms … 1,000 s; conflicts retried quietly). */
export type ReconcileResult = void | { readonly requeueAfterMs: number };

export interface ControllerDefinition {
  /** Upstream's controller name, as in kube-controller-manager --controllers: 'deployment-controller'. */
  readonly name: string;
  readonly watches: readonly WatchSource<never>[];
  /** Indexes to declare on informers before they are read. */
  readonly indexes?: readonly { readonly resource: ResourceRef; readonly name: string; readonly values: (object: never) => readonly string[] }[];
  /** Parallel keys, default 5. */
  readonly workers?: number;
  /** Called for a key until the world matches: level-based (must not assume which event caused it), idempotent, may be called spuriously, never twice at once for one key. */
  reconcile(context: ReconcileContext): Promise<ReconcileResult>;
  /** A key enqueued by itself at this period (with key ''), for controllers that sweep. */
  readonly resyncEveryMs?: number;
}

/** Checks a definition (assert) and returns it; every file in src/controllers/ exports one made by this. */
export function defineController(definition: ControllerDefinition): ControllerDefinition {
  return definition;
}

/** Types one watch source: `watch(pods, { keys: (pod) => [...] })`. */
export function watch<T extends KubeObject>(resource: ResourceRef<T>, options: Omit<WatchSource<T>, 'resource'> = {}): WatchSource<never> {
  return { resource, ...options } as unknown as WatchSource<never>;
}
