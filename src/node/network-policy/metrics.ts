/** The network policies of this node as metrics. Upstream has none: names are Capstan's. */
import type { Clock } from '#stdx/clock.ts';
import { Counter, Gauge, Histogram } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';
import type { PolicyContent } from './ruleset.ts';

export class PolicyMetrics {
  readonly #clock: Clock;
  readonly #sync = new Histogram('capstan_network_policy_sync_duration_seconds', {
    help: 'Time to compute and write the rules of network policies.',
    bounds: exponentialBuckets(0.001, 2, 15),
  });
  readonly #latency = new Histogram('capstan_network_policy_programming_duration_seconds', {
    help: 'Time from the first change of a pod, namespace or policy that this node received to the rules that follow it.',
    bounds: exponentialBuckets(0.001, 2, 15),
  });
  readonly #failures = new Counter(
    'capstan_network_policy_sync_failures_total',
    'Times that the rules of network policies could not be written.',
  );
  readonly #last = new Gauge(
    'capstan_network_policy_sync_last_timestamp_seconds',
    'When the rules of network policies were last written, in seconds since the epoch.',
  );
  readonly #lastFailure = new Gauge(
    'capstan_network_policy_sync_last_failure_timestamp_seconds',
    'When the rules of network policies could last not be written, in seconds since the epoch; 0: never.',
  );
  readonly #rules = new Gauge('capstan_network_policy_rules', 'Rules of network policies on this node.');
  readonly #elements = new Gauge(
    'capstan_network_policy_set_elements',
    'Elements of the sets and maps of network policies on this node.',
  );
  readonly #policies = new Gauge(
    'capstan_network_policy_policies',
    'NetworkPolicies and ClusterNetworkPolicies that the cluster has.',
  );

  constructor(clock: Clock, registry: MetricsRegistry | undefined) {
    this.#clock = clock;
    const all = [
      this.#sync,
      this.#latency,
      this.#failures,
      this.#last,
      this.#lastFailure,
      this.#rules,
      this.#elements,
      this.#policies,
    ];
    for (const family of all) family.of('');
    registry?.add(...all);
  }

  /** Runs a write of the rules; pendingSinceMs: of the first change in it, by the monotonic clock. */
  async measure(pendingSinceMs: number | undefined, work: () => Promise<PolicyContent>): Promise<void> {
    const startedMs = this.#clock.monotonic();
    try {
      const content = await work();
      this.#count(content);
    } catch (error) {
      this.#failures.add('');
      this.#lastFailure.set('', this.#clock.now() / 1000);
      throw error;
    }
    const endedMs = this.#clock.monotonic();
    this.#sync.observe('', (endedMs - startedMs) / 1000);
    if (pendingSinceMs !== undefined) this.#latency.observe('', (endedMs - pendingSinceMs) / 1000);
    this.#last.set('', this.#clock.now() / 1000);
  }

  setPolicies(count: number): void {
    this.#policies.set('', count);
  }

  #count({ chains, elements }: PolicyContent): void {
    let rules = 0;
    for (const list of chains.values()) rules += list.length;
    let count = 0;
    for (const map of elements.values()) count += map.size;
    this.#rules.set('', rules);
    this.#elements.set('', count);
  }
}
