/** What authorization counts, under upstream's names. Rendering happens on a scrape; counting is one map look-up. */
import { Counter, Gauge, Histogram, label, type Labels } from '#stdx/instruments.ts';

/** Terminal decisions of one authorizer: counted in place, since that happens at every request. */
export interface DecisionCounts {
  allowed: number;
  denied: number;
}

export type EvaluationResult = 'success' | 'error' | 'timeout' | 'canceled';

export class AuthorizationMetrics {
  readonly #decisions = new Map<Labels, DecisionCounts>();
  readonly webhookEvaluations = new Counter(
    'apiserver_authorization_webhook_evaluations_total',
    'Calls of authorization webhooks, by name and result.',
  );
  readonly webhookFailOpen = new Counter(
    'apiserver_authorization_webhook_evaluations_fail_open_total',
    'Calls of authorization webhooks that failed and were taken for no opinion, by name and result.',
  );
  readonly webhookSeconds = new Histogram('apiserver_authorization_webhook_duration_seconds', {
    help: 'Time of calls of authorization webhooks, by name and result.',
    bounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  });
  readonly matchErrors = new Counter(
    'apiserver_authorization_match_condition_evaluation_errors_total',
    'Match conditions of authorizers that ended in an error, by type and name.',
  );
  readonly matchExclusions = new Counter(
    'apiserver_authorization_match_condition_exclusions_total',
    'Requests that match conditions kept from an authorizer, by type and name.',
  );
  readonly matchSeconds = new Histogram('apiserver_authorization_match_condition_evaluation_seconds', {
    help: 'Time of evaluating match conditions of authorizers, by type and name.',
    bounds: [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
  });
  readonly reloads = new Counter(
    'apiserver_authorization_config_controller_automatic_reloads_total',
    'Reloads of the authorization configuration, by status.',
  );
  readonly reloadTime = new Gauge(
    'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
    'When the authorization configuration was last reloaded, by status.',
  );
  readonly configInfo = new Gauge(
    'apiserver_authorization_config_controller_last_config_info',
    'Hash of the authorization configuration in use.',
  );

  /** The same counts for the same authorizer, also after a reload. */
  decisionsOf({ name, type }: { readonly name: string; readonly type: string }): DecisionCounts {
    const labels = `${label('name', name)},${label('type', type)}`;
    let counts = this.#decisions.get(labels);
    if (!counts) this.#decisions.set(labels, (counts = { allowed: 0, denied: 0 }));
    return counts;
  }

  render(): string {
    const all = [
      this.webhookEvaluations,
      this.webhookFailOpen,
      this.webhookSeconds,
      this.matchErrors,
      this.matchExclusions,
      this.matchSeconds,
      this.reloads,
      this.reloadTime,
      this.configInfo,
    ];
    const name = 'apiserver_authorization_decisions_total';
    const decisions = [...this.#decisions].flatMap(([labels, counts]) =>
      (['allowed', 'denied'] as const).flatMap((decision) =>
        counts[decision] > 0 ? [`${name}{decision="${decision}",${labels}} ${counts[decision]}`] : [],
      ),
    );
    return [
      `# HELP ${name} Terminal decisions of authorizers, by decision, type and name.`,
      `# TYPE ${name} counter`,
      ...decisions,
      ...all.flatMap((metric) => metric.render()),
    ].join('\n');
  }
}
