/** Go's time.Duration as text ('1h2m0.5s'), the JSON form of metav1.Duration. Nanoseconds are bigint, for exactness. */

export class GoDurationError extends Error {
  override readonly name = 'GoDurationError';
}

const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1000n,
  µs: 1000n,
  μs: 1000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const LIMIT = 2n ** 63n;

/** Nanoseconds. Throws GoDurationError with Go's text. */
export function parseGoDuration(text: string): bigint {
  const quoted = JSON.stringify(text);
  const negative = text.startsWith('-');
  const rest = /^[-+]/.test(text) ? text.slice(1) : text;
  if (rest === '0') return 0n;
  if (rest === '') throw new GoDurationError(`time: invalid duration ${quoted}`);
  const part = /([0-9]*)(?:(\.)([0-9]*))?([^0-9.]*)/y;
  let nanoseconds = 0n;
  while (part.lastIndex < rest.length) {
    const [, integer = '', , fraction = '', unitText = ''] = part.exec(rest) ?? [];
    if (integer === '' && fraction === '') throw new GoDurationError(`time: invalid duration ${quoted}`);
    if (unitText === '') throw new GoDurationError(`time: missing unit in duration ${quoted}`);
    const unit = Object.hasOwn(UNITS, unitText) ? UNITS[unitText] : undefined;
    if (unit === undefined)
      throw new GoDurationError(`time: unknown unit ${JSON.stringify(unitText)} in duration ${quoted}`);
    // No valid duration is that long; parsing it as a number would take quadratic time.
    if (integer.length > 40) throw new GoDurationError(`time: invalid duration ${quoted}`);
    const digits = fraction.slice(0, 18);
    nanoseconds +=
      BigInt(integer || '0') * unit + (BigInt(digits || '0') * unit) / 10n ** BigInt(digits.length);
    if (nanoseconds > LIMIT) throw new GoDurationError(`time: invalid duration ${quoted}`);
  }
  if (!negative && nanoseconds === LIMIT) throw new GoDurationError(`time: invalid duration ${quoted}`);
  return negative ? -nanoseconds : nanoseconds;
}

/** As Go's Duration.String: '1h0m0s', '1.5s', '300ms', '0s'. */
export function formatGoDuration(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return '0s';
  const sign = nanoseconds < 0n ? '-' : '';
  const magnitude = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  if (magnitude < 1000n) return `${sign}${magnitude}ns`;
  if (magnitude < 1_000_000n) return `${sign}${decimal(magnitude, 3)}µs`;
  if (magnitude < 1_000_000_000n) return `${sign}${decimal(magnitude, 6)}ms`;
  const minutes = magnitude / UNITS['m']!;
  const seconds = `${decimal(magnitude % UNITS['m']!, 9)}s`;
  if (minutes === 0n) return sign + seconds;
  const hours = minutes / 60n;
  return hours === 0n ? `${sign}${minutes}m${seconds}` : `${sign}${hours}h${minutes % 60n}m${seconds}`;
}

/** value / 10^places without trailing zeros. */
function decimal(value: bigint, places: number): string {
  const digits = String(value).padStart(places + 1, '0');
  const fraction = digits.slice(-places).replace(/0+$/, '');
  return fraction === '' ? digits.slice(0, -places) : `${digits.slice(0, -places)}.${fraction}`;
}

/** Milliseconds, as a number, for timers. Throws GoDurationError. */
export function goDurationMs(text: string): number {
  return Number(parseGoDuration(text)) / 1e6;
}
