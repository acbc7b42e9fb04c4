/** The string formats of OpenAPI validation; as in upstream, unknown formats are ignored. */
import { parseGoDuration } from '#machinery/go-duration.ts';
import { parseCIDR, parseIP } from '#machinery/ip.ts';

type Check = (text: string) => boolean;

const matches =
  (pattern: RegExp): Check =>
  (text) =>
    pattern.test(text);
const UUID = '[0-9a-f]{8}-?[0-9a-f]{4}-?';

/** 2006-01-02, an existing date. */
function isDate(text: string): boolean {
  const parts = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text);
  if (!parts) return false;
  const day = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.getUTCDate() === Number(parts[3]);
}

function isDateTime(text: string): boolean {
  const parts =
    /^(\d{4}-\d{2}-\d{2})[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)([.]\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)$/.exec(
      text,
    );
  return parts !== null && isDate(parts[1]!);
}

const DURATION_UNITS: readonly (readonly [RegExp, bigint])[] = [
  [/^(ns|nanoseconds?)$/, 1n],
  [/^(us|µs|microseconds?)$/, 1000n],
  [/^(ms|milliseconds?)$/, 1_000_000n],
  [/^(s|seconds?)$/, 1_000_000_000n],
  [/^(m|minutes?)$/, 60_000_000_000n],
  [/^(h|hours?)$/, 3_600_000_000_000n],
  [/^(d|days?)$/, 86_400_000_000_000n],
  [/^(w|weeks?)$/, 604_800_000_000_000n],
];

/** Nanoseconds of a value of the format 'duration': Go's form, or a number and a unit up to weeks ('3 days'). Throws. */
export function parseDurationFormat(text: string): bigint {
  try {
    return parseGoDuration(text);
  } catch {
    const [, count = '', name = ''] = /^(\d{1,19})\s*([a-zµ]+)$/.exec(text) ?? [];
    const unit = DURATION_UNITS.find(([pattern]) => pattern.test(name))?.[1];
    if (unit === undefined) throw new Error(`unable to parse ${text} as duration`);
    return BigInt(count) * unit;
  }
}

function isDuration(text: string): boolean {
  try {
    parseDurationFormat(text);
    return true;
  } catch {
    return false;
  }
}

function isLuhn(text: string): boolean {
  const digits = text.replaceAll(/[^0-9]/g, '');
  if (digits.length < 13 || digits.length > 19) return false;
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits.at(-1 - i));
    const weighed = i % 2 === 0 ? digit : digit * 2;
    sum += weighed > 9 ? weighed - 9 : weighed;
  }
  return sum % 10 === 0;
}

function isIsbn10(text: string): boolean {
  const plain = text.replaceAll(/[\s-]/g, '');
  if (!/^\d{9}[\dX]$/.test(plain)) return false;
  let sum = 0;
  for (let i = 0; i < 10; i++) sum += (plain[i] === 'X' ? 10 : Number(plain[i])) * (10 - i);
  return sum % 11 === 0;
}

function isIsbn13(text: string): boolean {
  const plain = text.replaceAll(/[\s-]/g, '');
  if (!/^\d{13}$/.test(plain)) return false;
  let sum = 0;
  for (let i = 0; i < 13; i++) sum += Number(plain[i]) * (i % 2 === 0 ? 1 : 3);
  return sum % 10 === 0;
}

/** One label, or several; then the last one has at least two letters. */
function isHostname(text: string): boolean {
  const labels = text.split('.'),
    last = labels.pop()!;
  if (Buffer.byteLength(text) > 255 || [...labels, last].some((label) => Buffer.byteLength(label) > 63))
    return false;
  if (labels.length === 0) return /^[a-zA-Z0-9\p{S}\p{L}](?:-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?$/u.test(last);
  return (
    /^[a-zA-Z\p{L}]{2,63}$/u.test(last) &&
    labels.every((label) =>
      /^[a-zA-Z0-9\p{S}\p{L}](?:[a-zA-Z0-9\p{S}\p{L}-]{0,61}[a-zA-Z0-9\p{S}\p{L}])?$/u.test(label),
    )
  );
}

const ADDRESS = /^[^\s@<>,;:"]+@[^\s@<>,;:"]+$/;

/** Plain, or in angle brackets after a name, as in mail headers. */
function isEmail(text: string): boolean {
  const named = /^(?:"(?:[^"\\]|\\.)*"|[^"<>@,;:\\()[\]]*)\s*<([^<>]*)>$/.exec(text.trim());
  return ADDRESS.test(named?.[1] ?? text.trim());
}

const dnsLabel = matches(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);

export const STRING_FORMATS: Readonly<Record<string, Check>> = {
  bsonobjectid: matches(/^[0-9a-fA-F]{24}$/),
  uri: (text) => URL.canParse(text) || text.startsWith('/'),
  email: isEmail,
  hostname: isHostname,
  ipv4: (text) => parseIP(text)?.family === 4,
  ipv6: (text) => text.includes(':') && parseIP(text) !== undefined,
  cidr: (text) => parseCIDR(text) !== undefined,
  mac: matches(/^([0-9a-fA-F]{2}([:-])([0-9a-fA-F]{2}\2)*[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.)+[0-9a-fA-F]{4})$/),
  uuid: matches(new RegExp(`^${UUID}[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, 'i')),
  uuid3: matches(new RegExp(`^${UUID}3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, 'i')),
  uuid4: matches(new RegExp(`^${UUID}4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$`, 'i')),
  uuid5: matches(new RegExp(`^${UUID}5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$`, 'i')),
  isbn: (text) => isIsbn10(text) || isIsbn13(text),
  isbn10: isIsbn10,
  isbn13: isIsbn13,
  creditcard: isLuhn,
  ssn: matches(/^\d{3}[- ]?\d{2}[- ]?\d{4}$/),
  hexcolor: matches(/^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$/),
  rgbcolor: matches(
    /^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$/,
  ),
  byte: matches(/^(?=.)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
  password: () => true,
  date: isDate,
  duration: isDuration,
  'date-time': isDateTime,
  datetime: isDateTime,
  'k8s-short-name': dnsLabel,
  'k8s-long-name': (text) => text.length <= 253 && text.split('.').every(dnsLabel),
};
