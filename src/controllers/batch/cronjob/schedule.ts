/**
 * Computes the times of a cron schedule. Times are wall-clock times of a time zone: a time skipped by a daylight saving change does not occur, one
 * that is repeated occurs twice. The grammar is #machinery/cron.ts; TZ= prefixes are not accepted (the API rejects them).
 */
import { parseCron, type CronFields } from '#machinery/cron.ts';
import type { WallClock, WallTime } from './wall-clock.ts';

const MINUTE_MS = 60_000;
/** The search for a day that never occurs (February 30th) ends after this many years. */
const YEARS = 5;

/** The last scheduled time after `earliestMs` and not after now. */
export function lastDueMs(
  schedule: Schedule,
  { earliestMs, nowMs }: { readonly earliestMs: number; readonly nowMs: number },
): number | undefined {
  const firstMs = schedule.next(earliestMs);
  if (firstMs === undefined || firstMs > nowMs) return undefined;
  // Searches backwards in growing steps: the first step that contains a time contains few of them, however long ago the earliest is.
  for (let backMs = MINUTE_MS; ; backMs *= 2) {
    const fromMs = Math.max(earliestMs, nowMs - backMs);
    let lastMs: number | undefined;
    for (let ms = schedule.next(fromMs); ms !== undefined && ms <= nowMs; ms = schedule.next(ms)) lastMs = ms;
    if (lastMs !== undefined) return lastMs;
    if (fromMs === earliestMs) return firstMs;
  }
}

export interface Schedule {
  /** The first scheduled time after this moment, in milliseconds; undefined when there is none. */
  next(afterMs: number): number | undefined;
}

/** Throws CronError, with upstream's message. */
export function parseSchedule(text: string, wallClock: WallClock): Schedule {
  const { fields, everyMs } = parseCron(text);
  if (fields) return new CronSchedule(fields, wallClock);
  return { next: (afterMs) => Math.floor(afterMs / 1000) * 1000 + everyMs };
}

class CronSchedule implements Schedule {
  readonly #fields: CronFields;
  readonly #wallClock: WallClock;

  constructor(fields: CronFields, wallClock: WallClock) {
    this.#fields = fields;
    this.#wallClock = wallClock;
  }

  next(afterMs: number): number | undefined {
    let ms = Math.floor(afterMs / MINUTE_MS) * MINUTE_MS + MINUTE_MS;
    const lastYear = this.#wallClock.at(ms).year + YEARS;
    for (;;) {
      const wall = this.#wallClock.at(ms);
      if (wall.year > lastYear) return undefined;
      const { year, month, day, minute } = wall;
      // Where midnight is repeated, the day's first midnight may be in the past.
      if (!this.#fields.months.values.has(month))
        ms = Math.max(ms + MINUTE_MS, this.#wallClock.midnightMs(year, month + 1, 1));
      else if (!this.#isDay(wall))
        ms = Math.max(ms + MINUTE_MS, this.#wallClock.midnightMs(year, month, day + 1));
      else if (!this.#fields.hours.values.has(wall.hour)) ms += (60 - minute) * MINUTE_MS;
      else if (!this.#fields.minutes.values.has(minute)) ms += MINUTE_MS;
      else return ms;
    }
  }

  /** With both day fields restricted, either may match. */
  #isDay({ day, weekday }: WallTime): boolean {
    const { days, weekdays } = this.#fields;
    const isDay = days.values.has(day),
      isWeekday = weekdays.values.has(weekday);
    return days.isAny || weekdays.isAny ? isDay && isWeekday : isDay || isWeekday;
  }
}
