/** What single resources add to the generic store, after upstream's BeginCreate, BeginUpdate and AfterDelete; registered in endpoints.ts by group and plural. */
import type { KubeObject } from '#machinery/object.ts';

/** Reservations of one write: exactly one of the two is called. */
export interface Transaction {
  commit(): void;
  release(): void;
}

export interface StoreHooks {
  /** Before a new object is prepared and validated; may fill it in. Throws when what it asks for cannot be had. */
  beginCreate?(object: KubeObject, options: { readonly dryRun: boolean }): Transaction | undefined;
  /** As beginCreate, for writes of the whole object. */
  beginUpdate?(objects: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly dryRun: boolean;
  }): Transaction | undefined;
  /** Once the object is gone; not after a dry run. */
  afterDelete?(object: KubeObject): void;
}
