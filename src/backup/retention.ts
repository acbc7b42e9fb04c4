/**
 * Which backups are kept: a pure function of their order and times, as restic has it. Every one for a day, one an hour for a week, one a day for 90 days. These are counted from the
 * newest backup and over the hours and days that have one, never from the clock: a clock that jumps by a year, or a cluster that was off for one, costs no backup.
 */

export interface RetentionPolicy {
  readonly allMs: number;
  readonly hourlyMs: number;
  readonly dailyMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export const DEFAULT_RETENTION: RetentionPolicy = {
  allMs: DAY_MS,
  hourlyMs: 7 * DAY_MS,
  dailyMs: 90 * DAY_MS,
};

export interface Kept {
  readonly name: string;
  readonly timeMs: number;
  /** Its drill has passed. */
  readonly proven: boolean;
}

/** The names to remove, oldest first. The newest stays, and the newest that is proven. Of an hour or a day the oldest proven one is kept, else the oldest. */
export function expired(newestFirst: readonly Kept[], policy: RetentionPolicy): string[] {
  const kept = new Set<string>();
  for (const one of [newestFirst[0], newestFirst.find(({ proven }) => proven)]) if (one) kept.add(one.name);
  for (const name of youngerThan(policy.allMs, newestFirst)) kept.add(name);
  for (const name of oneOfEach(HOUR_MS, { newestFirst, keepMs: policy.hourlyMs })) kept.add(name);
  for (const name of oneOfEach(DAY_MS, { newestFirst, keepMs: policy.dailyMs })) kept.add(name);
  return newestFirst
    .map(({ name }) => name)
    .filter((name) => !kept.has(name))
    .toReversed();
}

/** Age is the time between backups up to the newest; of a longer pause, and of a clock that jumped, an hour counts. */
function youngerThan(keepMs: number, newestFirst: readonly Kept[]): string[] {
  const names: string[] = [];
  let ageMs = 0;
  for (const [i, { name, timeMs }] of newestFirst.entries()) {
    const newer = newestFirst[i - 1];
    if (newer) ageMs += Math.min(Math.max(newer.timeMs - timeMs, 0), HOUR_MS);
    if (ageMs > keepMs) break;
    names.push(name);
  }
  return names;
}

/** Of the newest slots that have a backup, as many as there are in the time, and the one that has begun. */
function oneOfEach(
  slotMs: number,
  { newestFirst, keepMs }: { readonly newestFirst: readonly Kept[]; readonly keepMs: number },
): string[] {
  const count = keepMs > 0 ? Math.ceil(keepMs / slotMs) + 1 : 0;
  const slots = new Map<number, Kept>();
  for (const one of newestFirst) {
    const slot = Math.floor(one.timeMs / slotMs);
    const newer = slots.get(slot);
    if (!newer && slots.size === count) continue;
    if (!newer || one.proven || !newer.proven) slots.set(slot, one);
  }
  return [...slots.values()].map(({ name }) => name);
}
