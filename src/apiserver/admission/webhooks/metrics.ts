/** Figures of admission webhooks, under upstream's names. Nothing is rendered before the first call. */
import type { Metrics } from '../../nonresource/metrics.ts';

const BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25];
const MAX_CODE = 600;

export type WebhookType = 'admit' | 'validating';
type RejectionError = 'calling_webhook_error' | 'apiserver_internal_error' | 'no_error';

export interface WebhookCallLabels {
  readonly name: string;
  readonly type: WebhookType;
  readonly operation: string;
}

/** Policies count theirs here too. */
interface ConditionLabels {
  readonly kind?: 'webhook' | 'policy';
  readonly name: string;
  readonly type: string;
  readonly operation: string;
}

interface Histogram {
  readonly buckets: Float64Array;
  count: number;
  sum: number;
}

export class WebhookMetrics {
  readonly #durations = new Map<string, Histogram>();
  readonly #requests = new Map<string, number>();
  readonly #rejections = new Map<string, number>();
  readonly #failOpen = new Map<string, number>();
  readonly #conditionErrors = new Map<string, number>();
  readonly #conditionExclusions = new Map<string, number>();

  /** One finished call. code: HTTP status of the outcome. */
  called(
    { name, type, operation }: WebhookCallLabels,
    {
      seconds,
      rejected,
      code,
    }: { readonly seconds: number; readonly rejected: boolean; readonly code: number },
  ): void {
    const key = labels({ name, operation, rejected: String(rejected), type });
    let histogram = this.#durations.get(key);
    if (!histogram)
      this.#durations.set(key, (histogram = { buckets: new Float64Array(BUCKETS.length), count: 0, sum: 0 }));
    histogram.count++;
    histogram.sum += seconds;
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
    if (bucket >= 0) histogram.buckets[bucket]!++;
    count(
      this.#requests,
      labels({ code: String(Math.min(code, MAX_CODE)), name, operation, rejected: String(rejected), type }),
    );
  }

  rejected(
    { name, type, operation }: WebhookCallLabels,
    { error, code }: { readonly error: RejectionError; readonly code: number },
  ): void {
    count(
      this.#rejections,
      labels({ error_type: error, name, operation, rejection_code: String(Math.min(code, MAX_CODE)), type }),
    );
  }

  failedOpen({ name, type }: WebhookCallLabels): void {
    count(this.#failOpen, labels({ name, type }));
  }

  conditionFailed({ kind = 'webhook', name, type, operation }: ConditionLabels): void {
    count(this.#conditionErrors, labels({ kind, name, operation, type }));
  }

  conditionExcluded({ kind = 'webhook', name, type, operation }: ConditionLabels): void {
    count(this.#conditionExclusions, labels({ kind, name, operation, type }));
  }

  render(): string {
    const lines: string[] = [];
    if (this.#durations.size > 0)
      lines.push(
        '# HELP apiserver_admission_webhook_admission_duration_seconds Time a webhook took to answer.',
        '# TYPE apiserver_admission_webhook_admission_duration_seconds histogram',
      );
    for (const [key, { buckets, count: calls, sum }] of this.#durations) {
      let cumulative = 0;
      BUCKETS.forEach((bound, i) =>
        lines.push(
          `apiserver_admission_webhook_admission_duration_seconds_bucket{${key},le="${bound}"} ${(cumulative += buckets[i]!)}`,
        ),
      );
      lines.push(
        `apiserver_admission_webhook_admission_duration_seconds_bucket{${key},le="+Inf"} ${calls}`,
        `apiserver_admission_webhook_admission_duration_seconds_sum{${key}} ${sum}`,
        `apiserver_admission_webhook_admission_duration_seconds_count{${key}} ${calls}`,
      );
    }
    counter(
      lines,
      'apiserver_admission_webhook_request_total',
      'Calls of webhooks, by outcome.',
      this.#requests,
    );
    counter(
      lines,
      'apiserver_admission_webhook_rejection_count',
      'Requests refused for a webhook, or for its failure.',
      this.#rejections,
    );
    counter(
      lines,
      'apiserver_admission_webhook_fail_open_count',
      'Failures of webhooks that were let pass (failurePolicy Ignore).',
      this.#failOpen,
    );
    counter(
      lines,
      'apiserver_admission_match_condition_evaluation_errors_total',
      'Match conditions that could not be evaluated.',
      this.#conditionErrors,
    );
    counter(
      lines,
      'apiserver_admission_match_condition_exclusions_total',
      'Requests that match conditions left out.',
      this.#conditionExclusions,
    );
    return lines.join('\n');
  }
}

const OF_SERVER = new WeakMap<Metrics, WebhookMetrics>();

/** One for both sorts of webhooks of a server; collected from the first use on. */
export function createWebhookMetrics(metrics: Metrics): WebhookMetrics {
  let found = OF_SERVER.get(metrics);
  if (!found) {
    const made = (found = new WebhookMetrics());
    OF_SERVER.set(metrics, made);
    metrics.collect(() => made.render());
  }
  return found;
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

function counter(lines: string[], name: string, help: string, values: ReadonlyMap<string, number>): void {
  if (values.size === 0) return;
  lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`);
  for (const [key, value] of values) lines.push(`${name}{${key}} ${value}`);
}

function labels(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(
      ([name, value]) =>
        `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    .join(',');
}
