/**
 * etcd's key space as a state machine: revisions, transactions, reads at a revision. It forgets nothing, so that it is the truth by which everything else is
 * judged; that history was compacted is a matter of each member (etcd-member.ts). Keys are latin1 text here, whose order is that of their bytes.
 */
import { COMPARE_MOD_REVISION, type KeyValue } from '#storage/drivers/etcd/protocol.ts';
import type { Revision } from '#storage/store.ts';

/** A key value whose numbers are numbers. */
interface Version extends Omit<KeyValue, 'createRevision' | 'modRevision' | 'version' | 'lease'> {
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  readonly version: number;
  readonly deleted: boolean;
  /** When it was committed, on the world's clock. */
  readonly atMs: number;
}

/** One write: what it made, and what was there before. */
export interface Change {
  readonly revision: Revision;
  readonly current: Version;
  readonly previous: Version | undefined;
}

export interface RangeRequest {
  readonly key: Buffer;
  readonly rangeEnd?: Buffer | undefined;
  readonly revision?: Revision | undefined;
  readonly limit?: number | undefined;
  readonly keysOnly?: boolean | undefined;
  readonly countOnly?: boolean | undefined;
}

export interface TxnRequest {
  readonly compare: readonly {
    readonly target: number;
    readonly key: Buffer;
    readonly modRevision?: number | undefined;
    readonly version?: number | undefined;
  }[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
}

interface Operation {
  readonly requestRange?: RangeRequest;
  readonly requestPut?: { readonly key: Buffer; readonly value: Buffer };
  readonly requestDeleteRange?: { readonly key: Buffer };
}

export interface TxnResult {
  readonly revision: Revision;
  readonly succeeded: boolean;
  readonly responses: readonly object[];
}

export class EtcdState {
  /** etcd's first write has revision 2. */
  revision: Revision = 1;
  /** changes[i] has revision i + 2: a transaction of the driver writes one key at most. */
  readonly changes: Change[] = [];
  readonly #versions = new Map<string, Version[]>();
  #sorted: string[] = [];

  range({ key, rangeEnd, limit = 0, keysOnly, countOnly }: RangeRequest, at: Revision) {
    const found = this.#keysIn(key, rangeEnd).flatMap((name) => this.#versionAt(name, at) ?? []);
    const kvs = countOnly ? [] : limit > 0 ? found.slice(0, limit) : found;
    return {
      kvs: keysOnly ? kvs.map((kv) => ({ ...kv, value: Buffer.alloc(0) })) : kvs,
      more: !countOnly && kvs.length < found.length,
      count: found.length,
    };
  }

  txn({ compare, success, failure }: TxnRequest, atMs: number): TxnResult {
    const succeeded = compare.every(({ target, key, modRevision, version }) => {
      const current = this.#versionAt(key.toString('latin1'), this.revision);
      return target === COMPARE_MOD_REVISION
        ? (current?.modRevision ?? 0) === modRevision
        : (current?.version ?? 0) === version;
    });
    const responses = (succeeded ? success : failure).map((operation) => this.#do(operation, atMs));
    return { revision: this.revision, succeeded, responses };
  }

  /** What the write of this revision replaced. */
  previousOf(revision: Revision): Change['previous'] {
    return this.changes[revision - 2]?.previous;
  }

  /** In order, of the keys in the range. */
  changesIn(
    { key, rangeEnd }: Pick<RangeRequest, 'key' | 'rangeEnd'>,
    { from, upTo }: { readonly from: Revision; readonly upTo: Revision },
  ): Change[] {
    const isIn = inRange(key, rangeEnd);
    return this.changes
      .slice(Math.max(0, from - 2), Math.max(0, upTo - 1))
      .filter(({ current }) => isIn(current.key.toString('latin1')));
  }

  #do({ requestRange, requestPut, requestDeleteRange }: Operation, atMs: number): object {
    if (requestRange) return { responseRange: this.range(requestRange, this.revision) };
    if (requestPut) {
      this.#write(requestPut.key, { value: requestPut.value, atMs });
      return { responsePut: {} };
    }
    const previous = this.#write(requestDeleteRange!.key, { value: undefined, atMs });
    const prevKvs = previous ? [previous] : [];
    return { responseDeleteRange: { deleted: prevKvs.length, prevKvs } };
  }

  #write(
    key: Buffer,
    { value, atMs }: { readonly value: Buffer | undefined; readonly atMs: number },
  ): Version | undefined {
    const name = key.toString('latin1');
    const previous = this.#versionAt(name, this.revision);
    if (!value && !previous) return undefined;
    const revision = ++this.revision;
    const current: Version = {
      key,
      // The writer's own buffer stays with it.
      value: value ? Buffer.from(value) : Buffer.alloc(0),
      modRevision: revision,
      createRevision: !value ? 0 : (previous?.createRevision ?? revision),
      version: !value ? 0 : (previous?.version ?? 0) + 1,
      deleted: !value,
      atMs,
    };
    let versions = this.#versions.get(name);
    if (!versions) {
      this.#versions.set(name, (versions = []));
      this.#sorted = [...this.#sorted, name].sort();
    }
    versions.push(current);
    this.changes.push({ revision, current, previous });
    return previous;
  }

  /** Undefined where the key did not exist. */
  #versionAt(name: string, at: Revision): Version | undefined {
    const version = this.#versions.get(name)?.findLast(({ modRevision }) => modRevision <= at);
    return version?.deleted ? undefined : version;
  }

  #keysIn(key: Buffer, rangeEnd: Buffer | undefined): string[] {
    return this.#sorted.filter(inRange(key, rangeEnd));
  }
}

/** As etcd has it: no end is one key, and an end of one zero byte is all that follows. */
function inRange(key: Buffer, rangeEnd: Buffer | undefined): (name: string) => boolean {
  const first = key.toString('latin1');
  if (!rangeEnd || rangeEnd.length === 0) return (name) => name === first;
  if (rangeEnd.length === 1 && rangeEnd[0] === 0) return (name) => name >= first;
  const end = rangeEnd.toString('latin1');
  return (name) => name >= first && name < end;
}
