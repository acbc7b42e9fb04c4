/** What monitors report: conditions of the node, and events about it. Words are upstream's (node-problem-detector pkg/types). */
export interface ProblemCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly transitionMs: number;
  readonly reason: string;
  readonly message: string;
}

export interface ProblemEvent {
  readonly severity: 'info' | 'warn';
  readonly reason: string;
  readonly message: string;
}

/** One report of a monitor. `conditions` are all of its conditions. */
export interface ProblemStatus {
  readonly source: string;
  readonly events: readonly ProblemEvent[];
  readonly conditions: readonly ProblemCondition[];
}

/** The condition that holds while there is no problem. */
export interface DefaultCondition {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

export interface Monitor {
  readonly source: string;
  /** report is called with the first conditions before start() returns. */
  start(report: (status: ProblemStatus) => void): void;
  /** Resolves when nothing runs any more. */
  stop(): Promise<void>;
}

export function initialConditions(defaults: readonly DefaultCondition[], nowMs: number): ProblemCondition[] {
  return defaults.map(({ type, reason, message }) => ({
    type,
    status: 'False',
    transitionMs: nowMs,
    reason,
    message,
  }));
}

export function conditionEvent({
  type,
  status,
  reason,
  message,
}: Omit<ProblemCondition, 'transitionMs'>): ProblemEvent {
  return {
    severity: 'info',
    reason,
    message: `Node condition ${type} is now: ${status}, reason: ${reason}, message: ${JSON.stringify(message)}`,
  };
}
