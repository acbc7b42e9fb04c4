/** What the clients of one world saw, and what etcd's own log says happened: the material of the judges. */
import type { Revision } from '#storage/store.ts';
import type { EtcdState } from './etcd-state.ts';

export const PREFIX = '/registry/configmaps/default/';

/** An object as the judges compare it: its number is different in every write. */
export interface SeenObject {
  readonly key: string;
  readonly revision: Revision;
  readonly value: string;
  readonly labelled: boolean;
}

interface Timed {
  readonly what: string;
  readonly startMs: number;
  /** Infinity: no answer came. */
  readonly endMs: number;
  /** Newest revision that etcd had decided when it began. */
  readonly decided: Revision;
}

export interface WriteRecord extends Timed {
  readonly key: string;
  readonly verb: 'create' | 'update' | 'patch' | 'delete';
  /** Undefined for a delete. */
  readonly value: string | undefined;
  /** Precondition. */
  readonly expected: Revision | undefined;
  readonly outcome:
    | { readonly kind: 'done'; readonly revision: Revision | undefined }
    | { readonly kind: 'exists' | 'absent' | 'conflict' | 'unknown' };
}

export interface ReadRecord extends Timed {
  readonly key: string;
  readonly server: string;
  /** Absent: consistent; 0: any; else not older than it. */
  readonly asked: Revision | undefined;
  readonly found: SeenObject | undefined;
}

export interface ListRecord extends Timed {
  readonly server: string;
  readonly kind: 'consistent' | 'any' | 'exact' | 'not-older' | 'initial-events';
  readonly asked: Revision | undefined;
  readonly labelled: boolean;
  readonly revision: Revision;
  /** The revision that each page named. */
  readonly pages: readonly Revision[];
  readonly items: readonly SeenObject[];
}

export type StreamEntry =
  | {
      readonly kind: 'event';
      readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
      readonly object: SeenObject;
    }
  | { readonly kind: 'bookmark'; readonly revision: Revision };

/** One watch from its first event to its end. Objects that existed at its beginning are a list (ListRecord), and not in it. */
export interface StreamRecord {
  readonly name: string;
  readonly server: string;
  readonly prefix: string;
  /** Only objects that carry the label. */
  readonly labelled: boolean;
  readonly after: Revision;
  readonly entries: readonly StreamEntry[];
  /** It was open in the end, and all up to this revision must have come. */
  readonly upTo?: Revision | undefined;
  /** 410 was the answer, while history up to here was compacted. */
  readonly expired?: { readonly floor: Revision } | undefined;
}

/** One write that happened. */
export interface TrueChange {
  readonly key: string;
  readonly revision: Revision;
  readonly current: SeenObject | undefined;
  readonly previous: SeenObject | undefined;
}

export class Truth {
  readonly changes: readonly TrueChange[];
  readonly revision: Revision;
  readonly #byRevision = new Map<Revision, TrueChange[]>();

  constructor(changes: readonly TrueChange[], revision: Revision) {
    this.changes = changes;
    this.revision = revision;
    for (const change of changes)
      this.#byRevision.set(change.revision, [...(this.#byRevision.get(change.revision) ?? []), change]);
  }

  at(key: string, revision: Revision): TrueChange | undefined {
    return this.#byRevision.get(revision)?.find((change) => change.key === key);
  }

  /** In the order of keys. */
  stateAt(revision: Revision): SeenObject[] {
    const state = new Map<string, SeenObject>();
    for (const change of this.changes) {
      if (change.revision > revision) break;
      if (change.current) state.set(change.key, change.current);
      else state.delete(change.key);
    }
    return [...state.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
  }
}

/** From the model of etcd, which forgets nothing. */
export function readTruth(state: EtcdState): Truth {
  const changes: TrueChange[] = [];
  for (const { revision, current, previous } of state.changes) {
    const key = current.key.toString('latin1');
    if (!key.startsWith(PREFIX)) continue;
    changes.push({
      key,
      revision,
      current: current.deleted ? undefined : storedObject(key, current),
      previous: previous && storedObject(key, previous),
    });
  }
  return new Truth(changes, state.revision);
}

interface ConfigMap {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly data?: { readonly v: string };
}

function storedObject(
  key: string,
  { value, modRevision }: { readonly value: Buffer; readonly modRevision: Revision },
): SeenObject {
  const { metadata, data } = JSON.parse(value.toString()) as ConfigMap;
  return { key, revision: modRevision, value: data?.v ?? '', labelled: metadata.labels?.['on'] === 'yes' };
}

/** As a client received it. */
export function seenObject({ metadata, data }: ConfigMap): SeenObject {
  return {
    key: PREFIX + metadata.name,
    revision: Number(metadata.resourceVersion),
    value: data?.v ?? '',
    labelled: metadata.labels?.['on'] === 'yes',
  };
}

export class History {
  readonly writes: WriteRecord[] = [];
  readonly reads: ReadRecord[] = [];
  readonly lists: ListRecord[] = [];
  readonly streams: StreamRecord[] = [];
  /** Answers that no client should get. */
  readonly faults: string[] = [];
}
