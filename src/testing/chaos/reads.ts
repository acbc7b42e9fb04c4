/**
 * Judges that no read is stale: a read without a resourceVersion shows every write that any client had an answer to before the read was sent, whichever servers
 * were asked. Programs are on one machine and their clocks are right, so moments of all of them can be compared. What a watch may show, and when, is not judged here.
 */
import type { Truth } from '#storage/testing/watch-oracle.ts';
import type { GetLine, PutLine } from './history.ts';

/** Writes in the order of their answers, each with the newest revision acknowledged until then. */
class Acknowledged {
  readonly #ends: number[] = [];
  readonly #newest: number[] = [];

  /** puts: in the order of their ends. */
  constructor(puts: readonly PutLine[]) {
    for (const { end, outcome } of puts) {
      if (typeof outcome !== 'number') continue;
      this.#ends.push(end);
      this.#newest.push(Math.max(outcome, this.#newest.at(-1) ?? 0));
    }
  }

  /** 0: none. */
  newestBefore(time: number): number {
    let [low, high] = [0, this.#ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]! < time) low = middle + 1;
      else high = middle;
    }
    return this.#newest[low - 1] ?? 0;
  }
}

/** puts: of all programs. One sentence a read that lacks what was acknowledged before it. */
export function judgeReads(
  { puts, gets }: { readonly puts: readonly PutLine[]; readonly gets: readonly GetLine[] },
  truth: Truth,
): string[] {
  const inOrder = puts.toSorted((a, b) => a.end - b.end);
  const ofAll = new Acknowledged(inOrder);
  const ofKey = new Map(
    Array.from(
      Map.groupBy(inOrder, ({ key }) => key),
      ([key, its]) => [key, new Acknowledged(its)],
    ),
  );
  const deletes = Map.groupBy(
    truth.events.filter(({ type }) => type === 'delete'),
    ({ key }) => key,
  );
  const found: string[] = [];
  for (const { by, key, revision, start } of gets) {
    if (revision === undefined) continue;
    const acknowledged = (key === undefined ? ofAll : ofKey.get(key))?.newestBefore(start) ?? 0;
    const isGone = key !== undefined && revision === 0;
    const isStale = isGone
      ? acknowledged > 0 && !deletes.get(key)?.some((event) => event.revision > acknowledged)
      : revision < acknowledged;
    if (isStale)
      found.push(
        `stale read: ${by} read ${key ?? 'a list'} at ${revision} after ${acknowledged} was acknowledged`,
      );
    if (key !== undefined && revision > 0 && truth.at(key, revision)?.type !== 'put')
      found.push(`read: ${by} read ${key} at ${revision}, which never was`);
  }
  return found;
}
