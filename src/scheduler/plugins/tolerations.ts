/** Whether tolerations cover a taint; shared by the plugins that look at taints. */
import type { Taint, Toleration } from '#api/types.ts';

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  switch (toleration.operator || 'Equal') {
    case 'Exists':
      return true;
    case 'Equal':
      return Boolean(toleration.key) && (toleration.value ?? '') === (taint.value ?? '');
    case 'Lt':
      return compareNumbers(taint.value, toleration.value) < 0;
    case 'Gt':
      return compareNumbers(taint.value, toleration.value) > 0;
    default:
      return false;
  }
}

/** NaN (so: never) unless both are whole numbers. */
function compareNumbers(left: string | undefined, right: string | undefined): number {
  return /^-?\d+$/.test(left ?? '') && /^-?\d+$/.test(right ?? '')
    ? Number(left) - Number(right)
    : Number.NaN;
}

export function firstUntolerated(
  taints: readonly Taint[],
  options: { readonly tolerations: readonly Toleration[]; readonly effects: readonly string[] },
): Taint | undefined {
  return taints.find(
    (taint) =>
      options.effects.includes(taint.effect) &&
      !options.tolerations.some((toleration) => tolerates(toleration, taint)),
  );
}
