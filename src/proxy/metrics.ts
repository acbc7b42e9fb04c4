/** The service proxy as upstream's kubeproxy_* metrics, of the nftables mode and IPv4. */
import type { EndpointSlice } from '#api/types.ts';
import type { Clock } from '#stdx/clock.ts';
import { Counter, Gauge, Histogram, label } from '#stdx/instruments.ts';
import { exponentialBuckets, linearBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';

const FAMILY = label('ip_family', 'IPv4');
const SYNC_SECONDS = exponentialBuckets(0.001, 2, 15);
const PROGRAMMING_SECONDS = [
  ...linearBuckets(0.25, 0.25, 2),
  ...linearBuckets(1, 1, 59),
  ...linearBuckets(60, 5, 12),
  ...linearBuckets(120, 30, 7),
];
const TRIGGER = 'endpoints.kubernetes.io/last-change-trigger-time';
/** More slices that changed at a time are not measured one by one. */
const MAX_TRIGGERS = 10_000;

export class ProxyMetrics {
  readonly #clock: Clock;
  readonly #sync = this.#seconds('kubeproxy_sync_proxy_rules_duration_seconds', 'Time to write the rules.');
  readonly #full = this.#seconds(
    'kubeproxy_sync_full_proxy_rules_duration_seconds',
    'Time to write the whole table.',
  );
  readonly #partial = this.#seconds(
    'kubeproxy_sync_partial_proxy_rules_duration_seconds',
    'Time to write a difference of the table.',
  );
  readonly #programming = new Histogram('kubeproxy_network_programming_duration_seconds', {
    help: 'Time from the change of a pod or service to the rules that follow it.',
    bounds: PROGRAMMING_SECONDS,
  });
  readonly #failures = new Counter(
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
    'Times that the rules could not be written.',
  );
  readonly #services = new Counter(
    'kubeproxy_sync_proxy_rules_service_changes_total',
    'Changes of Services.',
  );
  readonly #endpoints = new Counter(
    'kubeproxy_sync_proxy_rules_endpoint_changes_total',
    'Changes of EndpointSlices.',
  );
  readonly #pendingServices = new Gauge(
    'kubeproxy_sync_proxy_rules_service_changes_pending',
    'Changes of Services that the rules do not follow yet.',
  );
  readonly #pendingEndpoints = new Gauge(
    'kubeproxy_sync_proxy_rules_endpoint_changes_pending',
    'Changes of EndpointSlices that the rules do not follow yet.',
  );
  readonly #last = new Gauge(
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'When the rules were last written, in seconds since the epoch.',
  );
  readonly #queued = new Gauge(
    'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
    'When writing the rules was last asked for, in seconds since the epoch.',
  );
  #triggersMs: number[] = [];

  constructor(clock: Clock, registry: MetricsRegistry | undefined) {
    this.#clock = clock;
    // There are series before anything has happened.
    for (const family of [this.#sync, this.#full, this.#partial, this.#programming]) family.of(FAMILY);
    for (const family of [this.#last, this.#queued, this.#failures]) family.of(FAMILY);
    for (const family of [this.#services, this.#endpoints, this.#pendingServices, this.#pendingEndpoints])
      family.of('');
    registry?.add(
      this.#sync,
      this.#full,
      this.#partial,
      this.#programming,
      this.#failures,
      this.#services,
      this.#endpoints,
      this.#pendingServices,
      this.#pendingEndpoints,
      this.#last,
      this.#queued,
    );
  }

  #seconds(name: string, help: string): Histogram {
    return new Histogram(name, { help, bounds: SYNC_SECONDS });
  }

  queued(): void {
    this.#queued.set(FAMILY, this.#clock.now() / 1000);
  }

  serviceChanged(): void {
    this.#services.add('');
    this.#pendingServices.of('').value += 1;
  }

  sliceChanged({ metadata }: EndpointSlice): void {
    this.#endpoints.add('');
    this.#pendingEndpoints.of('').value += 1;
    const changedMs = Date.parse(metadata?.annotations?.[TRIGGER] ?? '');
    if (!Number.isNaN(changedMs) && this.#triggersMs.length < MAX_TRIGGERS) this.#triggersMs.push(changedMs);
  }

  /** Runs a write of the rules. */
  async measure(whole: boolean, work: () => Promise<void>): Promise<void> {
    const startedMs = this.#clock.monotonic();
    const triggersMs = this.#triggersMs;
    this.#triggersMs = [];
    try {
      await work();
    } catch (error) {
      this.#failures.add(FAMILY);
      this.#triggersMs.push(...triggersMs);
      throw error;
    }
    const seconds = (this.#clock.monotonic() - startedMs) / 1000;
    this.#sync.observe(FAMILY, seconds);
    (whole ? this.#full : this.#partial).observe(FAMILY, seconds);
    this.#pendingServices.set('', 0);
    this.#pendingEndpoints.set('', 0);
    this.#last.set(FAMILY, this.#clock.now() / 1000);
    for (const changedMs of triggersMs)
      this.#programming.observe(FAMILY, Math.max(0, (this.#clock.now() - changedMs) / 1000));
  }
}
