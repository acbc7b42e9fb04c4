/** One write to the store, as history has it; and a gap: writes that history has lost. */

type Operation = 'create' | 'update' | 'delete';

export interface Change {
  readonly key: string;
  /** Of the write. */
  readonly revision: number;
  readonly createRevision: number;
  /** Of the version that it replaced; 0: there was none; undefined: unknown. */
  readonly previousRevision?: number | undefined;
  readonly operation: Operation;
  /** Milliseconds since the epoch; undefined: unknown. */
  readonly timeMs?: number | undefined;
  /** Undefined where the source does not know users. */
  readonly user?: string | undefined;
  /** Who acts as the user. */
  readonly impersonator?: string | undefined;
  /** The field manager. */
  readonly manager?: string | undefined;
  readonly subresource?: string | undefined;
  readonly ttlSeconds?: number | undefined;
  /** As the store keeps it: encrypted where it is, upstream's encoding on etcd. Of a delete: the last state. Undefined: lost by compaction. */
  readonly value?: Buffer | undefined;
}

/** A change's value as the API server has it; undefined where it cannot be read. */
export type Reveal = (change: Change) => Promise<Buffer | undefined>;

/** Changes of these revisions may be missing, some or all. */
export interface Gap {
  readonly fromRevision: number;
  readonly toRevision: number;
  readonly timeMs: number;
  /** Known losses; 0: it is not known how many. */
  readonly count: number;
  readonly reason: string;
}

/** The order of history: by revision; one revision of etcd may have several keys. */
export function compareChanges(a: Change, b: Change): number {
  return a.revision - b.revision || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/** Keys of running servers, which expire with them, and of tools: no objects. */
const PASSING = /^\/registry\/(masterleases\/|peerserverleases\/|capstan\.)/;

export function isRecorded(key: string): boolean {
  return key.startsWith('/registry/') && !PASSING.test(key);
}
