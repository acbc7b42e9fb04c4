/** Formats of times outside of API objects: logs, file names, HTTP headers. metav1's formats are in machinery/time.ts. */

/** RFC 3339 in UTC with milliseconds: '2026-01-02T03:04:05.678Z'. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** The day in UTC: '2026-01-02'. */
export function isoDay(ms: number): string {
  return isoTime(ms).slice(0, 10);
}

/** HTTP date, RFC 9110 5.6.7: 'Fri, 02 Jan 2026 03:04:05 GMT'. */
export function httpDate(ms: number): string {
  return new Date(ms).toUTCString();
}
