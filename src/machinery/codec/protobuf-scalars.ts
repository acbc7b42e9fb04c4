/** Converts times, durations and bytes between JSON and the wire. */
import { isoTime } from '#stdx/dates.ts';
import { formatGoDuration, GoDurationError, parseGoDuration } from '../go-duration.ts';
import { ProtobufError } from './protobuf-errors.ts';

export interface WireTime {
  readonly seconds: number;
  readonly microseconds: number;
}

const rfc3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;

/** Truncated to microseconds. */
export function parseTime(text: string): WireTime | undefined {
  const match = rfc3339.exec(text);
  const ms = match ? Date.parse(match[1]! + match[3]!) : NaN;
  if (Number.isNaN(ms)) return undefined;
  return {
    seconds: ms / 1000,
    microseconds: match![2] === undefined ? 0 : Number(match![2].slice(0, 6).padEnd(6, '0')),
  };
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
  return isoTime(date.getTime()).slice(0, -5);
}

export function base64ToBytes(text: string): Buffer {
  if (typeof text !== 'string')
    throw new ProtobufError('wrong-value', `bytes must be a base64 string, not ${typeof text}`);
  return Buffer.from(text, 'base64');
}

/** Nanoseconds of a duration as Go writes it: '1h2m3.5s'. */
export function parseDuration(text: string): number {
  try {
    return Number(parseGoDuration(text));
  } catch (error) {
    throw error instanceof GoDurationError ? new ProtobufError('wrong-value', error.message) : error;
  }
}

export function formatDuration(nanoseconds: number): string {
  return formatGoDuration(BigInt(nanoseconds));
}
