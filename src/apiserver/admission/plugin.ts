/**
 * The shape of an admission plugin: one file in this folder each, listed in the order they run. All mutating steps run first
 * (admit, in list order), then defaulting and validation of the object, then all validating steps (validate, in list order).
 * A refusal is a thrown StatusError (usually statusErrors.forbidden). After upstream's k8s.io/apiserver/pkg/admission.
 */
import type { GroupVersionKind, GroupVersionResource, KubeObject, UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { Authorizer } from '../authz/authorizer.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import type { AdmissionKinds } from './kinds.ts';
import type { Reinvocation } from './reinvocation.ts';

export type AdmissionOperation = 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';

export type Annotate = (key: string, value: string, level?: 'Metadata' | 'Request') => void;

export interface AdmissionAttributes {
  readonly operation: AdmissionOperation;
  readonly gvr: GroupVersionResource;
  readonly gvk: GroupVersionKind;
  /** '' for cluster-scoped objects. For a Namespace: its own name, as upstream. */
  readonly namespace: string;
  /** '' for a create with generateName whose name was not made yet. */
  readonly name: string;
  /** '' when none. */
  readonly subresource: string;
  /**
   * The new object in the STORAGE version, absent for DELETE. admit may change it in place; validate must not.
   * For subresources whose body is another kind (binding, eviction, token, CONNECT options) it is that body.
   */
  readonly object: KubeObject | undefined;
  /** The stored object (UPDATE, DELETE). Never mutate it. */
  readonly oldObject: KubeObject | undefined;
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** CreateOptions / UpdateOptions / DeleteOptions as JSON. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Sends a Warning header to the client. */
  warn(message: string): void;
  /** Adds to the request's audit event; the first value of a key stays. Absent: nothing is audited. level: below it the annotation is left out, default Metadata. */
  readonly annotate?: Annotate | undefined;
  /** How long the client waits (?timeout=); after that nothing may be written. Absent: the server's own bound. */
  readonly timeoutMs?: number | undefined;
  /** Calls back once, when the client is gone: waiting may stop. Absent: there is no client. */
  readonly onAbort?: ((callback: () => void) => void) | undefined;
  /** See trackReinvocation. */
  reinvocation?: Reinvocation | undefined;
  readonly internal: InternalApi;
}

/** Dependencies of a plugin that follows objects of the cluster, passed once at construction. */
export interface AdmissionStart {
  readonly internal: InternalApi;
  readonly kinds: AdmissionKinds;
  readonly authorizer: Authorizer;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** The result of handles() may have changed: it is called again from the next request on. */
  handlesChanged(): void;
}

export interface AdmissionPlugin {
  /** Upstream's plugin name: 'NamespaceLifecycle'. */
  readonly name: string;
  /** Called before anything else. Returns the function that stops the plugin. */
  start?(context: AdmissionStart): (() => void) | void;
  /** Cheap; called once for each (operation, resource, subresource) and cached until handlesChanged(). */
  handles(
    operation: AdmissionOperation,
    target: { readonly group: string; readonly resource: string; readonly subresource: string },
  ): boolean;
  /** May be asynchronous; a synchronous plugin should return undefined rather than a promise. On an update conflict it is called again with the newer object, in a second round (see Reinvocation) with its own result. */
  admit?(attributes: AdmissionAttributes): void | Promise<void>;
  validate?(attributes: AdmissionAttributes): void | Promise<void>;
  /**
   * Called once if the request is rejected or fails after validate() admitted it (quota releases its charge).
   * Never throws.
   */
  undo?(attributes: AdmissionAttributes): void | Promise<void>;
}

/** The object's name where the request has none: a generated name is available after mutation. */
export function requestName({ name, object }: AdmissionAttributes): string {
  return name || object?.metadata?.name || '';
}
