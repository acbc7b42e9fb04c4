/** cel-go's functions of timestamps and durations: conversions, and parts in a time zone. */
import { parseGoDuration } from '#machinery/go-duration.ts';
import { andResult, readInputs } from '../charges.ts';
import { Duration } from '../datatypes.ts';
import { EvaluationError } from '../errors.ts';
import type { Functions } from '../functions.ts';
import { Timestamp } from '../timestamp.ts';
import { fail } from './add.ts';

const TIMESTAMP = 'google.protobuf.Timestamp',
  DURATION = 'google.protobuf.Duration';
const same = (value: unknown): unknown => value;

function toTimestamp(text: string): Timestamp {
  try {
    return Timestamp.parse(text);
  } catch (error) {
    if (error instanceof EvaluationError) throw error;
    return fail(`type conversion error from 'string' to '${TIMESTAMP}'`);
  }
}

function toDuration(text: string): Duration {
  try {
    return new Duration(parseGoDuration(text));
  } catch {
    return fail(`type conversion error from 'string' to '${DURATION}'`);
  }
}

// ----------------------------------------------------------------------------------------------------------------- zones

/** Time zones whose formatters are cached: expressions use few. */
const MAX_ZONES = 100;
const clocks = new Map<string, Intl.DateTimeFormat>();

/** The clock of a zone of the time zone database, or of the server: Local. */
function findClock(zone: string): Intl.DateTimeFormat {
  let clock = clocks.get(zone);
  if (!clock) {
    clock = makeClock(zone);
    if (clocks.size >= MAX_ZONES) clocks.clear();
    clocks.set(zone, clock);
  }
  return clock;
}

function makeClock(zone: string): Intl.DateTimeFormat {
  // The platform reads offsets without a colon and names in any case; Go does not.
  if (!/^[A-Z]/.test(zone)) fail(`unknown time zone ${zone}`);
  const fields = { year: 'numeric', month: 'numeric', day: 'numeric', era: 'short' } as const;
  const time = { hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' } as const;
  try {
    return new Intl.DateTimeFormat('en-US', {
      ...fields,
      ...time,
      ...(zone === 'Local' ? {} : { timeZone: zone }),
    });
  } catch {
    return fail(`unknown time zone ${zone}`);
  }
}

/** The date and time that clocks of the zone show, as if it were UTC. */
function shiftToZone(value: Timestamp, zone: string): Date {
  if (zone === '' || zone === 'UTC') return new Date(value.ms);
  const colon = zone.indexOf(':');
  if (colon < 0) return readClock(value.ms, findClock(zone));
  const hours = parseAtoi(zone.slice(0, colon)),
    minutes = parseAtoi(zone.slice(colon + 1));
  const offset = hours * 60 + (zone.startsWith('-') ? -minutes : minutes);
  const shifted = new Date(value.ms + offset * 60_000);
  return Number.isNaN(shifted.getTime()) ? fail('timestamp overflow') : shifted;
}

/** As Go's strconv.Atoi. */
function parseAtoi(text: string): number {
  if (!/^[-+]?[0-9]+$/.test(text)) fail(`strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  if (text.length > 18) fail(`strconv.Atoi: parsing ${JSON.stringify(text)}: value out of range`);
  return Number(text);
}

function readClock(ms: number, clock: Intl.DateTimeFormat): Date {
  const shown: Partial<Record<Intl.DateTimeFormatPartTypes, string>> = {};
  for (const { type, value } of clock.formatToParts(ms)) shown[type] = value;
  const year = shown.era === 'BC' ? 1 - Number(shown.year) : Number(shown.year);
  const date = new Date(0);
  date.setUTCFullYear(year, Number(shown.month) - 1, Number(shown.day));
  date.setUTCHours(
    Number(shown.hour),
    Number(shown.minute),
    Number(shown.second),
    ((ms % 1000) + 1000) % 1000,
  );
  return date;
}

function dayOfYear(value: Date): number {
  const first = new Date(value);
  first.setUTCMonth(0, 1);
  return Math.round((value.getTime() - first.getTime()) / 86_400_000);
}

const PARTS: Readonly<Record<string, (value: Date) => number>> = {
  getDate: (value) => value.getUTCDate(),
  getDayOfMonth: (value) => value.getUTCDate() - 1,
  getDayOfWeek: (value) => value.getUTCDay(),
  getDayOfYear: dayOfYear,
  getFullYear: (value) => value.getUTCFullYear(),
  getHours: (value) => value.getUTCHours(),
  getMilliseconds: (value) => value.getUTCMilliseconds(),
  getMinutes: (value) => value.getUTCMinutes(),
  getMonth: (value) => value.getUTCMonth(),
  getSeconds: (value) => value.getUTCSeconds(),
};

/** The platform is slow at parts of a time in a time zone. */
const ZONE_COST = 500;
const chargeZone = andResult(readInputs, () => ZONE_COST);

/** In whole units, rounded as Go's conversion of floating point. */
const countUnits =
  (unit: bigint) =>
  (value: Duration): bigint =>
    BigInt(Math.trunc(value.in(unit)));

export const TIMES: Functions = {
  [`int(${TIMESTAMP}): int`]: (value: Timestamp) => value.seconds,
  [`int(${DURATION}): int`]: (value: Duration) => value.nanoseconds,
  [`string(${TIMESTAMP}): string`]: String,
  [`string(${DURATION}): string`]: String,
  [`duration(${DURATION}): ${DURATION}`]: same,
  [`duration(string): ${DURATION}`]: toDuration,
  [`timestamp(${TIMESTAMP}): ${TIMESTAMP}`]: same,
  [`timestamp(int): ${TIMESTAMP}`]: (seconds: bigint) => Timestamp.fromSeconds(seconds),
  [`timestamp(string): ${TIMESTAMP}`]: toTimestamp,
  ...Object.fromEntries(
    Object.entries(PARTS).flatMap(([name, part]) => [
      [`${TIMESTAMP}.${name}(): int`, (value: Timestamp) => BigInt(part(new Date(value.ms)))],
      [
        `${TIMESTAMP}.${name}(string): int`,
        {
          charge: chargeZone,
          run: (value: Timestamp, zone: string) => BigInt(part(shiftToZone(value, zone))),
        },
      ],
    ]),
  ),
  [`${DURATION}.getHours(): int`]: countUnits(3_600_000_000_000n),
  [`${DURATION}.getMinutes(): int`]: countUnits(60_000_000_000n),
  [`${DURATION}.getSeconds(): int`]: countUnits(1_000_000_000n),
  [`${DURATION}.getMilliseconds(): int`]: ({ nanoseconds }: Duration) => nanoseconds / 1_000_000n,
};
