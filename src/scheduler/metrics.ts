/** Upstream's scheduler_* metrics, with its labels and buckets. Queue sizes are read at a scrape. */
import { Counter, Gauge, Histogram, label, type Labels } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';
import { PLUGIN_SECONDS, PluginMetrics, type PluginProbe } from './plugin-metrics.ts';

export type AttemptResult = 'scheduled' | 'unschedulable' | 'error';
type ExtensionPoint = 'PreFilter' | 'Filter' | 'PostFilter' | 'PreScore' | 'Score' | 'Bind';

/** Number of pods per queue; read at a scrape. */
interface SchedulerSizes {
  readonly queues: Readonly<Record<'active' | 'backoff' | 'unschedulable' | 'gated', number>>;
  readonly cache: Readonly<Record<'nodes' | 'pods' | 'assumed_pods', number>>;
  /** Events since scheduling attempts began that are under way, and those attempts. */
  readonly inFlight: Readonly<Record<string, number>>;
  /** Bindings and status writes under way. */
  readonly writes: number;
  readonly refusals: Iterable<{ readonly plugin: string; readonly profile: string }>;
}

export interface Hinted {
  readonly plugin: string;
  /** Upstream's name. */
  readonly event: string;
  readonly isHelped: boolean;
  readonly seconds: number;
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

  readonly #inFlight = new Gauge(
    'scheduler_inflight_events',
    'Events that are kept for scheduling attempts under way, by event; PodPopped: the attempts.',
  );
  readonly #writes = new Gauge(
    'scheduler_goroutines',
    'Work that runs beside scheduling cycles: writes of bindings and status.',
  );
  readonly #eventSeconds = new Histogram('scheduler_event_handling_duration_seconds', {
    help: 'Time to handle an event of an informer, by event.',
    bounds: exponentialBuckets(0.0001, 2, 12),
  });
  readonly #hintSeconds = new Histogram('scheduler_queueing_hint_execution_duration_seconds', {
    help: 'Time of a queueing hint, by plugin, event and what it said.',
    bounds: PLUGIN_SECONDS,
  });
  readonly #afterFlush = new Counter(
    'scheduler_pod_scheduled_after_flush_total',
    'Pods that were scheduled after they waited as unschedulable for as long as they may.',
  );
  readonly #claimCreates = new Counter(
    'scheduler_resourceclaim_creates_total',
    'ResourceClaims that were created for extended resources, by status.',
  );
  readonly #volumeErrors = new Counter(
    'scheduler_volume_scheduling_stage_error_total',
    'Failures to bind the volumes of a pod, by operation.',
  );
  readonly #plugins: PluginMetrics;
  readonly #probes = new Map<string, PluginProbe>();
  /** Series of unschedulable pods that were reported so far. */
  readonly #refused = new Set<Labels>();

  constructor(registry: MetricsRegistry | undefined, sizes: () => SchedulerSizes) {
    this.#plugins = new PluginMetrics(registry);
    this.#afterFlush.of('');
    this.#algorithmSeconds.of('');
    this.#attemptsOfPod.of('');
    this.#victims.of('');
    this.#preemptions.of('');
    registry?.collect(() => {
      const { queues, cache, refusals, inFlight, writes } = sizes();
      for (const [event, count] of Object.entries(inFlight)) this.#inFlight.set(label('event', event), count);
      this.#writes.set(label('operation', 'binding'), writes);
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
      this.#inFlight,
      this.#writes,
      this.#eventSeconds,
      this.#hintSeconds,
      this.#afterFlush,
      this.#claimCreates,
      this.#volumeErrors,
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

  /** seconds: since the pod was ready to be scheduled. isFlushed: it was tried again since it had waited for so long. */
  scheduled({
    attempts,
    seconds,
    isFlushed,
  }: {
    readonly attempts: number;
    readonly seconds: number;
    readonly isFlushed: boolean;
  }): void {
    if (isFlushed) this.#afterFlush.add('');
    this.#attemptsOfPod.observe('', attempts);
    this.#sliSeconds.observe(label('attempts', attempts >= 15 ? '15+' : String(attempts)), seconds);
  }

  /** Of the plugins of a profile. */
  probe(profile: string): PluginProbe {
    let probe = this.#probes.get(profile);
    if (!probe) this.#probes.set(profile, (probe = this.#plugins.probe(profile)));
    return probe;
  }

  /** Runs the handler of an informer's event, with upstream's name of it. */
  handle(event: string, handler: () => void): void {
    const startMs = performance.now();
    handler();
    this.#eventSeconds.observe(label('event', event), (performance.now() - startMs) / 1000);
  }

  hinted({ plugin, event, isHelped, seconds }: Hinted): void {
    const hint = isHelped ? 'Queue' : 'QueueSkip';
    this.#hintSeconds.observe(
      `${label('event', event)},${label('hint', hint)},${label('plugin', plugin)}`,
      seconds,
    );
  }

  claimCreated(status: 'success' | 'failure'): void {
    this.#claimCreates.add(label('status', status));
  }

  volumesFailed(): void {
    this.#volumeErrors.add(label('operation', 'bind'));
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
