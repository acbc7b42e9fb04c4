/** A moment as people name it: '14:02' of today (yesterday, where that is still to come), '15m' ago, a date, RFC 3339; without a zone in that of this machine. */
import { UserError } from '#deploy/data-dir.ts';

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DAY_MS = 86_400_000;

/** Milliseconds since the epoch. Throws a UserError. */
export function parseMoment(flag: string, text: string, nowMs: number): number {
  const ago = durationMs(text);
  if (ago !== undefined) return nowMs - ago;
  const [, hour, minute, second = '0'] = /^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/.exec(text) ?? [];
  if (hour !== undefined) {
    const moment = new Date(nowMs).setHours(Number(hour), Number(minute), Number(second), 0);
    return moment > nowMs ? moment - DAY_MS : moment;
  }
  const ms = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text)
    ? Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text.replace(' ', 'T'))
    : Number.NaN;
  if (Number.isNaN(ms))
    throw new UserError(
      `${flag} is "${text}"; it should be a time like 14:02, an age like 15m, or a date like 2026-12-02T14:02:00Z.`,
    );
  return ms;
}

function durationMs(text: string): number | undefined {
  if (!/^(\d+[smhd])+$/.test(text)) return undefined;
  return [...text.matchAll(/(\d+)([smhd])/g)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * UNITS[unit!]!,
    0,
  );
}
