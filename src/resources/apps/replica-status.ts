/** Counts in the status of what keeps replicas: none negative, none more than there are. */
import type { FieldError } from '#machinery/errors.ts';
import { checkNonNegative } from '../checks.ts';
import { Errors, STATUS } from '../field-path.ts';

interface ReplicaCounts {
  replicas?: number;
  fullyLabeledReplicas?: number;
  readyReplicas?: number;
  availableReplicas?: number;
  observedGeneration?: number;
}

export function checkReplicaStatus(status: ReplicaCounts): FieldError[] {
  const errors = new Errors();
  for (const field of ['replicas', 'fullyLabeledReplicas', 'readyReplicas', 'availableReplicas', 'observedGeneration'] as const) checkNonNegative(status[field], STATUS, field, errors);
  const { replicas = 0, readyReplicas = 0, availableReplicas = 0 } = status;
  for (const field of ['fullyLabeledReplicas', 'readyReplicas', 'availableReplicas'] as const) {
    const count = status[field] ?? 0;
    if (count > replicas) errors.invalid(STATUS.child(field), count, 'cannot be greater than status.replicas');
  }
  if (availableReplicas > readyReplicas) errors.invalid(STATUS.child('availableReplicas'), availableReplicas, 'cannot be greater than readyReplicas');
  return errors.list;
}
