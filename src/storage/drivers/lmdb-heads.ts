/**
 * Heads that the log says but the table `live` does not yet. The log is written in order, so a commit touches few of its pages; keys are all
 * over `live`, and each would cost a commit a page. So heads gather here and go into `live` in the order of keys, some with each commit, where
 * neighbours share their pages. Nothing is lost with this memory: what the log holds above `applied` is read again at the start.
 *
 *   commit ─► log (durable) ─► here ──(GATHERED_HEADS gathered)──► pass: a slice with each commit ─► live ──(pass ends)──► applied moves up
 */
import type { Head, LogHeader } from '../backend.ts';
import { compareKeys } from '../keys.ts';
import type { Revision } from '../store.ts';

/** A pass begins when so many have gathered. */
export const GATHERED_HEADS = 2048;
/** A slice has this many or twice as many as the commit writes, so that a pass gains on what arrives. */
const MIN_SLICE = 64;

/** What one commit puts into `live`, and what is true once it is durable. */
export interface Slice {
  readonly heads: readonly (readonly [key: string, head: Head])[];
  /** `live` then has all entries up to this revision. */
  readonly applied: Revision;
  readonly next: number;
  readonly isLast: boolean;
}

export class PendingHeads {
  /** Newest first known; of keys in any order. */
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

  /** What the log says after `applied`, in its order. */
  replay({ key, revision, createRevision, deleted, expiresAtMs }: LogHeader): void {
    this.#heads.set(key, { modRevision: revision, createRevision, deleted, expiresAtMs });
  }

  get(key: string): Head | undefined {
    return this.#heads.get(key);
  }

  /** Keys from `start` on that begin with `prefix`, in order. */
  keys(prefix: string, start: string): string[] {
    const found: string[] = [];
    for (const key of this.#heads.keys())
      if (key.startsWith(prefix) && compareKeys(key, start) >= 0) found.push(key);
    return found.sort(compareKeys);
  }

  /** For a commit of so many entries; last: the newest revision that is durable already. all: everything at once. */
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

  /** The commit is durable. written: what its entries left; forgotten: keys whose deletes it swept, out of `live` too. */
  committed(
    slice: Slice,
    {
      written,
      forgotten,
    }: { readonly written: ReadonlyMap<string, Head>; readonly forgotten: readonly string[] },
  ): void {
    // What changed while it was written stays for the next pass.
    for (const [key, head] of slice.heads) if (this.#heads.get(key) === head) this.#heads.delete(key);
    for (const key of forgotten) this.#heads.delete(key);
    for (const [key, head] of written) this.#heads.set(key, head);
    this.#applied = slice.applied;
    if (slice.isLast) this.#pass = undefined;
    else if (this.#pass) this.#pass.next = slice.next;
  }

  /** The commit did not happen: the slice comes again. */
  failed(): void {
    this.#pass = undefined;
  }
}
