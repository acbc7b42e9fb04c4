/** Durations of Gateway API (GEP-2257): '1h30m', '500ms'; a subset of Go's. */
const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** In milliseconds; what is no duration counts as none. */
export function parseRouteDuration(text: string): number {
  return Array.from(text.matchAll(/(\d+)(ms|h|m|s)/g)).reduce(
    (sum, [, count, unit]) => sum + Number(count) * UNIT_MS[unit!]!,
    0,
  );
}
