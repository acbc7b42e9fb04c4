/** problem_counter and problem_gauge of upstream's node-problem-detector. */
import { Counter, Gauge, label } from '#stdx/instruments.ts';
import type { MetricsRegistry } from '#stdx/metrics-registry.ts';

interface CountedRule {
  readonly type: 'temporary' | 'permanent';
  readonly condition: string;
  readonly reason: string;
}

export class ProblemMetrics {
  readonly #counter = new Counter(
    'problem_counter',
    'Number of times a specific type of problem have occurred.',
  );
  readonly #gauge = new Gauge(
    'problem_gauge',
    'Whether a specific type of problem is affecting the node or not.',
  );
  /** Of each condition: at most one reason is 1. */
  readonly #lastReasons = new Map<string, string>();

  constructor(registry: MetricsRegistry) {
    registry.add(this.#counter, this.#gauge);
  }

  /** Zero for each rule. */
  begin(rules: readonly CountedRule[]): void {
    for (const { type, condition, reason } of rules) {
      if (type === 'permanent') this.set(condition, { reason, isProblem: false });
      this.#counter.of(label('reason', reason));
    }
  }

  count(reason: string): void {
    this.#counter.add(label('reason', reason));
  }

  set(
    condition: string,
    { reason, isProblem }: { readonly reason: string; readonly isProblem: boolean },
  ): void {
    const last = this.#lastReasons.get(condition);
    if (last !== undefined && last !== reason) this.#gauge.set(labelsOf(condition, last), 0);
    this.#lastReasons.set(condition, reason);
    this.#gauge.set(labelsOf(condition, reason), isProblem ? 1 : 0);
  }
}

function labelsOf(type: string, reason: string): string {
  return `${label('reason', reason)},${label('type', type)}`;
}
