/** PrioritySort: the order of the queue. Higher priority first, then the longer wait. */
interface Queued {
  readonly priority: number;
  readonly sinceMs: number;
  readonly order: number;
}

export function queuedBefore(a: Queued, b: Queued): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  return a.sinceMs === b.sinceMs ? a.order < b.order : a.sinceMs < b.sinceMs;
}
