/** Timestamps of API objects (RFC 3339, as Go parses and formats them), and ages for tables. */

export class TimeError extends Error {
  override readonly name = 'TimeError';
}

/** metav1.Time: '2026-01-02T03:04:05Z'. */
export function formatTime(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second !== formattedSecond) {
    formattedText = `${new Date(second * 1000).toISOString().slice(0, 19)}Z`;
    formattedSecond = second;
  }
  return formattedText;
}

/** Caches the last second, because most times are now. */
let formattedSecond = Number.NaN,
  formattedText = '';

/** metav1.MicroTime: '2026-01-02T03:04:05.678000Z'. */
export function formatMicroTime(ms: number): string {
  return `${new Date(Math.floor(ms)).toISOString().slice(0, 23)}000Z`;
}

const LAYOUT = '2006-01-02T15:04:05Z07:00';
const MICRO_LAYOUT = '2006-01-02T15:04:05.000000Z07:00';
const MICRO_DIGITS = 6;
/** '2006-01-02T15:04:05' */
const WHOLE_SECONDS = 19;
const SHAPE =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?(Z|[-+][0-9]{2}:[0-9]{2})$/;
/** Go's zero time, which is null in JSON. */
const ZERO_MS = Date.parse('0001-01-01T00:00:00Z');

interface ParsedTime extends ZonedTime {
  /** Milliseconds since the epoch. */
  readonly ms: number;
}

/** A time with all digits of its text. */
interface ZonedTime {
  /** The whole second, in milliseconds since the epoch. */
  readonly secondMs: number;
  /** Digits behind the second; '' for none. */
  readonly fraction: string;
  /** From UTC, as written; 0 for Z. */
  readonly offsetMinutes: number;
}

/** Milliseconds since the epoch. Throws TimeError with Go's text. */
export function parseTime(text: string): number {
  return parse(text, LAYOUT).ms;
}

/** Throws TimeError with Go's text. */
export function parseZonedTime(text: string): ZonedTime {
  return parse(text, LAYOUT);
}

/** Milliseconds since the epoch; undefined when it is absent or invalid. */
export function timeMs(text: string | null | undefined): number | undefined {
  if (text === undefined || text === null) return undefined;
  const match = SHAPE.exec(text);
  if (!match) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** The canonical text, in UTC and whole seconds; null for Go's zero time. Throws TimeError. */
export function canonicalTime(text: string): string | null {
  const { ms } = parse(text, LAYOUT);
  if (ms === ZERO_MS) return null;
  return isPlain(text, 20) ? text : formatTime(ms);
}

/** As canonicalTime, with six fractional digits, which the text must have too. */
export function canonicalMicroTime(text: string): string | null {
  const { ms, fraction } = parse(text, MICRO_LAYOUT);
  if (fraction.length < MICRO_DIGITS)
    throw cannotParse(text, { layout: MICRO_LAYOUT, rest: text.slice(WHOLE_SECONDS), element: '.000000' });
  if (fraction.length > MICRO_DIGITS)
    throw cannotParse(text, {
      layout: MICRO_LAYOUT,
      rest: text.slice(WHOLE_SECONDS + 1 + MICRO_DIGITS),
      element: 'Z07:00',
    });
  if (ms === ZERO_MS && /^0*$/.test(fraction)) return null;
  return `${formatTime(ms).slice(0, WHOLE_SECONDS)}.${fraction}Z`;
}

function isPlain(text: string, length: number): boolean {
  return text.length === length && text.endsWith('Z');
}

function parse(text: string, layout: string): ParsedTime {
  const match = SHAPE.exec(text);
  if (!match) throw cannotParse(text, { layout, rest: text, element: firstWrongPart(text) });
  const [, year, month, day, hour, minute, second, fraction = '', zone = 'Z'] = match;
  const part =
    Number(month) < 1 || Number(month) > 12
      ? 'month'
      : Number(day) < 1 || Number(day) > daysOfMonth(Number(year), Number(month))
        ? 'day'
        : Number(hour) > 23
          ? 'hour'
          : Number(minute) > 59
            ? 'minute'
            : Number(second) > 59
              ? 'second'
              : zone !== 'Z' && (Number(zone.slice(1, 3)) > 24 || Number(zone.slice(4)) > 60)
                ? 'time zone offset hour'
                : undefined;
  if (part) throw new TimeError(`parsing time ${JSON.stringify(text)}: ${part} out of range`);
  const offsetMinutes =
    zone === 'Z'
      ? 0
      : (zone.startsWith('-') ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4)));
  const secondMs =
    Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) - offsetMinutes * 60_000;
  const ms = secondMs + Math.floor(Number(`0.${fraction.slice(0, 6) || '0'}`) * 1000);
  return { ms, secondMs, fraction, offsetMinutes };
}

/** rest: where Go stops parsing, at the layout's element. */
function cannotParse(
  text: string,
  { layout, rest, element }: { readonly layout: string; readonly rest: string; readonly element: string },
): TimeError {
  return new TimeError(
    `parsing time ${JSON.stringify(text)} as ${JSON.stringify(layout)}: cannot parse ${JSON.stringify(rest)} as ${JSON.stringify(element)}`,
  );
}

function daysOfMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** The layout element at which Go's parser fails. */
function firstWrongPart(text: string): string {
  const elements: [RegExp, string][] = [
    [/^[0-9]{4}/, '2006'],
    [/^-/, '-'],
    [/^[0-9]{2}/, '01'],
    [/^-/, '-'],
    [/^[0-9]{2}/, '02'],
    [/^T/, 'T'],
    [/^[0-9]{2}/, '15'],
    [/^:/, ':'],
    [/^[0-9]{2}/, '04'],
    [/^:/, ':'],
    [/^[0-9]{2}(?:[.,][0-9]+)?/, '05'],
  ];
  let rest = text;
  for (const [pattern, name] of elements) {
    const found = pattern.exec(rest);
    if (!found) return name;
    rest = rest.slice(found[0].length);
  }
  return 'Z07:00';
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Two to three significant figures, as the AGE column shows: 5s, 2m30s, 3h, 5d, 2y41d. */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / SECOND);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(ms / MINUTE);
  if (minutes < 10) return withRest(minutes, 'm', { rest: seconds % 60, unit: 's' });
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(ms / HOUR);
  if (hours < 8) return withRest(hours, 'h', { rest: minutes % 60, unit: 'm' });
  if (hours < 48) return `${hours}h`;
  const days = Math.trunc(hours / 24);
  if (days < 8) return withRest(days, 'd', { rest: hours % 24, unit: 'h' });
  if (days < 730) return `${days}d`;
  const years = Math.trunc(days / 365);
  return years < 8 ? withRest(years, 'y', { rest: days % 365, unit: 'd' }) : `${years}y`;
}

function withRest(
  count: number,
  unit: string,
  small: { readonly rest: number; readonly unit: string },
): string {
  return small.rest === 0 ? `${count}${unit}` : `${count}${unit}${small.rest}${small.unit}`;
}

/** The AGE of a time stamp, '<unknown>' when there is none. */
export function age(timestamp: string | null | undefined, nowMs: number): string {
  const ms = timeMs(timestamp);
  return ms === undefined ? '<unknown>' : humanDuration(nowMs - ms);
}
