/** Which backups are kept: a pure function of their times, as kops has it. Every one for a day, one an hour for a week, one a day for 90 days. */

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

/** The names to remove. The newest stays, and the newest that is proven, whatever their age. Of an hour or a day the oldest proven one is kept, else the oldest. */
export function expired(
  backups: readonly Kept[],
  { nowMs, policy }: { readonly nowMs: number; readonly policy: RetentionPolicy },
): string[] {
  const oldestFirst = backups.toSorted((a, b) => a.timeMs - b.timeMs);
  const kept = new Set<string>();
  const newest = oldestFirst.at(-1);
  const newestProven = oldestFirst.findLast(({ proven }) => proven);
  for (const one of [newest, newestProven]) if (one) kept.add(one.name);
  for (const { name, timeMs } of oldestFirst) if (nowMs - timeMs <= policy.allMs) kept.add(name);
  for (const [withinMs, slotMs] of [
    [policy.hourlyMs, HOUR_MS],
    [policy.dailyMs, DAY_MS],
  ] as const)
    for (const name of firstOfSlots(
      oldestFirst.filter(({ timeMs }) => nowMs - timeMs <= withinMs),
      slotMs,
    ))
      kept.add(name);
  return oldestFirst.map(({ name }) => name).filter((name) => !kept.has(name));
}

function firstOfSlots(oldestFirst: readonly Kept[], slotMs: number): string[] {
  const slots = new Map<number, Kept>();
  for (const one of oldestFirst) {
    const slot = Math.floor(one.timeMs / slotMs);
    const before = slots.get(slot);
    if (!before || (one.proven && !before.proven)) slots.set(slot, one);
  }
  return [...slots.values()].map(({ name }) => name);
}
