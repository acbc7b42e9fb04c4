/** Which taints a pod bears, and for how long. Pure. */
import type { Taint, Toleration } from '#api/types.ts';

export function tolerates(
  { key, operator = 'Equal', value = '', effect }: Toleration,
  taint: Taint,
): boolean {
  if (effect && effect !== taint.effect) return false;
  if (key && key !== taint.key) return false;
  if (operator === 'Exists') return true;
  if (operator === 'Equal' || operator === '') return Boolean(key) && value === (taint.value ?? '');
  return comparesTo(operator, { tolerated: value, tainted: taint.value ?? '' });
}

/** Operators Lt and Gt: the taint's number is below, or above, what is tolerated. */
function comparesTo(
  operator: string,
  { tolerated, tainted }: { readonly tolerated: string; readonly tainted: string },
): boolean {
  const integer = /^(0|-?[1-9]\d*)$/;
  if (!integer.test(tolerated) || !integer.test(tainted)) return false;
  if (operator === 'Lt') return BigInt(tainted) < BigInt(tolerated);
  return operator === 'Gt' && BigInt(tainted) > BigInt(tolerated);
}

export function noExecuteTaints(taints: readonly Taint[] | undefined): Taint[] {
  return (taints ?? []).filter(({ effect }) => effect === 'NoExecute');
}

/**
 * How long a pod may stay on a node with these taints: 0 when one of them is not tolerated, Infinity when none of the tolerations that
 * are used ends. As upstream, the shortest of the tolerations that match some taint counts.
 */
export function toleratedSeconds(
  taints: readonly Taint[],
  tolerations: readonly Toleration[] | undefined,
): number {
  let seconds = Infinity;
  for (const taint of taints) {
    const used = (tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
    if (used.length === 0) return 0;
    for (const { tolerationSeconds } of used)
      if (tolerationSeconds !== undefined) seconds = Math.min(seconds, Math.max(0, tolerationSeconds));
  }
  return seconds;
}
