/** Which of several default classes (of storage, of ingresses) counts. */
import type { KubeObject } from '#machinery/object.ts';

/** Upstream chooses the newest, then the first by name. */
export function newestDefault<T extends Pick<KubeObject, 'metadata'>>(
  candidates: readonly T[],
): T | undefined {
  return candidates.toSorted((left, right) => {
    const [a, b] = [left.metadata?.creationTimestamp ?? '', right.metadata?.creationTimestamp ?? ''];
    if (a !== b) return a > b ? -1 : 1;
    return (left.metadata?.name ?? '') < (right.metadata?.name ?? '') ? -1 : 1;
  })[0];
}
