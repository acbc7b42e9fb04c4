/** Selectors over cache entries, and work on long lists in slices that let the event loop breathe. */
import type { FieldSelector } from '#machinery/fields.ts';
import type { LabelSelector } from '#machinery/labels.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { objectOf } from '../registry/transform.ts';

export type EntryFilter = (entry: CacheEntry) => boolean;

/** Undefined when everything matches. namespace and name are omitted where the caller's key range already covers them. */
export function createFilter(
  endpoint: StoredEndpoint,
  {
    labelSelector,
    fieldSelector,
  }: { readonly labelSelector: LabelSelector | undefined; readonly fieldSelector: FieldSelector | undefined },
): EntryFilter | undefined {
  if (!labelSelector && !fieldSelector) return undefined;
  const { cache } = endpoint;
  return (entry) => {
    if (labelSelector && !labelSelector.matches(cache.labels(entry))) return false;
    if (!fieldSelector) return true;
    const fields = endpoint.fieldsOf ? endpoint.fieldsOf(objectOf(endpoint, entry)) : cache.fields(entry);
    return fieldSelector.matches((field) => fields[field] ?? '');
  };
}

/** A slice of work at most this long. */
const SLICE_MS = 8;
/** The clock is read once per so many items. */
const CHECK_EVERY = 32;

/** Calls visit for every item, yielding after each slice. Stops when visit returns false. */
export function inSlices<T>(items: readonly T[], visit: (item: T) => boolean | void): void | Promise<void> {
  const next = slice(items, { from: 0, visit });
  return next === undefined ? undefined : goOn(items, { from: next, visit });
}

async function goOn<T>(
  items: readonly T[],
  { from, visit }: { readonly from: number; readonly visit: (item: T) => boolean | void },
): Promise<void> {
  for (let next: number | undefined = from; next !== undefined;) {
    await new Promise((resolve) => setImmediate(resolve));
    next = slice(items, { from: next, visit });
  }
}

function slice<T>(
  items: readonly T[],
  { from, visit }: { readonly from: number; readonly visit: (item: T) => boolean | void },
): number | undefined {
  const end = performance.now() + SLICE_MS;
  for (let i = from; i < items.length; i++) {
    if (visit(items[i]!) === false) return undefined;
    if ((i + 1) % CHECK_EVERY === 0 && performance.now() > end && i + 1 < items.length) return i + 1;
  }
  return undefined;
}
