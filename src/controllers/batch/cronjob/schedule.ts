/**
 * When a cron schedule comes due: five fields or a word like @hourly, as upstream's parser (robfig/cron v3's standard one) reads them.
 * Times are wall-clock times of a time zone: a time that a leap ahead leaves out does not happen, one that a leap back repeats
 * happens twice. Seconds and TZ= prefixes are not supported (the API refuses both).
 */
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';
import type { WallClock, WallTime } from './wall-clock.ts';

const MINUTE_MS = 60_000;
/** A day that never comes (February 30th) is given up on after so many years. */
const YEARS = 5;

interface Field { readonly name: string; readonly low: number; readonly high: number; readonly words?: readonly string[] }

const MINUTE: Field = { name: 'minute', low: 0, high: 59 };
const HOUR: Field = { name: 'hour', low: 0, high: 23 };
const DAY: Field = { name: 'day-of-month', low: 1, high: 31 };
const MONTH: Field = { name: 'month', low: 1, high: 12, words: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'] };
const WEEKDAY: Field = { name: 'day-of-week', low: 0, high: 6, words: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] };

const WORDS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *', '@annually': '0 0 1 1 *', '@monthly': '0 0 1 * *', '@weekly': '0 0 * * 0', '@daily': '0 0 * * *', '@midnight': '0 0 * * *', '@hourly': '0 * * * *',
};

export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
}

/** The last time after `earliestMs` and not after now that a schedule came due. */
export function lastDueMs(schedule: Schedule, { earliestMs, nowMs }: { readonly earliestMs: number; readonly nowMs: number }): number | undefined {
  const firstMs = schedule.next(earliestMs);
  if (firstMs === undefined || firstMs > nowMs) return undefined;
  // Back from now in growing steps: the first step that reaches a time has few of them in it, however long ago the earliest is.
  for (let backMs = MINUTE_MS; ; backMs *= 2) {
    const fromMs = Math.max(earliestMs, nowMs - backMs);
    let lastMs: number | undefined;
    for (let ms = schedule.next(fromMs); ms !== undefined && ms <= nowMs; ms = schedule.next(ms)) lastMs = ms;
    if (lastMs !== undefined) return lastMs;
    if (fromMs === earliestMs) return firstMs;
  }
}

export interface Schedule {
  /** The first time after this moment, in milliseconds; undefined when there is none. */
  next(afterMs: number): number | undefined;
}

/** Throws ScheduleError, with upstream's text. */
export function parseSchedule(text: string, wallClock: WallClock): Schedule {
  if (text.startsWith('@every ')) return everyOf(text);
  if (text.startsWith('@') && !(text in WORDS)) throw new ScheduleError(`unrecognized descriptor: ${text}`);
  const parts = (WORDS[text] ?? text).trim().split(/\s+/);
  if (parts.length !== 5) throw new ScheduleError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  const [minutes, hours, days, months, weekdays] = [MINUTE, HOUR, DAY, MONTH, WEEKDAY].map((field, index) => parseField(parts[index]!, field));
  return new CronSchedule({ minutes: minutes!, hours: hours!, days: days!, months: months!, weekdays: weekdays! }, wallClock);
}

/** @every counts from the last time on, in whole seconds. */
function everyOf(text: string): Schedule {
  try {
    const stepMs = Math.max(1000, Math.floor(goDurationMs(text.slice('@every '.length)) / 1000) * 1000);
    return { next: (afterMs) => Math.floor(afterMs / 1000) * 1000 + stepMs };
  } catch (error) {
    throw new ScheduleError(`failed to parse duration ${text}: ${errorMessage(error)}`);
  }
}

interface Allowed {
  readonly values: ReadonlySet<number>;
  /** '*': as a day it leaves the choice to the other kind of day. */
  readonly isAny: boolean;
}

interface Fields { readonly minutes: Allowed; readonly hours: Allowed; readonly days: Allowed; readonly months: Allowed; readonly weekdays: Allowed }

class CronSchedule implements Schedule {
  readonly #fields: Fields;
  readonly #wallClock: WallClock;

  constructor(fields: Fields, wallClock: WallClock) {
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
      // Where a leap back repeats midnight, the day's first midnight may lie behind.
      if (!this.#fields.months.values.has(month)) ms = Math.max(ms + MINUTE_MS, this.#wallClock.midnightMs(year, month + 1, 1));
      else if (!this.#isDay(wall)) ms = Math.max(ms + MINUTE_MS, this.#wallClock.midnightMs(year, month, day + 1));
      else if (!this.#fields.hours.values.has(wall.hour)) ms += (60 - minute) * MINUTE_MS;
      else if (!this.#fields.minutes.values.has(minute)) ms += MINUTE_MS;
      else return ms;
    }
  }

  /** With both kinds of day restricted, either may fit. */
  #isDay({ day, weekday }: WallTime): boolean {
    const { days, weekdays } = this.#fields;
    const isDay = days.values.has(day), isWeekday = weekdays.values.has(weekday);
    return days.isAny || weekdays.isAny ? isDay && isWeekday : isDay || isWeekday;
  }
}

function parseField(text: string, field: Field): Allowed {
  const values = new Set<number>();
  let isAny = false;
  for (const range of text.split(',')) {
    const { low, high, step, star } = parseRange(range, field);
    isAny ||= star && step === 1;
    for (let value = low; value <= high; value += step) values.add(value);
  }
  return { values, isAny };
}

function parseRange(range: string, field: Field): { readonly low: number; readonly high: number; readonly step: number; readonly star: boolean } {
  const [span = '', stepText, ...moreSteps] = range.split('/');
  if (moreSteps.length > 0) throw new ScheduleError(`too many slashes: ${range}`);
  const [from = '', to, ...more] = span.split('-');
  if (more.length > 0) throw new ScheduleError(`too many hyphens: ${range}`);
  const star = from === '*' || from === '?';
  const low = star ? field.low : valueOf(from, field);
  const high = star || (to === undefined && stepText !== undefined) ? field.high : to === undefined ? low : valueOf(to, field);
  const step = stepText === undefined ? 1 : numberOf(stepText);
  if (low < field.low) throw new ScheduleError(`beginning of range (${low}) below minimum (${field.low}): ${range}`);
  if (high > field.high) throw new ScheduleError(`end of range (${high}) above maximum (${field.high}): ${range}`);
  if (low > high) throw new ScheduleError(`beginning of range (${low}) beyond end of range (${high}): ${range}`);
  if (step === 0) throw new ScheduleError(`step of range should be a positive number: ${range}`);
  return { low, high, step, star };
}

function valueOf(text: string, { words, low }: Field): number {
  const index = words?.indexOf(text.toLowerCase()) ?? -1;
  return index >= 0 ? index + low : numberOf(text);
}

function numberOf(text: string): number {
  if (!/^\d+$/.test(text)) throw new ScheduleError(`failed to parse int from ${text}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}
