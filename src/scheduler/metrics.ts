/** Upstream's scheduler_* metrics, with its labels and buckets. Queue sizes are read at a scrape. */
import { Counter, Gauge, Histogram, label, type Labels } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';

export type AttemptResult = 'scheduled' | 'unschedulable' | 'error';
type ExtensionPoint = 'PreFilter' | 'Filter' | 'PreScore' | 'Score' | 'PostFilter' | 'Reserve' | 'Bind';

/** Number of pods per queue; read at a scrape. */
interface SchedulerSizes {
  readonly queues: Readonly<Record<'active' | 'backoff' | 'unschedulable' | 'gated', number>>;
  readonly cache: Readonly<Record<'nodes' | 'pods' | 'assumed_pods', number>>;
  readonly refusals: Iterable<{ readonly plugin: string; readonly profile: string }>;
}

interface Attempt {
  readonly profile: string;
  readonly result: AttemptResult;
  readonly seconds: number;
}

const SECONDS = exponentialBuckets(0.001, 2, 15);

export class SchedulerMetrics {
  readonly #attempts = new Counter(
    'scheduler_schedule_attempts_total',
    'Attempts to schedule a pod, by profile and result.',
  );
  readonly #attemptSeconds = new Histogram('scheduler_scheduling_attempt_duration_seconds', {
    help: 'Time of an attempt to schedule a pod, binding included, by profile and result.',
    bounds: SECONDS,
  });
  readonly #algorithmSeconds = new Histogram('scheduler_scheduling_algorithm_duration_seconds', {
    help: 'Time to decide on a node.',
    bounds: SECONDS,
  });
  readonly #sliSeconds = new Histogram('scheduler_pod_scheduling_sli_duration_seconds', {
    help: 'Time from when a pod could be scheduled to when it was, by the number of attempts.',
    bounds: exponentialBuckets(0.01, 2, 20),
  });
  readonly #attemptsOfPod = new Histogram('scheduler_pod_scheduling_attempts', {
    help: 'Attempts that a pod took to be scheduled.',
    bounds: exponentialBuckets(1, 2, 5),
  });
  readonly #incoming = new Counter(
    'scheduler_queue_incoming_pods_total',
    'Pods added to the queues, by queue and event.',
  );
  readonly #preemptions = new Counter('scheduler_preemption_attempts_total', 'Attempts to preempt pods.');
  readonly #victims = new Histogram('scheduler_preemption_victims', {
    help: 'Pods that a preemption chose to evict.',
    bounds: exponentialBuckets(1, 2, 7),
  });
  readonly #preemptionSeconds = new Histogram('scheduler_preemption_goroutines_duration_seconds', {
    help: 'Time to delete the victims of a preemption, by result.',
    bounds: exponentialBuckets(0.01, 2, 20),
  });
  readonly #preemptionRuns = new Counter(
    'scheduler_preemption_goroutines_execution_total',
    'Preemptions whose victims were deleted, by result.',
  );
  readonly #pointSeconds = new Histogram('scheduler_framework_extension_point_duration_seconds', {
    help: 'Time of all plugins of an extension point, by profile and status.',
    bounds: exponentialBuckets(0.0001, 2, 12),
  });
  readonly #unschedulable = new Gauge(
    'scheduler_unschedulable_pods',
    'Pods that a plugin refuses at present, by plugin and profile.',
  );
  readonly #pending = new Gauge('scheduler_pending_pods', 'Pods that wait, by queue.');
  readonly #cache = new Gauge('scheduler_cache_size', 'What the cache holds, by type.');

  /** Series of unschedulable pods that were reported so far. */
  readonly #refused = new Set<Labels>();

  constructor(registry: MetricsRegistry | undefined, sizes: () => SchedulerSizes) {
    this.#algorithmSeconds.of('');
    this.#attemptsOfPod.of('');
    this.#victims.of('');
    this.#preemptions.of('');
    registry?.collect(() => {
      const { queues, cache, refusals } = sizes();
      this.#count(refusals);
      for (const [queue, count] of Object.entries(queues)) this.#pending.set(label('queue', queue), count);
      for (const [type, count] of Object.entries(cache)) this.#cache.set(label('type', type), count);
      return [];
    });
    registry?.add(
      this.#attempts,
      this.#attemptSeconds,
      this.#algorithmSeconds,
      this.#sliSeconds,
      this.#attemptsOfPod,
      this.#incoming,
      this.#preemptions,
      this.#victims,
      this.#preemptionSeconds,
      this.#preemptionRuns,
      this.#pointSeconds,
      this.#unschedulable,
      this.#pending,
      this.#cache,
    );
  }

  #count(refusals: SchedulerSizes['refusals']): void {
    const counts = new Map<Labels, number>([...this.#refused].map((labels) => [labels, 0]));
    for (const { plugin, profile } of refusals) {
      const labels = `${label('plugin', plugin)},${label('profile', profile)}`;
      this.#refused.add(labels);
      counts.set(labels, (counts.get(labels) ?? 0) + 1);
    }
    for (const [labels, count] of counts) this.#unschedulable.set(labels, count);
  }

  /** Creates the series of a profile before its first pod. */
  profile(name: string): void {
    const profile = label('profile', name);
    for (const result of ['error', 'scheduled', 'unschedulable']) {
      this.#attempts.of(`${profile},${label('result', result)}`);
      this.#attemptSeconds.of(`${profile},${label('result', result)}`);
    }
  }

  decided(seconds: number): void {
    this.#algorithmSeconds.observe('', seconds);
  }

  attempted({ profile, result, seconds }: Attempt): void {
    const labels = `${label('profile', profile)},${label('result', result)}`;
    this.#attempts.add(labels);
    this.#attemptSeconds.observe(labels, seconds);
  }

  /** seconds: since the pod was ready to be scheduled. */
  scheduled({ attempts, seconds }: { readonly attempts: number; readonly seconds: number }): void {
    this.#attemptsOfPod.observe('', attempts);
    this.#sliSeconds.observe(label('attempts', attempts > 15 ? '16+' : String(attempts)), seconds);
  }

  queued(queue: string, event: string): void {
    this.#incoming.add(`${label('event', event)},${label('queue', queue)}`);
  }

  preempting(victims: number): void {
    this.#preemptions.add('');
    if (victims > 0) this.#victims.observe('', victims);
  }

  /** The victims are deleted, or that failed. */
  preempted({ result, seconds }: { readonly result: 'success' | 'error'; readonly seconds: number }): void {
    this.#preemptionSeconds.observe(label('result', result), seconds);
    this.#preemptionRuns.add(label('result', result));
  }

  point(
    extensionPoint: ExtensionPoint,
    {
      profile,
      status,
      seconds,
    }: { readonly profile: string; readonly status: string; readonly seconds: number },
  ): void {
    const labels = `${label('extension_point', extensionPoint)},${label('profile', profile)},${label('status', status)}`;
    this.#pointSeconds.observe(labels, seconds);
  }
}
