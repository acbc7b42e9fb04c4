/** Taints and tolerations: which taints a pod tolerates, and for how long. Pure. After upstream's api/core/v1 and component-helpers/scheduling. */
import type { Taint, Toleration } from '#api/types.ts';
import { parseInt64 } from '#machinery/int64.ts';

export function toleratesTaint(
  { key, operator, value = '', effect }: Toleration,
  { key: taintKey, value: taintValue = '', effect: taintEffect }: Taint,
): boolean {
  if (effect && effect !== taintEffect) return false;
  if (key && key !== taintKey) return false;
  switch (operator || 'Equal') {
    case 'Equal':
      return value === taintValue;
    case 'Exists':
      return true;
    case 'Lt':
    case 'Gt':
      return comparesTo(operator, { value, taintValue });
    default:
      return false;
  }
}

/** Whether the taint's value is below ('Lt') or above ('Gt') the toleration's; false when one of them is not a 64-bit integer. */
function comparesTo(
  operator: string | undefined,
  { value, taintValue }: { readonly value: string; readonly taintValue: string },
): boolean {
  const tolerated = parseInt64(value);
  const tainted = parseInt64(taintValue);
  if (tolerated === undefined || tainted === undefined) return false;
  return operator === 'Lt' ? tainted < tolerated : tainted > tolerated;
}

export function toleratesAny(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return (tolerations ?? []).some((toleration) => toleratesTaint(toleration, taint));
}

/** The first taint with one of these effects that is not tolerated. */
export function findUntoleratedTaint(
  taints: readonly Taint[] | undefined,
  options: { readonly tolerations: readonly Toleration[] | undefined; readonly effects: readonly string[] },
): Taint | undefined {
  return taints?.find(
    (taint) => options.effects.includes(taint.effect) && !toleratesAny(options.tolerations, taint),
  );
}

/**
 * Seconds that a pod may stay on a node with these taints: 0 when one of them is not tolerated, Infinity when no matching toleration
 * has a limit. As upstream, the shortest of the matching tolerations applies.
 */
export function minTolerationSeconds(
  taints: readonly Taint[],
  tolerations: readonly Toleration[] | undefined,
): number {
  let seconds = Infinity;
  for (const taint of taints) {
    const used = (tolerations ?? []).filter((toleration) => toleratesTaint(toleration, taint));
    if (used.length === 0) return 0;
    for (const { tolerationSeconds } of used)
      if (tolerationSeconds !== undefined) seconds = Math.min(seconds, Math.max(0, tolerationSeconds));
  }
  return seconds;
}
