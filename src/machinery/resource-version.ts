/**
 * Compares resourceVersions of one resource, as upstream allows clients to do: numbers of any length above 0, without leading zeros
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
 */

/** Upstream's message for an invalid one; undefined for a valid one. */
export function resourceVersionProblem(text: string): string | undefined {
  return /^[1-9][0-9]*$/.test(text) ? undefined : `resource version is not well formed: ${text}`;
}

/** Negative, 0 or positive as left is older than, the same as or newer than right. Both must be valid. */
export function compareResourceVersions(left: string, right: string): number {
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}
