/**
 * Comparing resourceVersions of one resource, as upstream lets clients do it: numbers of any length above 0, without leading zeros
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
 */

/** Upstream's words for what is none; undefined for a good one. */
export function resourceVersionProblem(text: string): string | undefined {
  return /^[1-9][0-9]*$/.test(text) ? undefined : `resource version is not well formed: ${text}`;
}

/** Below, at or above 0 as left is older than, the same as or newer than right. Both must be good. */
export function compareResourceVersions(left: string, right: string): number {
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}
