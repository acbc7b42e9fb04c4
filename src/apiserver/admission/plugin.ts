/**
 * The shape of an admission plugin: one file in this folder each, listed in the order they run. All mutating steps run first
 * (admit, in list order), then defaulting and validation of the object, then all validating steps (validate, in list order).
 * A refusal is a thrown StatusError (usually statusErrors.forbidden). After upstream's k8s.io/apiserver/pkg/admission.
 */
import type { GroupVersionKind, GroupVersionResource, KubeObject, UserInfo } from '#machinery/object.ts';
import type { InternalApi } from '../internal.ts';

export type AdmissionOperation = 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';

export interface AdmissionAttributes {
  readonly operation: AdmissionOperation;
  readonly gvr: GroupVersionResource;
  readonly gvk: GroupVersionKind;
  /** '' for cluster-scoped objects. For a Namespace itself: its name, as upstream has it. */
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
  /** What is stored (UPDATE, DELETE). Never change it. */
  readonly oldObject: KubeObject | undefined;
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** CreateOptions / UpdateOptions / DeleteOptions as JSON. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Sends a Warning header to the client. */
  warn(message: string): void;
  readonly internal: InternalApi;
}

export interface AdmissionPlugin {
  /** Upstream's plugin name: 'NamespaceLifecycle'. */
  readonly name: string;
  /** Pure and cheap; asked once per (operation, resource, subresource) and remembered. */
  handles(operation: AdmissionOperation, target: { readonly group: string; readonly resource: string; readonly subresource: string }): boolean;
  /** May wait; a plugin that waits for nothing should return undefined rather than a promise. On an update conflict it is called again with the newer object. */
  admit?(attributes: AdmissionAttributes): void | Promise<void>;
  validate?(attributes: AdmissionAttributes): void | Promise<void>;
  /**
   * Called once the request that validate() passed was refused later or failed (quota gives back what it took).
   * Never throws.
   */
  undo?(attributes: AdmissionAttributes): void | Promise<void>;
}
