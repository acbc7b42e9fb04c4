/** PrioritySort: the queue's order. Higher priority first, then whoever waits longer. */
interface Queued {
  readonly priority: number;
  readonly sinceMs: number;
  readonly order: number;
}

export function queuedBefore(a: Queued, b: Queued): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  return a.sinceMs === b.sinceMs ? a.order < b.order : a.sinceMs < b.sinceMs;
}
