/**
 * Heads that are in the log but not yet in the table `live`. The log is written in order, so a commit touches few of its pages; keys are scattered
 * over `live`, and each would cost a commit a page. Heads are therefore gathered in memory and written to `live` in key order, some with each commit, so
 * that neighbours share pages. This memory is not needed for durability: log entries above `applied` are read again at startup.
 *
 *   commit ─► log (durable) ─► here ──(GATHERED_HEADS gathered)──► pass: a slice with each commit ─► live ──(pass ends)──► applied moves up
 */
import type { Head, LogHeader } from '../backend.ts';
import { compareKeys } from '../keys.ts';
import type { Revision } from '../store.ts';

/** A pass begins when this many heads have gathered. */
export const GATHERED_HEADS = 2048;
/** A slice has this many heads or twice as many as the commit writes, so that a pass is faster than new writes. */
const MIN_SLICE = 64;

/** What one commit writes to `live`, and the state once it is durable. */
export interface Slice {
  readonly heads: readonly (readonly [key: string, head: Head])[];
  /** `live` has all entries up to this revision then. */
  readonly applied: Revision;
  readonly next: number;
  readonly isLast: boolean;
}

export class PendingHeads {
  /** In order of arrival; keys are unordered. */
  readonly #heads = new Map<string, Head>();
  readonly #gather: number;
  #applied: Revision;
  #pass: { readonly keys: readonly string[]; readonly upTo: Revision; next: number } | undefined;

  constructor(applied: Revision, { gather = GATHERED_HEADS }: { readonly gather?: number } = {}) {
    this.#applied = applied;
    this.#gather = gather;
  }

  get size(): number {
    return this.#heads.size;
  }
  get applied(): Revision {
    return this.#applied;
  }

  /** Adds an entry of the log after `applied`, in log order. */
  replay({ key, revision, createRevision, deleted, expiresAtMs }: LogHeader): void {
    this.#heads.set(key, { modRevision: revision, createRevision, deleted, expiresAtMs });
  }

  get(key: string): Head | undefined {
    return this.#heads.get(key);
  }

  /** Keys from `start` on with this `prefix`, in order. */
  keys(prefix: string, start: string): string[] {
    const found: string[] = [];
    for (const key of this.#heads.keys())
      if (key.startsWith(prefix) && compareKeys(key, start) >= 0) found.push(key);
    return found.sort(compareKeys);
  }

  /** The slice for a commit with this many entries; last: the newest durable revision. all: everything at once. */
  slice({
    entries,
    last,
    all = false,
  }: {
    readonly entries: number;
    readonly last: Revision;
    readonly all?: boolean;
  }): Slice {
    if (!this.#pass && (all || this.#heads.size >= this.#gather))
      this.#pass = { keys: [...this.#heads.keys()].sort(compareKeys), upTo: last, next: 0 };
    const pass = this.#pass;
    if (!pass) return { heads: [], applied: this.#applied, next: 0, isLast: false };
    const next = all
      ? pass.keys.length
      : pass.next + Math.max(Math.min(MIN_SLICE, this.#gather), 2 * entries);
    const heads = pass.keys.slice(pass.next, next).flatMap((key) => {
      const head = this.#heads.get(key);
      return head ? [[key, head] as const] : [];
    });
    const isLast = next >= pass.keys.length;
    return { heads, applied: isLast ? pass.upTo : this.#applied, next, isLast };
  }

  /** The commit is durable. written: heads of its entries; forgotten: keys whose deletes it swept, to be removed from `live` too. */
  committed(
    slice: Slice,
    {
      written,
      forgotten,
    }: { readonly written: ReadonlyMap<string, Head>; readonly forgotten: readonly string[] },
  ): void {
    // Heads that changed while it was written stay for the next pass.
    for (const [key, head] of slice.heads) if (this.#heads.get(key) === head) this.#heads.delete(key);
    for (const key of forgotten) this.#heads.delete(key);
    for (const [key, head] of written) this.#heads.set(key, head);
    this.#applied = slice.applied;
    if (slice.isLast) this.#pass = undefined;
    else if (this.#pass) this.#pass.next = slice.next;
  }

  /** The commit failed: the slice is returned again. */
  failed(): void {
    this.#pass = undefined;
  }
}
