/** What the autoscaler reads of a Node: its readiness and the marks of upstream's cluster autoscaler. Pure. */
import type { Node, Taint } from '#api/types.ts';
import { findCondition } from '#component-helpers/conditions.ts';

export const TO_BE_DELETED = 'ToBeDeletedByClusterAutoscaler';
export const DELETION_CANDIDATE = 'DeletionCandidateOfClusterAutoscaler';
/** While a Node has an annotation that begins so, its deletion waits. */
export const DELAY_DELETION = 'delay-deletion.cluster-autoscaler.kubernetes.io/';

const STARTUP_TAINTS = [
  'startup-taint.cluster-autoscaler.kubernetes.io/',
  'ignore-taint.cluster-autoscaler.kubernetes.io/',
];
const NOT_READY_TAINTS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];

/** Ready, and past what has to be done before pods come. */
export function isNodeReady({ spec, status }: Node): boolean {
  if (findCondition(status?.conditions, 'Ready')?.status !== 'True') return false;
  return !(spec?.taints ?? []).some(
    ({ key }) => NOT_READY_TAINTS.includes(key) || STARTUP_TAINTS.some((prefix) => key.startsWith(prefix)),
  );
}

export function findTaint({ spec }: Node, key: string): Taint | undefined {
  return spec?.taints?.find((taint) => taint.key === key);
}

export function isBeingDeleted(node: Node): boolean {
  return findTaint(node, TO_BE_DELETED) !== undefined || node.metadata?.deletionTimestamp !== undefined;
}
