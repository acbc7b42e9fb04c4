/** The in-memory store, for tests and throw-away clusters: everything except durability. */
import type {
  Backend,
  BackendState,
  Commit,
  Expiry,
  Head,
  LogEntry,
  LogHeader,
  ScanOptions,
} from '../backend.ts';
import { compareKeys } from '../keys.ts';
import { LocalStore, type LocalStoreOptions } from '../local-store.ts';
import type { Revision, Store } from '../store.ts';

export type MemoryStoreOptions = LocalStoreOptions;

export function createMemoryStore(options: MemoryStoreOptions = {}): Store {
  return new LocalStore(new MemoryBackend(options.startRevision ?? 0), options);
}

class MemoryBackend implements Backend {
  readonly gather = 'tick';
  state: BackendState;
  /** A Map keeps insertion order, which is that of revisions. */
  readonly #log = new Map<Revision, LogEntry>();
  readonly #heads = new Map<string, Head>();
  /** The keys of #heads, sorted. */
  #keys: string[] = [];
  #expiries: Expiry[] = [];

  constructor(revision: Revision) {
    this.state = { revision, compactedRevision: revision, keys: 0, position: 0 };
  }

  head(key: string): Head | undefined {
    return this.#heads.get(key);
  }

  entry(revision: Revision): LogEntry | undefined {
    return this.#log.get(revision);
  }

  value(revision: Revision): Buffer | undefined {
    return this.#log.get(revision)?.value;
  }

  scan({ prefix, start, visit }: ScanOptions): void {
    for (let i = this.#indexOf(start); i < this.#keys.length; i++) {
      const key = this.#keys[i]!;
      if (!key.startsWith(prefix) || !visit(key, this.#heads.get(key)!)) return;
    }
  }

  log(after: Revision, visit: (entry: LogEntry) => boolean): void {
    for (let revision = after + 1; revision <= this.state.revision; revision++) {
      const entry = this.#log.get(revision);
      if (entry && !visit(entry)) return;
    }
  }

  headers(after: Revision, visit: (header: LogHeader) => boolean): void {
    this.log(after, (entry) => visit({ ...entry, deleted: !entry.value }));
  }

  expiries(limit: number): Expiry[] {
    return this.#expiries.slice(0, limit);
  }

  async commit({ entries, sweep, unexpire, state }: Commit): Promise<void> {
    for (const header of sweep) this.#forget(header);
    for (const entry of entries) this.#write(entry);
    this.#updateExpiries(entries, unexpire);
    this.state = state;
  }

  sizeBytes(): number {
    return 0;
  }

  async close(): Promise<void> {}

  #forget({ key, revision, previousRevision, deleted }: LogHeader): void {
    this.#log.delete(previousRevision);
    if (!deleted) return;
    this.#log.delete(revision);
    if (this.#heads.get(key)?.modRevision !== revision) return;
    this.#heads.delete(key);
    this.#keys.splice(this.#indexOf(key), 1);
  }

  #write(entry: LogEntry): void {
    const { key, revision, createRevision, expiresAtMs } = entry;
    this.#log.set(revision, entry);
    if (!this.#heads.has(key)) this.#keys.splice(this.#indexOf(key), 0, key);
    this.#heads.set(key, { modRevision: revision, createRevision, deleted: !entry.value, expiresAtMs });
  }

  #updateExpiries(entries: readonly LogEntry[], unexpire: readonly Expiry[]): void {
    const added = entries.filter(
      ({ key, revision, expiresAtMs }) => expiresAtMs > 0 && this.#heads.get(key)!.modRevision === revision,
    );
    if (added.length === 0 && unexpire.length === 0) return;
    const gone = new Set(unexpire.map(({ revision }) => revision));
    this.#expiries = this.#expiries.filter(({ revision }) => !gone.has(revision));
    for (const { key, revision, expiresAtMs } of added)
      this.#expiries.push({ atMs: expiresAtMs, key, revision });
    this.#expiries.sort((a, b) => a.atMs - b.atMs || a.revision - b.revision);
  }

  /** The index of a key, or its insertion point. */
  #indexOf(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle]!, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
