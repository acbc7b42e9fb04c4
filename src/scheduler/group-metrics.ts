/** Upstream's metrics of the scheduling of PodGroups; there with the gate GenericWorkload. */
import { Counter, Histogram, label } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';

export type GroupResult = 'scheduled' | 'unschedulable' | 'waiting_on_preemption' | 'error';

const SECONDS = exponentialBuckets(0.001, 2, 15);

export class GroupMetrics {
  readonly #attempts = new Counter(
    'scheduler_podgroup_schedule_attempts_total',
    'Attempts to schedule a PodGroup, by profile and result.',
  );
  readonly #attemptSeconds = new Histogram('scheduler_podgroup_scheduling_attempt_duration_seconds', {
    help: 'Time of an attempt to schedule a PodGroup, by profile and result.',
    bounds: SECONDS,
  });
  readonly #algorithmSeconds = new Histogram('scheduler_podgroup_scheduling_algorithm_duration_seconds', {
    help: 'Time to decide on the nodes of a PodGroup.',
    bounds: SECONDS,
  });

  constructor(registry: MetricsRegistry | undefined) {
    this.#algorithmSeconds.of('');
    registry?.add(this.#attempts, this.#attemptSeconds, this.#algorithmSeconds);
  }

  decided(seconds: number): void {
    this.#algorithmSeconds.observe('', seconds);
  }

  attempted({
    profile,
    result,
    seconds,
  }: {
    readonly profile: string;
    readonly result: GroupResult;
    readonly seconds: number;
  }): void {
    const labels = `${label('profile', profile)},${label('result', result)}`;
    this.#attempts.add(labels);
    this.#attemptSeconds.observe(labels, seconds);
  }
}
