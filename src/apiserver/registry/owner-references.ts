/** Duplicate owner references: the server keeps one and warns, as upstream since 1.20. */
import type { ObjectMeta } from '#machinery/object.ts';

/** afterAdmission: it was admission that named them. */
export function dropRepeatedOwners(
  meta: ObjectMeta,
  warn: (message: string) => void,
  { afterAdmission = false }: { readonly afterAdmission?: boolean } = {},
): void {
  const references = meta.ownerReferences;
  if (!references || references.length < 2) return;
  const kept: typeof references = [],
    repeated: string[] = [];
  const known = new Set<string>();
  for (const reference of references) {
    const { apiVersion, kind, name, uid, controller, blockOwnerDeletion } = reference;
    const all = JSON.stringify([apiVersion, kind, name, uid, controller ?? null, blockOwnerDeletion ?? null]);
    if (known.has(all)) repeated.push(uid ?? '');
    else kept.push(reference);
    known.add(all);
  }
  if (repeated.length === 0) return;
  meta.ownerReferences = kept;
  const where = afterAdmission ? ' after mutating admission happens' : '';
  warn(
    `.metadata.ownerReferences contains duplicate entries${where}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${repeated.join(', ')}`,
  );
}
