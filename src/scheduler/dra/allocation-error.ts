/** Something is wrong with a claim, its class or its pools: as upstream, the scheduling attempt fails with this message. */
export class AllocationError extends Error {
  override readonly name: string = 'AllocationError';
}

/** The search took too long; the node is not feasible this time. */
export class AllocationTimeout extends AllocationError {
  override readonly name = 'AllocationTimeout';
}

/** Only this node is not feasible. */
export class NodeAllocationError extends AllocationError {
  override readonly name = 'NodeAllocationError';
}
