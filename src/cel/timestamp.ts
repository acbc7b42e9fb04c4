/** Timestamps: nanoseconds, and the offset they were written with, as Go's time.Time. Ranges and errors are cel-go's. */
import { parseZonedTime } from '#machinery/time.ts';
import { isoTime } from '#stdx/dates.ts';
import { Duration, INT_MAX, INT_MIN } from './datatypes.ts';
import { EvaluationError } from './errors.ts';

const SECOND = 1_000_000_000n,
  MINUTE_MS = 60_000;
/** 0001-01-01T00:00:00Z and the end of the year 9999, in nanoseconds. */
const FIRST = -62_135_596_800n * SECOND,
  END = 253_402_300_800n * SECOND;

export class Timestamp {
  /** Since the epoch. */
  readonly nanoseconds: bigint;
  /** Shown in texts; UTC is 0. */
  readonly offsetMinutes: number;

  constructor(nanoseconds: bigint, offsetMinutes = 0) {
    if (nanoseconds < FIRST || nanoseconds >= END) throw new EvaluationError('timestamp overflow');
    this.nanoseconds = nanoseconds;
    this.offsetMinutes = offsetMinutes;
  }

  /** RFC 3339 as Go reads it; digits beyond nanoseconds are dropped. Throws TimeError, or EvaluationError outside of the range. */
  static parse(text: string): Timestamp {
    const { secondMs, fraction, offsetMinutes } = parseZonedTime(text);
    const nanoseconds = BigInt(fraction.slice(0, 9).padEnd(9, '0'));
    return new Timestamp(BigInt(secondMs) * 1_000_000n + nanoseconds, offsetMinutes);
  }

  static fromSeconds(seconds: bigint): Timestamp {
    return new Timestamp(seconds * SECOND);
  }

  /** Since the epoch, rounded down. */
  get seconds(): bigint {
    return (this.nanoseconds - this.#fraction) / SECOND;
  }

  /** Since the epoch, rounded down. */
  get ms(): number {
    return Number((this.nanoseconds - (this.#fraction % 1_000_000n)) / 1_000_000n);
  }

  /** Of the last second. */
  get #fraction(): bigint {
    return ((this.nanoseconds % SECOND) + SECOND) % SECOND;
  }

  /** Go's zero time. */
  get isZero(): boolean {
    return this.nanoseconds === FIRST;
  }

  plus({ nanoseconds }: Duration): Timestamp {
    return new Timestamp(this.nanoseconds + nanoseconds, this.offsetMinutes);
  }

  minus({ nanoseconds }: Duration): Timestamp {
    // cel-go adds the negated duration, and the smallest has none.
    if (nanoseconds === INT_MIN) throw new EvaluationError('integer overflow');
    return new Timestamp(this.nanoseconds - nanoseconds, this.offsetMinutes);
  }

  /** Throws unless the whole seconds, in nanoseconds, are in the range of 64 bits, as cel-go does. */
  since(other: Timestamp): Duration {
    const wholeSeconds = (this.seconds - other.seconds) * SECOND;
    if (wholeSeconds < INT_MIN || wholeSeconds > INT_MAX) throw new EvaluationError('integer overflow');
    return new Duration(this.nanoseconds - other.nanoseconds);
  }

  valueOf(): bigint {
    return this.nanoseconds;
  }

  /** RFC 3339 without trailing zeros of the fraction, in the timestamp's own offset: Go's RFC3339Nano. */
  toString(): string {
    const local = isoTime(this.ms + this.offsetMinutes * MINUTE_MS).replace(/^\+0/, '');
    const fraction = String(this.#fraction).padStart(9, '0').replace(/0+$/, '');
    return `${local.slice(0, local.indexOf('.'))}${fraction === '' ? '' : `.${fraction}`}${formatOffset(this.offsetMinutes)}`;
  }
}

function formatOffset(minutes: number): string {
  if (minutes === 0) return 'Z';
  const magnitude = Math.abs(minutes),
    pad = (part: number): string => String(part).padStart(2, '0');
  return `${minutes < 0 ? '-' : '+'}${pad(Math.floor(magnitude / 60))}:${pad(magnitude % 60)}`;
}
