/** Sort orders of objects: by age, by name. Pure. */
import { timeMs } from '#machinery/time.ts';

export function createdMs(object: {
  readonly metadata?: { readonly creationTimestamp?: string | null };
}): number {
  return timeMs(object.metadata?.creationTimestamp) ?? 0;
}

/** Oldest first, then by name. */
export function byAge(
  a: { readonly metadata?: { readonly creationTimestamp?: string | null; readonly name?: string } },
  b: typeof a,
): number {
  return createdMs(a) - createdMs(b) || compareText(a.metadata?.name ?? '', b.metadata?.name ?? '');
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
