/**
 * Reads the history of a server: its change log and its store's own revisions, merged by revision and key. Values come back as the store keeps them.
 *
 *   change log ─► frames of the wanted time and revisions ─► changes of the wanted keys ─┐
 *   store      ─► revisions that are not compacted        ─► changes of the wanted keys ─┴─► merged ─► what was asked for, and the last state of each key before it
 */
import type { Store } from '#storage/store.ts';
import { compareChanges, type Change, type Gap, type Reveal } from './change.ts';
import type { FrameHeader } from './frames.ts';
import { listLogFiles, readLogFile } from './log-files.ts';
import { lastWriter } from './last-writer.ts';
import { readRevisions } from './store-history.ts';

export interface HistoryQuery {
  /** '/registry/pods/'. */
  readonly prefix: string;
  /** Of keys below the prefix; default: all. */
  readonly matches?: ((key: string) => boolean) | undefined;
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  /** Not beyond this one. */
  readonly untilRevision?: number | undefined;
  readonly afterRevision?: number | undefined;
  /** With values, and the last change of each key before `sinceMs`, for comparison. */
  readonly values: boolean;
}

export interface History {
  /** In order. */
  readonly changes: readonly Change[];
  /** The last change before the first of `changes`, of keys that have one. */
  readonly before: readonly Change[];
  /** Gaps within the range. */
  readonly gaps: readonly Gap[];
  /** History begins here; undefined: there is none. */
  readonly from: { readonly revision: number; readonly timeMs: number | undefined } | undefined;
}

export interface HistorySources {
  /** Change logs, of several servers where they share a store. */
  readonly dirs: readonly string[];
  /** The raw one, with values as it keeps them. Undefined: the log alone. */
  readonly store?: Store | undefined;
  /** A change's value as the API server has it; undefined where it cannot be read. */
  readonly reveal: Reveal;
}

/** What one answer may hold; more is refused. */
const MAX_BYTES = 256 * 1024 * 1024;
const CHANGE_BYTES = 400;
/** Clocks of servers differ, and a frame has a second of changes. */
const CLOCK_MS = 5_000;

export class TooMuchHistoryError extends Error {
  constructor() {
    super(
      `there are more than ${MAX_BYTES} bytes of changes: ask for one name, one namespace or a shorter time`,
    );
    this.name = 'TooMuchHistoryError';
  }
}

export async function readHistory(sources: HistorySources, query: HistoryQuery): Promise<History> {
  const reading = new Reading(query);
  for (const dir of sources.dirs) await reading.readLog(dir);
  if (sources.store) await reading.readStore(sources.store, sources.reveal);
  return reading.finish();
}

class Reading {
  readonly #query: HistoryQuery;
  readonly #changes = new Map<string, Change>();
  readonly #before = new Map<string, Change>();
  readonly #gaps: Gap[] = [];
  #from: History['from'];
  #bytes = 0;

  constructor(query: HistoryQuery) {
    this.#query = query;
  }

  async readLog(dir: string): Promise<void> {
    const { untilMs = Infinity, untilRevision = Infinity } = this.#query;
    const isWanted = (header: FrameHeader): boolean => {
      this.#reaches(header.firstRevision, header.firstMs);
      return (
        (header.kind === 'changes' || header.kind === 'gap') &&
        header.firstMs <= untilMs + CLOCK_MS &&
        header.firstRevision <= untilRevision &&
        (this.#needsBefore || this.#isInRange(header))
      );
    };
    for (const { path, timeMs } of listLogFiles(dir)) {
      let last = 0;
      const onDamage = (): void =>
        void this.#gaps.push({
          fromRevision: last + 1,
          toRevision: last + 1,
          timeMs,
          count: 0,
          reason: `${path} is damaged`,
        });
      for (const frame of readLogFile(path, { wants: isWanted, onDamage })) {
        last = frame.header.lastRevision;
        if (frame.header.kind === 'gap') this.#takeGap(frame.gap());
        else for (const change of frame.changes()) this.#take(change);
      }
      // Others first.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  get #needsBefore(): boolean {
    return this.#query.values && this.#query.sinceMs !== undefined;
  }

  #isInRange({ lastMs, lastRevision }: FrameHeader): boolean {
    const { sinceMs = 0, afterRevision = 0 } = this.#query;
    return lastMs >= sinceMs - CLOCK_MS && lastRevision > afterRevision;
  }

  #takeGap(gap: Gap): void {
    const { sinceMs = 0, afterRevision = 0 } = this.#query;
    if (gap.timeMs >= sinceMs && gap.toRevision > afterRevision) this.#gaps.push(gap);
  }

  async readStore(store: Store, reveal: Reveal): Promise<void> {
    const until = (await store.newestRevision?.()) ?? store.revision;
    const { afterRevision = 0 } = this.#query;
    const after = Math.max(store.compactedRevision, this.#needsBefore ? 0 : afterRevision);
    let first: number | undefined;
    let newestMs: number | undefined;
    for await (const batch of readRevisions(store, { after, until, prefix: this.#query.prefix }))
      for (const change of batch) {
        if (this.#query.matches?.(change.key) === false) continue;
        const known = this.#changes.get(idOf(change));
        // etcd has no times: a change is at least as late as those before it.
        const timeMs =
          known?.timeMs ?? change.timeMs ?? latest((await lastWriter(change, reveal)).timeMs, newestMs);
        newestMs = latest(newestMs, timeMs);
        first ??= timeMs;
        if (!known) this.#take({ ...change, timeMs });
      }
    this.#reaches(after + 1, first);
  }

  #reaches(revision: number, timeMs: number | undefined): void {
    if (this.#from && this.#from.revision <= revision) return;
    this.#from = { revision, timeMs };
  }

  #take(change: Change): void {
    const {
      prefix,
      matches,
      sinceMs,
      untilMs = Infinity,
      untilRevision = Infinity,
      afterRevision = 0,
    } = this.#query;
    const { key, revision, timeMs = sinceMs ?? 0 } = change;
    if (!key.startsWith(prefix) || (matches && !matches(key)) || timeMs > untilMs || revision > untilRevision)
      return;
    const isBefore = timeMs < (sinceMs ?? 0) || revision <= afterRevision;
    if (isBefore && !this.#needsBefore) return;
    // Where the user is not known, the object tells its manager.
    const isWanted = this.#query.values || change.user === undefined;
    const kept = isWanted ? change : { ...change, value: undefined };
    if (isBefore) {
      const known = this.#before.get(key);
      if (known && known.revision >= revision) return;
      this.#before.set(key, kept);
      this.#count(kept, known);
    } else {
      const id = idOf(change);
      // A server that has ended uncleanly finds its last changes again in the store, without their user.
      const known = this.#changes.get(id);
      if (known?.user !== undefined) return;
      this.#changes.set(id, kept);
      this.#count(kept, known);
    }
  }

  #count(kept: Change, instead: Change | undefined): void {
    this.#bytes += sizeOf(kept) - (instead ? sizeOf(instead) : 0);
    if (this.#bytes > MAX_BYTES) throw new TooMuchHistoryError();
  }

  finish(): History {
    return {
      changes: [...this.#changes.values()].toSorted(compareChanges),
      before: [...this.#before.values()].toSorted(compareChanges),
      gaps: this.#gaps.toSorted((a, b) => a.fromRevision - b.fromRevision),
      from: this.#from,
    };
  }
}

function idOf({ revision, key }: Change): string {
  return `${revision} ${key}`;
}

function sizeOf({ key, value }: Change): number {
  return CHANGE_BYTES + key.length + (value?.length ?? 0);
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.max(a, b);
}
