/** Status counts of kinds with replicas: not negative, and not more than replicas. */
import type { StatefulSetStatus } from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import { checkNonNegative } from '../checks.ts';
import { Errors, STATUS } from '../field-path.ts';

interface ReplicaCounts {
  replicas?: number;
  fullyLabeledReplicas?: number;
  readyReplicas?: number;
  availableReplicas?: number;
  currentReplicas?: number;
  updatedReplicas?: number;
  terminatingReplicas?: number;
  observedGeneration?: number;
}

/** For ReplicaSets and ReplicationControllers. */
export function checkReplicaStatus(status: ReplicaCounts): FieldError[] {
  const errors = new Errors();
  for (const field of [
    'replicas',
    'fullyLabeledReplicas',
    'readyReplicas',
    'availableReplicas',
    'observedGeneration',
    'terminatingReplicas',
  ] as const)
    checkNonNegative(status[field], STATUS, field, errors);
  checkAtMost(status, ['fullyLabeledReplicas', 'readyReplicas', 'availableReplicas'], errors);
  checkAvailable(status, 'readyReplicas', errors);
  return errors.list;
}

export function checkStatefulSetStatus(
  status: Partial<StatefulSetStatus>,
  stored: Partial<StatefulSetStatus>,
): FieldError[] {
  const errors = new Errors();
  for (const field of [
    'replicas',
    'readyReplicas',
    'currentReplicas',
    'updatedReplicas',
    'availableReplicas',
    'observedGeneration',
    'collisionCount',
  ] as const)
    checkNonNegative(status[field], STATUS, field, errors);
  checkAtMost(status, ['readyReplicas', 'currentReplicas', 'updatedReplicas', 'availableReplicas'], errors);
  checkAvailable(status, 'status.readyReplicas', errors);
  if (stored.collisionCount !== undefined && (status.collisionCount ?? -1) < stored.collisionCount)
    errors.invalid(STATUS.child('collisionCount'), status.collisionCount ?? 0, 'cannot be decremented');
  return errors.list;
}

function checkAtMost(status: ReplicaCounts, fields: readonly (keyof ReplicaCounts)[], errors: Errors): void {
  for (const field of fields) {
    const count = status[field] ?? 0;
    if (count > (status.replicas ?? 0))
      errors.invalid(STATUS.child(field), count, 'cannot be greater than status.replicas');
  }
}

/** ready: the field's name in upstream's message. */
function checkAvailable(
  { availableReplicas = 0, readyReplicas = 0 }: ReplicaCounts,
  ready: string,
  errors: Errors,
): void {
  if (availableReplicas > readyReplicas)
    errors.invalid(STATUS.child('availableReplicas'), availableReplicas, `cannot be greater than ${ready}`);
}
