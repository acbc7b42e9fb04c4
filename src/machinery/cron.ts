/**
 * The grammar of cron schedules: five fields or a macro like @hourly, as the CronJob controller's parser (robfig/cron v3's standard one)
 * accepts them, with its messages. The controller computes the times.
 */
import { GoDurationError, goDurationMs } from './go-duration.ts';

class CronError extends Error {
  override readonly name = 'CronError';
}

interface Field {
  readonly name: string;
  readonly low: number;
  readonly high: number;
  readonly words?: readonly string[];
}

const MINUTE: Field = { name: 'minute', low: 0, high: 59 };
const HOUR: Field = { name: 'hour', low: 0, high: 23 };
const DAY: Field = { name: 'day-of-month', low: 1, high: 31 };
const MONTH: Field = {
  name: 'month',
  low: 1,
  high: 12,
  words: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
};
const WEEKDAY: Field = {
  name: 'day-of-week',
  low: 0,
  high: 6,
  words: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'],
};

const WORDS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};
const EVERY = '@every ';

interface CronField {
  readonly values: ReadonlySet<number>;
  /** '*': the other day field decides alone. */
  readonly isAny: boolean;
}

export interface CronFields {
  readonly minutes: CronField;
  readonly hours: CronField;
  readonly days: CronField;
  readonly months: CronField;
  readonly weekdays: CronField;
}

/** Either fields, or an interval in milliseconds (whole seconds, at least one) after the last time. */
type Cron =
  | { readonly fields: CronFields; readonly everyMs?: undefined }
  | { readonly fields?: undefined; readonly everyMs: number };

/** Throws CronError. A time zone prefix (TZ=…) is not accepted here: see cronProblem. */
export function parseCron(text: string): Cron {
  if (text.startsWith(EVERY)) return { everyMs: everyMs(text) };
  if (text.startsWith('@') && !Object.hasOwn(WORDS, text))
    throw new CronError(`unrecognized descriptor: ${text}`);
  const parts = (WORDS[text] ?? text).trim().split(/\s+/);
  if (parts.length !== 5)
    throw new CronError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  const [minutes, hours, days, months, weekdays] = [MINUTE, HOUR, DAY, MONTH, WEEKDAY].map((field, index) =>
    parseField(parts[index]!, field),
  );
  return { fields: { minutes: minutes!, hours: hours!, days: days!, months: months!, weekdays: weekdays! } };
}

/** The error of a schedule, which may begin with a time zone; undefined when it is valid. */
export function cronProblem(text: string): string | undefined {
  if (text === '') return 'empty spec string';
  const zone = /^(?:CRON_)?TZ=(\S+)\s+/.exec(text);
  if (zone && !isTimeZone(zone[1]!)) return `provided bad location ${zone[1]}: unknown time zone ${zone[1]}`;
  try {
    parseCron(zone ? text.slice(zone[0].length) : text);
    return undefined;
  } catch (error) {
    if (!(error instanceof CronError)) throw error;
    return error.message;
  }
}

/** A name in the time zone database. */
export function isTimeZone(name: string): boolean {
  if (name === 'UTC') return true;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return /^[A-Za-z_]+(\/[-A-Za-z0-9_+]+)*$/.test(name);
  } catch {
    return false;
  }
}

function everyMs(text: string): number {
  try {
    return Math.max(1000, Math.floor(goDurationMs(text.slice(EVERY.length)) / 1000) * 1000);
  } catch (error) {
    if (!(error instanceof GoDurationError)) throw error;
    throw new CronError(`failed to parse duration ${text}: ${error.message}`);
  }
}

function parseField(text: string, field: Field): CronField {
  const values = new Set<number>();
  let isAny = false;
  for (const range of text.split(',')) {
    // Extra commas are ignored.
    if (range === '') continue;
    const { low, high, step, star } = parseRange(range, field);
    isAny ||= star && step === 1;
    for (let value = low; value <= high; value += step) values.add(value);
  }
  return { values, isAny };
}

function parseRange(
  range: string,
  field: Field,
): { readonly low: number; readonly high: number; readonly step: number; readonly star: boolean } {
  const [span = '', stepText, ...moreSteps] = range.split('/');
  const [from = '', to, ...more] = span.split('-');
  const star = from === '*' || from === '?';
  const low = star ? field.low : valueOf(from, field);
  if (!star && more.length > 0) throw new CronError(`too many hyphens: ${range}`);
  const end = star ? field.high : to === undefined ? low : valueOf(to, field);
  if (moreSteps.length > 0) throw new CronError(`too many slashes: ${range}`);
  const step = stepText === undefined ? 1 : parseFlagNumber(stepText);
  // 'n/step' extends to the maximum.
  const high = stepText !== undefined && to === undefined ? field.high : end;
  if (low < field.low)
    throw new CronError(`beginning of range (${low}) below minimum (${field.low}): ${range}`);
  if (high > field.high)
    throw new CronError(`end of range (${high}) above maximum (${field.high}): ${range}`);
  if (low > high) throw new CronError(`beginning of range (${low}) beyond end of range (${high}): ${range}`);
  if (step === 0) throw new CronError(`step of range should be a positive number: ${range}`);
  return { low, high, step, star };
}

function valueOf(text: string, { words, low }: Field): number {
  const index = words?.indexOf(text.toLowerCase()) ?? -1;
  return index >= 0 ? index + low : parseFlagNumber(text);
}

function parseFlagNumber(text: string): number {
  if (!/^\d+$/.test(text))
    throw new CronError(
      `failed to parse int from ${text}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  return Number(text);
}
