/** Kubernetes' order of version names: stable before beta before alpha, higher numbers first, then other names alphabetically. */
const SHAPE = /^v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?$/;
const RANK: Readonly<Record<string, number>> = { alpha: 1, beta: 2 };

/** Negative when left is preferred. */
export function compareVersions(left: string, right: string): number {
  const a = SHAPE.exec(left),
    b = SHAPE.exec(right);
  if (!a || !b) return a ? -1 : b ? 1 : left < right ? -1 : left > right ? 1 : 0;
  const rank = (parts: RegExpExecArray): number => (parts[2] === undefined ? 3 : RANK[parts[2]]!);
  return rank(b) - rank(a) || Number(b[1]) - Number(a[1]) || Number(b[3] ?? 0) - Number(a[3] ?? 0);
}
