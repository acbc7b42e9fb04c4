/** The order in which surplus pods are deleted, after upstream's ActivePodsWithRanks. Pure. */
import type { Pod } from '#api/types.ts';
import { isPodReady, readySinceMs } from '#component-helpers/pod-status.ts';
import { compareText, createdMs } from './object-order.ts';

const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';
const PHASES: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/** ranks: the number of pods of the same owner on each pod's node, by node name. */
export function podsToDelete(
  pods: readonly Pod[],
  count: number,
  { ranks, nowMs }: { readonly ranks: ReadonlyMap<string, number>; readonly nowMs: number },
): Pod[] {
  if (count >= pods.length) return [...pods];
  return pods.toSorted((a, b) => compare(a, b, { ranks, nowMs })).slice(0, count);
}

/** Active related pods by node. */
export function ranksByNode(related: readonly Pod[]): Map<string, number> {
  const ranks = new Map<string, number>();
  for (const pod of related) {
    const node = pod.spec?.nodeName ?? '';
    ranks.set(node, (ranks.get(node) ?? 0) + 1);
  }
  return ranks;
}

function compare(
  a: Pod,
  b: Pod,
  { ranks, nowMs }: { readonly ranks: ReadonlyMap<string, number>; readonly nowMs: number },
): number {
  const aNode = a.spec?.nodeName ?? '',
    bNode = b.spec?.nodeName ?? '';
  return (
    Number(aNode !== '') - Number(bNode !== '') ||
    phaseOf(a) - phaseOf(b) ||
    Number(isPodReady(a)) - Number(isPodReady(b)) ||
    deletionCost(a) - deletionCost(b) ||
    (ranks.get(bNode) ?? 0) - (ranks.get(aNode) ?? 0) ||
    compareReadySince(a, b, nowMs) ||
    restarts(b) - restarts(a) ||
    compareAges(a, createdMs(a), { other: b, otherMs: createdMs(b), nowMs })
  );
}

function phaseOf(pod: Pod): number {
  return PHASES[pod.status?.phase ?? ''] ?? 0;
}

function deletionCost(pod: Pod): number {
  const text = pod.metadata?.annotations?.[DELETION_COST];
  return text !== undefined && /^-?(0|[1-9][0-9]{0,9})$/.test(text) ? Number(text) : 0;
}

function compareReadySince(a: Pod, b: Pod, nowMs: number): number {
  if (!isPodReady(a) || !isPodReady(b)) return 0;
  const aMs = readySinceMs(a),
    bMs = readySinceMs(b);
  if (aMs === bMs) return 0;
  if (aMs === undefined || bMs === undefined) return aMs === undefined ? -1 : 1;
  return compareAges(a, aMs, { other: b, otherMs: bMs, nowMs });
}

/** Newer pods first; ages are compared on a logarithmic scale, as upstream, so that scaling down does not always delete the newest. */
function compareAges(
  pod: Pod,
  ms: number,
  { other, otherMs, nowMs }: { readonly other: Pod; readonly otherMs: number; readonly nowMs: number },
): number {
  if (ms === otherMs) return 0;
  return (
    magnitude(nowMs - ms) - magnitude(nowMs - otherMs) ||
    compareText(pod.metadata?.uid ?? '', other.metadata?.uid ?? '')
  );
}

function magnitude(ageMs: number): number {
  return ageMs > 0 ? Math.floor(Math.log2(ageMs * 1e6)) : -1;
}

function restarts(pod: Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount));
}
