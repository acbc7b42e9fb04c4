/**
 * How often each plugin is asked, and how long it takes, with upstream's names, labels and buckets. Counted is what runs: answers that are known from
 * earlier cycles (node-answers.ts) are neither counted nor timed. As upstream, one cycle in ten is timed.
 */
import { Counter, Histogram, label, type Value } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';

type PluginPoint = 'PreFilter' | 'Filter' | 'PreScore' | 'Score';

const TIMED_CYCLES = 10;
/** 10 µs to 22 ms. */
export const PLUGIN_SECONDS = exponentialBuckets(0.00001, 1.5, 20);

export class PluginMetrics {
  readonly #evaluations = new Counter(
    'scheduler_plugin_evaluation_total',
    'How often a plugin was asked, by plugin, extension point and profile; answers known from earlier cycles are not counted.',
  );
  readonly #executions = new Histogram('scheduler_plugin_execution_duration_seconds', {
    help: 'Time that a plugin took at an extension point, of one cycle in ten.',
    bounds: PLUGIN_SECONDS,
  });

  constructor(registry: MetricsRegistry | undefined) {
    registry?.add(this.#evaluations, this.#executions);
  }

  probe(profile: string): PluginProbe {
    return new PluginProbe({ profile, evaluations: this.#evaluations, executions: this.#executions });
  }
}

interface ProbeOptions {
  readonly profile: string;
  readonly evaluations: Counter;
  readonly executions: Histogram;
}

/** Of the plugins of one profile. */
export class PluginProbe {
  readonly #options: ProbeOptions;
  readonly #series: Readonly<Record<PluginPoint, Map<string, Value>>> = {
    PreFilter: new Map(),
    Filter: new Map(),
    PreScore: new Map(),
    Score: new Map(),
  };
  #cycles = 0;
  #isTimed = false;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** A cycle begins. */
  begin(): void {
    this.#isTimed = this.#cycles++ % TIMED_CYCLES === 0;
  }

  /** Asks a plugin by `work`; 'skip' does not count as an evaluation. */
  run<T>({ point, plugin }: { readonly point: PluginPoint; readonly plugin: string }, work: () => T): T {
    const startMs = this.#isTimed ? performance.now() : 0;
    const result = work();
    if (result !== 'skip') this.#counter(point, plugin).value += 1;
    if (this.#isTimed)
      this.#options.executions.observe(
        `${label('extension_point', point)},${label('plugin', plugin)},${label('status', statusOf(result))}`,
        (performance.now() - startMs) / 1000,
      );
    return result;
  }

  #counter(point: PluginPoint, plugin: string): Value {
    const known = this.#series[point].get(plugin);
    if (known) return known;
    const { profile, evaluations } = this.#options;
    const made = evaluations.of(
      `${label('extension_point', point)},${label('plugin', plugin)},${label('profile', profile)}`,
    );
    this.#series[point].set(plugin, made);
    return made;
  }
}

/** Upstream's code of what a plugin returned. */
function statusOf(result: unknown): string {
  if (result === 'skip') return 'Skip';
  if (typeof result !== 'object' || result === null || !('resolvable' in result)) return 'Success';
  return result.resolvable ? 'Unschedulable' : 'UnschedulableAndUnresolvable';
}
