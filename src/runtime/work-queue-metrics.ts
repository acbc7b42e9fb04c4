/** Work queues as upstream's workqueue_* metrics, one series per queue. */
import { Counter, Gauge, Histogram, label } from '#stdx/instruments.ts';
import { exponentialBuckets } from '#stdx/metrics-registry.ts';
import type { WorkQueue, WorkQueueMetrics } from './work-queue.ts';

const SECONDS = exponentialBuckets(1e-8, 10, 12);

export class WorkQueueFamilies {
  readonly #adds = new Counter('workqueue_adds_total', 'Keys added to the queue, by name.');
  readonly #retries = new Counter('workqueue_retries_total', 'Keys added again after a failure, by name.');
  readonly #depth = new Gauge('workqueue_depth', 'Keys that wait for a worker, by name.');
  readonly #unfinished = new Gauge(
    'workqueue_unfinished_work_seconds',
    'How long the keys that are being worked on have been, in sum, by name.',
  );
  readonly #longest = new Gauge(
    'workqueue_longest_running_processor_seconds',
    'How long the key that is being worked on for longest has been, by name.',
  );
  readonly #waited = new Histogram('workqueue_queue_duration_seconds', {
    help: 'How long keys waited for a worker, by name.',
    bounds: SECONDS,
  });
  readonly #worked = new Histogram('workqueue_work_duration_seconds', {
    help: 'How long keys were worked on, by name.',
    bounds: SECONDS,
  });
  /** The current queue of each name: a controller has a new one after each election. */
  readonly #queues = new Map<string, WorkQueue>();

  /** The observer of the queue with that name. */
  of(name: string): WorkQueueMetrics {
    const labels = label('name', name);
    const [adds, retries] = [this.#adds.of(labels), this.#retries.of(labels)];
    for (const gauge of [this.#depth, this.#unfinished, this.#longest]) gauge.of(labels);
    const [waited, worked] = [this.#waited.of(labels), this.#worked.of(labels)];
    return {
      added: () => void adds.value++,
      retried: () => void retries.value++,
      taken: (waitedMs) => waited.observe(waitedMs / 1000),
      finished: (workedMs) => worked.observe(workedMs / 1000),
    };
  }

  track(name: string, queue: WorkQueue): void {
    this.#queues.set(name, queue);
  }

  render(): string[] {
    for (const [name, queue] of this.#queues) {
      const labels = label('name', name);
      const seconds = queue.workedMs().map((ms) => ms / 1000);
      this.#depth.set(labels, queue.length);
      this.#unfinished.set(
        labels,
        seconds.reduce((sum, one) => sum + one, 0),
      );
      this.#longest.set(labels, Math.max(0, ...seconds));
    }
    return [
      this.#adds,
      this.#retries,
      this.#depth,
      this.#unfinished,
      this.#longest,
      this.#waited,
      this.#worked,
    ].flatMap((family) => family.render());
  }
}
