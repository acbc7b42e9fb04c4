/** The JSON forms of times, durations and bytes, to and from what the wire holds. */
import { ProtobufError } from './protobuf-errors.ts';

export interface WireTime { readonly seconds: number; readonly microseconds: number }

const rfc3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;

/** Finer than a microsecond is cut off. */
export function parseTime(text: string): WireTime | undefined {
  const match = rfc3339.exec(text);
  const ms = match ? Date.parse(match[1]! + match[3]!) : NaN;
  if (Number.isNaN(ms)) return undefined;
  return { seconds: ms / 1000, microseconds: match![2] === undefined ? 0 : Number(match![2].slice(0, 6).padEnd(6, '0')) };
}

/** '2008-01-01T01:01:01Z' */
export function formatTime(seconds: number): string {
  return `${isoSeconds(seconds)}Z`;
}

/** '2008-01-01T01:01:01.000001Z' */
export function formatMicroTime({ seconds, microseconds }: WireTime): string {
  return `${isoSeconds(seconds)}.${String(microseconds).padStart(6, '0')}Z`;
}

function isoSeconds(seconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw new ProtobufError('malformed', `time ${seconds} is out of range`);
  return date.toISOString().slice(0, -5);
}

export function base64ToBytes(text: string): Buffer {
  if (typeof text !== 'string') throw new ProtobufError('wrong-value', `bytes must be a base64 string, not ${typeof text}`);
  return Buffer.from(text, 'base64');
}

const nanosecondsOf: Readonly<Record<string, number>> = { ns: 1, us: 1e3, 'µs': 1e3, 'μs': 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Nanoseconds of a duration as Go writes it: '1h2m3.5s'. */
export function parseDuration(text: string): number {
  const match = /^([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text);
  if (!match) throw new ProtobufError('wrong-value', `time: invalid duration "${text}"`);
  let total = 0;
  for (const [, amount, unit] of match[2]!.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|μs|ms|s|m|h)/g)) total += Number(amount) * nanosecondsOf[unit!]!;
  return Math.round(match[1] === '-' ? -total : total);
}

/** As Go's Duration.String: '0s', '1.5ms', '1m30s'. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  const sign = nanoseconds < 0 ? '-' : '';
  const amount = Math.abs(nanoseconds);
  if (amount < 1e3) return `${sign}${amount}ns`;
  if (amount < 1e6) return `${sign}${amount / 1e3}µs`;
  if (amount < 1e9) return `${sign}${amount / 1e6}ms`;
  const hours = Math.floor(amount / 3600e9);
  const minutes = Math.floor((amount % 3600e9) / 60e9);
  const seconds = (amount % 60e9) / 1e9;
  return `${sign}${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}
