/** What single resources add to the generic store, after upstream's BeginCreate, BeginUpdate and AfterDelete; registered in endpoints.ts by group and plural. */
import type { KubeObject } from '#machinery/object.ts';

/** Reservations of one write: exactly one of the two functions is called. */
export interface Transaction {
  commit(): void | Promise<void>;
  /** error: of the write, which may have been done all the same (isOutcomeUnknown). */
  release(error: unknown): void | Promise<void>;
}

/** A promise only where others write to the store too. */
export type Begun = Transaction | undefined | Promise<Transaction | undefined>;

export interface StoreHooks {
  /** Runs before a new object is prepared and validated; may complete it. Throws when an allocation fails. */
  beginCreate?(object: KubeObject, options: { readonly dryRun: boolean }): Begun;
  /** As beginCreate, for writes of the whole object. */
  beginUpdate?(objects: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly dryRun: boolean;
  }): Begun;
  /** After deletion; not after a dry run. */
  afterDelete?(object: KubeObject): void | Promise<void>;
}
