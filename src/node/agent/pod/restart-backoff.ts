/**
 * The restart delay of a container: none the first time, then 10 s doubling to 300 s, counted from its end; a run of 10 minutes resets it. Pure; the
 * pod's worker keeps the record.
 */

export interface BackoffRecord {
  readonly delayMs: number;
  /** The end of the run for which this delay was set. */
  readonly sinceMs: number;
}

const BACKOFF_INITIAL_MS = 10_000;
const BACKOFF_MAXIMUM_MS = 300_000;
const RESET_AFTER_MS = 2 * BACKOFF_MAXIMUM_MS;

/** When it may run again; undefined: now. */
export function backoffUntilMs(
  record: BackoffRecord | undefined,
  endedMs: number,
  nowMs: number,
): number | undefined {
  if (!record || endedMs - record.sinceMs > RESET_AFTER_MS) return undefined;
  const untilMs = endedMs + record.delayMs;
  return untilMs > nowMs ? untilMs : undefined;
}

/** The record after a restart of a container that ended at endedMs. */
export function nextBackoff(
  record: BackoffRecord | undefined,
  {
    endedMs,
    maximumMs = BACKOFF_MAXIMUM_MS,
  }: { readonly endedMs: number; readonly maximumMs?: number | undefined },
): BackoffRecord {
  if (!record || endedMs - record.sinceMs > RESET_AFTER_MS)
    return { delayMs: Math.min(BACKOFF_INITIAL_MS, maximumMs), sinceMs: endedMs };
  return { delayMs: Math.min(record.delayMs * 2, maximumMs), sinceMs: endedMs };
}

/** Go's text of a duration in whole seconds: '10s', '1m20s', '5m0s'. */
export function goSeconds(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
