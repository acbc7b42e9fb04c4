/** Counts of policies' decisions and how long they took, under upstream's names. */

import type { Metrics } from '../../nonresource/metrics.ts';
import type { ConditionsOutcome } from '../expressions.ts';
import { createWebhookMetrics } from '../webhooks/metrics.ts';

const BUCKETS = [0.0000005, 0.001, 0.01, 0.1, 1];

export type Enforcement = 'allow' | 'deny' | 'audit' | 'warn';
export type ErrorType = 'no_error' | 'invalid_error' | 'compile_error' | 'out_of_budget';
interface PolicyLabels {
  readonly policy: string;
  readonly binding: string;
  readonly enforcement: Enforcement;
  readonly errorType: ErrorType;
}

interface Series {
  readonly labels: string;
  readonly buckets: number[];
  count: number;
  sum: number;
}

/** Bound of the series, since policies come and go; further ones share one series. */
const MAX_SERIES = 5_000;

export class PolicyMetrics {
  readonly #prefix: string;
  readonly #series = new Map<string, Series>();

  constructor(kind: 'validating' | 'mutating') {
    this.#prefix = `apiserver_${kind}_admission_policy_check`;
  }

  observe({ policy, binding, enforcement, errorType }: PolicyLabels, seconds: number): void {
    const key = this.#series.size < MAX_SERIES ? `${policy} ${binding} ${enforcement} ${errorType}` : '';
    let series = this.#series.get(key);
    if (!series)
      this.#series.set(
        key,
        (series = {
          labels:
            key === ''
              ? 'policy="other"'
              : `enforcement_action="${enforcement}",error_type="${errorType}",policy="${policy}",policy_binding="${binding}"`,
          buckets: BUCKETS.map(() => 0),
          count: 0,
          sum: 0,
        }),
      );
    series.count++;
    series.sum += seconds;
    BUCKETS.forEach((bound, i) => {
      if (seconds <= bound) series.buckets[i]!++;
    });
  }

  render(): string {
    if (this.#series.size === 0) return '';
    const all = [...this.#series.values()];
    return [
      `# HELP ${this.#prefix}_total Decisions of admission policies, by policy, binding, action and kind of error.`,
      `# TYPE ${this.#prefix}_total counter`,
      ...all.map(({ labels, count }) => `${this.#prefix}_total{${labels}} ${count}`),
      `# HELP ${this.#prefix}_duration_seconds Time that admission policies took.`,
      `# TYPE ${this.#prefix}_duration_seconds histogram`,
      ...all.flatMap(({ labels, buckets, count, sum }) => [
        ...BUCKETS.map(
          (bound, i) =>
            `${this.#prefix}_duration_seconds_bucket{${labels},le="${bound === 0.0000005 ? '5e-07' : bound}"} ${buckets[i]}`,
        ),
        `${this.#prefix}_duration_seconds_bucket{${labels},le="+Inf"} ${count}`,
        `${this.#prefix}_duration_seconds_sum{${labels}} ${sum}`,
        `${this.#prefix}_duration_seconds_count{${labels}} ${count}`,
      ]),
    ].join('\n');
  }
}

interface CountedConditions {
  readonly metrics: Metrics;
  readonly policy: string;
  readonly type: 'admit' | 'validate';
  readonly operation: string;
}

/** Match conditions that excluded a request, or failed. */
export function countConditions(
  outcome: ConditionsOutcome,
  { metrics, policy, type, operation }: CountedConditions,
): void {
  if (outcome.outcome === 'match') return;
  const counters = createWebhookMetrics(metrics),
    labels = { kind: 'policy', name: policy, type, operation } as const;
  if (outcome.outcome === 'no-match' && outcome.condition !== undefined) counters.conditionExcluded(labels);
  else counters.conditionFailed(labels);
}
