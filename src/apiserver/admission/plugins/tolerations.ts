/** Tolerations that imply one another, for the plugins that add and restrict them. After upstream's pkg/util/tolerations. */
import { deepEqual } from '#machinery/json.ts';
import type { Toleration } from '#api/types.ts';

/** Whatever `toleration` tolerates, `wider` does too. */
export function impliesToleration(wider: Toleration, toleration: Toleration): boolean {
  if (deepEqual(wider, toleration)) return true;
  const isForEveryKey = !wider.key && wider.operator === 'Exists';
  if ((toleration.key ?? '') !== (wider.key ?? '') && !isForEveryKey) return false;
  if (wider.effect && toleration.effect !== wider.effect) return false;
  if (
    wider.effect === 'NoExecute' &&
    wider.tolerationSeconds !== undefined &&
    (toleration.tolerationSeconds === undefined || toleration.tolerationSeconds > wider.tolerationSeconds)
  )
    return false;
  switch (wider.operator ?? 'Equal') {
    case 'Exists':
      return true;
    case 'Equal':
      return (toleration.operator ?? 'Equal') === 'Equal' && (toleration.value ?? '') === (wider.value ?? '');
    // Gt and Lt are implied by the same only, which was compared first.
    default:
      return false;
  }
}

/** Both lists without what another of them implies; of equal ones the first stays. */
export function mergeTolerations(first: readonly Toleration[], second: readonly Toleration[]): Toleration[] {
  const all = [...first, ...second];
  const merged: Toleration[] = [];
  all.forEach((toleration, i) => {
    if (merged.some((kept) => impliesToleration(kept, toleration))) return;
    if (
      all.slice(i + 1).some((later) => !deepEqual(later, toleration) && impliesToleration(later, toleration))
    )
      return;
    merged.push(toleration);
  });
  return merged;
}
