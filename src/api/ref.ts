/** The shape of a typed reference to a resource. The constants are in refs.ts. */
import type { KubeObject } from '#machinery/object.ts';

/** Structurally the client's ResourceRef: names a resource and carries the TypeScript type of its objects. */
export interface Ref<T extends KubeObject = KubeObject> {
  /** '' is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Carries a type only, never set. */
  readonly _type?: T;
}
