/** How stable upstream promises a family of metrics to be, by its name; from the list it is held to. Whatever is not in it is alpha. */

type Stability = 'STABLE' | 'BETA' | 'ALPHA';

const STABLE = [
  'apiserver_admission_controller_admission_duration_seconds',
  'apiserver_admission_step_admission_duration_seconds',
  'apiserver_admission_webhook_admission_duration_seconds',
  'apiserver_current_inflight_requests',
  'apiserver_longrunning_requests',
  'apiserver_request_duration_seconds',
  'apiserver_request_total',
  'apiserver_requested_deprecated_apis',
  'apiserver_response_sizes',
  'apiserver_storage_objects',
  'apiserver_storage_size_bytes',
  'kubernetes_healthcheck',
  'kubernetes_healthchecks_total',
];
const BETA = [
  'apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds',
  'apiserver_authentication_config_controller_automatic_reloads_total',
  'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
  'apiserver_authorization_config_controller_automatic_reloads_total',
  'apiserver_cel_compilation_duration_seconds',
  'apiserver_cel_evaluation_duration_seconds',
  'apiserver_flowcontrol_current_executing_requests',
  'apiserver_flowcontrol_current_executing_seats',
  'apiserver_flowcontrol_current_inqueue_requests',
  'apiserver_flowcontrol_dispatched_requests_total',
  'apiserver_flowcontrol_nominal_limit_seats',
  'apiserver_flowcontrol_rejected_requests_total',
  'apiserver_flowcontrol_request_wait_duration_seconds',
  'apiserver_storage_events_received_total',
  'apiserver_validating_admission_policy_check_duration_seconds',
  'apiserver_validating_admission_policy_check_total',
  'apiserver_watch_list_duration_seconds',
  'disabled_metrics_total',
  'hidden_metrics_total',
  'kubernetes_build_info',
  'kubernetes_feature_enabled',
  'registered_metrics_total',
];
const LEVELS: ReadonlyMap<string, Stability> = new Map([
  ...STABLE.map((name) => [name, 'STABLE'] as const),
  ...BETA.map((name) => [name, 'BETA'] as const),
]);
/** Metrics of the process rather than of Kubernetes: no stability level. */
const FOREIGN = /^(?:process|nodejs)_/;

/** Puts each family's stability in its help, as upstream shows it, and counts how many there are of each. */
export class StabilityMarks {
  readonly #counts: Record<Stability, number> = { STABLE: 0, BETA: REGISTRY_FAMILIES, ALPHA: 0 };

  /** text: whole lines. */
  mark(text: string): string {
    return text.replaceAll(/^# HELP (\S+) /gm, (line, name: string) => {
      if (FOREIGN.test(name)) return line;
      const level = LEVELS.get(name) ?? 'ALPHA';
      this.#counts[level]++;
      return `${line}[${level}] `;
    });
  }

  /** The page's last lines. */
  lines(): string[] {
    return registryLines(this.#counts);
  }
}

const REGISTRY_FAMILIES = 3;

function registryLines(counts: Readonly<Record<Stability, number>>): string[] {
  return [
    '# HELP registered_metrics_total [BETA] Families of metrics, by their stability.',
    '# TYPE registered_metrics_total counter',
    ...Object.entries(counts).map(
      ([level, count]) =>
        `registered_metrics_total{deprecated_version="",stability_level="${level}"} ${count}`,
    ),
    '# HELP hidden_metrics_total [BETA] Families that are not shown any more.',
    '# TYPE hidden_metrics_total counter',
    'hidden_metrics_total 0',
    '# HELP disabled_metrics_total [BETA] Families that are switched off.',
    '# TYPE disabled_metrics_total counter',
    'disabled_metrics_total 0',
  ];
}
