/** Moments as text in the forms that are no API object's: logs, file names, HTTP headers. metav1's forms are in machinery/time.ts. */

/** RFC 3339 in UTC with milliseconds: '2026-01-02T03:04:05.678Z'. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** The day in UTC: '2026-01-02'. */
export function isoDay(ms: number): string {
  return isoTime(ms).slice(0, 10);
}

/** Of HTTP headers, RFC 9110 5.6.7: 'Fri, 02 Jan 2026 03:04:05 GMT'. */
export function httpDate(ms: number): string {
  return new Date(ms).toUTCString();
}
