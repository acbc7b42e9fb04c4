/** The fields of a pod that binding and eviction change. */
export interface Condition {
  type: string;
  status: string;
  lastTransitionTime?: string;
  [field: string]: unknown;
}
export interface PodParts {
  spec?: { nodeName?: string; schedulingGates?: unknown[] };
  status?: { phase?: string; conditions?: Condition[]; nominatedNodeName?: string };
}
