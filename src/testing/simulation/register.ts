/**
 * One key of the API as a model for linearizability.ts: its state is the resourceVersion of the object, 0 where there is none. Writes that are known to have
 * happened are ordered by their revision already, so that the search only places what has no revision of its own: reads and refusals.
 */
import type { Revision } from '#storage/store.ts';
import type { Model, Operation } from './linearizability.ts';

/** What the operation saw or did. */
export type KeyResult =
  /** It replaced this revision (0: it created the object) by another (0: it deleted the object). */
  | { readonly kind: 'wrote'; readonly replaced: Revision; readonly revision: Revision }
  /**
   * It deleted the object, of whatever revision where none was expected. Shared: another did so at the same time, and where an answer is lost the two
   * cannot be told apart, so that both are acknowledged (docs/designs/0001-etcd-store.md).
   */
  | { readonly kind: 'deleted'; readonly expected: Revision | undefined; readonly shared: boolean }
  /** Read: 0 where the object was not found. */
  | { readonly kind: 'read'; readonly revision: Revision }
  /** Refused since the object exists, since it does not, or since it is not of the revision that was expected. */
  | { readonly kind: 'exists' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'conflict'; readonly expected: Revision };

export interface KeyOperation extends Operation {
  /** Who did what, for reports. */
  readonly what: string;
  readonly result: KeyResult;
}

export const keyModel: Model<Revision, KeyOperation> = {
  initial: 0,
  keyOf: String,
  step(state, { result }) {
    switch (result.kind) {
      case 'wrote':
        return state === result.replaced ? result.revision : undefined;
      case 'deleted':
        if (state === 0) return result.shared ? 0 : undefined;
        return result.expected === undefined || state === result.expected ? 0 : undefined;
      case 'read':
        return state === result.revision ? state : undefined;
      case 'exists':
        return state === 0 ? undefined : state;
      case 'absent':
        return state === 0 ? state : undefined;
      case 'conflict':
        return state === result.expected || state === 0 ? undefined : state;
    }
  },
};
