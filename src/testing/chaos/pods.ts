/** Judges the pods of the chaos tests' workers: whatever happens to the control planes, nothing about them changes that a user could feel. */
import type { Pod } from '#api/types.ts';

/** What may not change as long as the pod is to stay. */
interface PodState {
  readonly uid: string;
  readonly phase: string;
  readonly containerID: string;
  readonly startedAt: string;
  readonly restarts: number;
  /** Somebody asked for its deletion. */
  readonly terminating: boolean;
}

export interface PodLine extends PodState {
  readonly kind: 'pod';
  readonly name: string;
  readonly deleted: boolean;
}

export function podState({ metadata, status }: Pod): PodState {
  const container = status?.containerStatuses?.[0];
  return {
    uid: metadata?.uid ?? '',
    phase: status?.phase ?? '',
    containerID: container?.containerID ?? '',
    startedAt: container?.state?.running?.startedAt ?? '',
    restarts: container?.restartCount ?? 0,
    terminating: metadata?.deletionTimestamp !== undefined,
  };
}

/** All lines of one watch, which begins when the pods run already. */
export function judgePods(lines: readonly PodLine[]): string[] {
  const found: string[] = [];
  const first = new Map<string, PodLine>();
  for (const line of lines) {
    const before = first.get(line.name) ?? line;
    first.set(line.name, before);
    for (const field of [
      'uid',
      'phase',
      'containerID',
      'startedAt',
      'restarts',
      'terminating',
      'deleted',
    ] as const)
      if (line[field] !== before[field])
        found.push(`pod ${line.name}: ${field} was ${before[field]}, is ${line[field]}`);
  }
  return [...new Set(found)];
}
