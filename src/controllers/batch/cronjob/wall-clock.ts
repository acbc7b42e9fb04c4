/** Wall-clock times of a time zone, and the moments of midnight. */
import { isoTime } from '#stdx/dates.ts';

export interface WallTime {
  readonly year: number;
  /** From 1. */
  readonly month: number;
  readonly day: number;
  /** From 0, Sunday. */
  readonly weekday: number;
  readonly hour: number;
  readonly minute: number;
}

const MINUTE_MS = 60_000;

export class WallClock {
  readonly #format: Intl.DateTimeFormat;

  /** Default: the time zone of this process. Throws RangeError for an unknown one. */
  constructor(timeZone?: string) {
    this.#format = new Intl.DateTimeFormat('en-US', {
      ...(timeZone === undefined ? {} : { timeZone }),
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  }

  at(ms: number): WallTime {
    const wall = new Date(ms + this.offsetMs(ms));
    return {
      year: wall.getUTCFullYear(),
      month: wall.getUTCMonth() + 1,
      day: wall.getUTCDate(),
      weekday: wall.getUTCDay(),
      hour: wall.getUTCHours(),
      minute: wall.getUTCMinutes(),
    };
  }

  /** The zone's offset from UTC at this moment. */
  offsetMs(ms: number): number {
    const parts: Record<string, number> = {};
    for (const { type, value } of this.#format.formatToParts(ms)) parts[type] = Number(value);
    return (
      Date.UTC(
        parts['year']!,
        parts['month']! - 1,
        parts['day'],
        parts['hour'],
        parts['minute'],
        parts['second'],
      ) -
      Math.floor(ms / 1000) * 1000
    );
  }

  /** The start of the day; months and days beyond the last overflow. Where midnight is skipped, the first existing minute. */
  midnightMs(year: number, month: number, day: number): number {
    const wallMs = Date.UTC(year, month - 1, day);
    let ms = wallMs - this.offsetMs(wallMs);
    ms = wallMs - this.offsetMs(ms);
    while (ms + this.offsetMs(ms) < wallMs) ms += MINUTE_MS;
    return ms;
  }

  /** RFC 3339 with the zone's offset. */
  text(ms: number): string {
    const offsetMs = this.offsetMs(ms);
    const wall = isoTime(ms + offsetMs).slice(0, 19);
    if (offsetMs === 0) return `${wall}Z`;
    const minutes = Math.abs(offsetMs) / MINUTE_MS;
    const pad = (value: number): string => String(Math.floor(value)).padStart(2, '0');
    return `${wall}${offsetMs < 0 ? '-' : '+'}${pad(minutes / 60)}:${pad(minutes % 60)}`;
  }
}
