/**
 * Keeps the node alive when its memory, disks or processes run short: every 10 s it measures the node, reports pressure, frees what no pod needs, and
 * evicts one pod at a time. Its state is expendable. decide.ts and rank.ts decide; limits of single pods are storage-limits.ts's.
 *
 *   measure ─► decide ─┬─ nothing due ──────────────────────────────────────────────► 10 s
 *                      └─ due ─► free ended containers, unused images ─┬─ resolved ─► 10 s
 *                                                                      └─ rank ─► evict the first that is not critical ─► ended, or 30 s ─► measure
 */
import type { EventRecorder } from '#client/events.ts';
import { isCriticalPod } from '#component-helpers/static-pods.ts';
import { objectKey } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { AgentMetrics } from '../agent-metrics.ts';
import { nodeReference } from '../node/node-reference.ts';
import { Rounds } from '../rounds.ts';
import {
  decideEviction,
  INITIAL_STATE,
  isResolved,
  planFor,
  type EvictionDecision,
  type EvictionState,
  type Pressure,
  type Reclaim,
} from './decide.ts';
import { EVICTED, evictionText } from './message.ts';
import type { Directories } from './node-signals.ts';
import { rankForEviction, type PodUse } from './rank.ts';
import type { EvictablePod } from './storage-limits.ts';
import {
  isHard,
  starvedResource,
  withContainerFs,
  type FileSystems,
  type Observations,
  type Threshold,
} from './thresholds.ts';

export interface EvictionOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly metrics: Pick<AgentMetrics, 'evicted' | 'evictionStatsAge'>;
  readonly nodeName: string;
  readonly thresholds: readonly Threshold[];
  /** How long a pressure condition stays after it was last seen. */
  readonly transitionMs: number;
  /** Longest grace period of a pod that a soft threshold evicts. */
  readonly maximumPodGraceSeconds: number;
  readonly workers: () => readonly EvictablePod[];
  /** Where nodefs, imagefs and containerfs are. */
  readonly directories: () => Promise<Directories>;
  readonly fileSystems: (directories: Directories) => Promise<FileSystems>;
  readonly observe: (directories: Directories) => Promise<Observations>;
  /** What these pods use, in the same order; disk: their files too, which takes a while. */
  readonly measure: (
    pods: readonly EvictablePod['pod'][],
    disk: boolean,
  ) => Promise<readonly (PodUse | undefined)[]>;
  readonly reclaim: Readonly<Record<Reclaim, () => Promise<void>>>;
  readonly onPressure: () => void;
}

const PERIOD_MS = 10_000;
/** An evicted pod that has not ended by then is not waited for. */
const CLEANUP_MS = 30_000;
const CLEANUP_POLL_MS = 1_000;
/** Of a hard threshold. */
const IMMEDIATE_GRACE_SECONDS = 1;

interface Layout {
  readonly directories: Directories;
  readonly fileSystems: FileSystems;
  readonly thresholds: readonly Threshold[];
}

export class EvictionManager {
  readonly #options: EvictionOptions;
  readonly #rounds: Rounds;
  readonly #stop = new AbortController();
  #layout: Layout | undefined;
  #state: EvictionState = INITIAL_STATE;
  #pressures: readonly Pressure[] = [];

  constructor(options: EvictionOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  /** In upstream's order. */
  get pressures(): readonly Pressure[] {
    return this.#pressures;
  }

  /** Images are not on the file system of the pods' volumes. False until that is known. */
  get dedicatedImages(): boolean {
    return this.#layout?.fileSystems.dedicatedImages ?? false;
  }

  start(): void {
    this.#rounds.start(() => this.#round());
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    await this.#rounds.stop();
  }

  async #round(): Promise<number> {
    try {
      const evicted = await this.synchronize();
      if (!evicted) return PERIOD_MS;
      await this.#waitForEnd(evicted);
      return 0;
    } catch (error) {
      if (!this.#rounds.stopped)
        this.#options.log.warn('error measuring the node for evictions', { error: errorMessage(error) });
      return PERIOD_MS;
    }
  }

  /** One round; the evicted pod. Rejects when the node cannot be measured. */
  async synchronize(): Promise<EvictablePod | undefined> {
    const { clock, transitionMs } = this.#options;
    const { directories, thresholds } = await this.#findLayout();
    if (thresholds.length === 0) return undefined;
    const observations = await this.#options.observe(directories);
    const nowMs = clock.monotonic();
    const decision = decideEviction({ thresholds, observations, state: this.#state, nowMs, transitionMs });
    this.#state = decision.state;
    this.#show(decision.pressures);
    const [first] = decision.due;
    if (!first || this.#rounds.stopped) return undefined;
    return this.#relieve(first, { decision, observations, measuredMs: nowMs });
  }

  /** As upstream, once: the thresholds of containerfs depend on it. */
  async #findLayout(): Promise<Layout> {
    if (this.#layout) return this.#layout;
    const directories = await this.#options.directories();
    const fileSystems = await this.#options.fileSystems(directories);
    const thresholds = withContainerFs(this.#options.thresholds, fileSystems);
    this.#layout = { directories, fileSystems, thresholds };
    return this.#layout;
  }

  #show(pressures: readonly Pressure[]): void {
    const same = pressures.join() === this.#pressures.join();
    this.#pressures = pressures;
    if (same) return;
    this.#options.log.info('node pressure changed', { pressures: pressures.join() });
    this.#options.onPressure();
  }

  async #relieve(
    threshold: Threshold,
    round: {
      readonly decision: EvictionDecision;
      readonly observations: Observations;
      readonly measuredMs: number;
    },
  ): Promise<EvictablePod | undefined> {
    const { log, events, nodeName } = this.#options;
    const resource = starvedResource(threshold.signal);
    log.warn('eviction threshold met', { signal: threshold.signal, resource });
    events.event(nodeReference(nodeName), {
      type: 'Warning',
      reason: 'EvictionThresholdMet',
      message: `Attempting to reclaim ${resource}`,
    });
    if (await this.#reclaimFromNode(threshold)) return undefined;
    return this.#evictOne(threshold, round);
  }

  /** True: all thresholds are resolved. */
  async #reclaimFromNode({ signal }: Threshold): Promise<boolean> {
    const { log, reclaim, observe } = this.#options;
    const { fileSystems, directories, thresholds } = await this.#findLayout();
    const steps = planFor(signal, fileSystems).reclaim;
    for (const step of steps)
      await reclaim[step]().catch((error: unknown) =>
        log.warn('error reclaiming disk of the node', { what: step, error: errorMessage(error) }),
      );
    return steps.length > 0 && isResolved(thresholds, await observe(directories));
  }

  async #evictOne(
    threshold: Threshold,
    {
      decision: { due },
      observations,
      measuredMs,
    }: {
      readonly decision: EvictionDecision;
      readonly observations: Observations;
      readonly measuredMs: number;
    },
  ): Promise<EvictablePod | undefined> {
    const { log, events, metrics, clock, measure, workers } = this.#options;
    const resource = starvedResource(threshold.signal);
    const { parts } = planFor(threshold.signal, (await this.#findLayout()).fileSystems);
    const active = workers().filter(({ finished, failing }) => !finished && !failing);
    const uses = await measure(
      active.map(({ pod }) => pod),
      parts.length > 0,
    );
    const ranked = rankForEviction(
      active.map((worker, index) => ({ worker, pod: worker.pod, use: uses[index] })),
      { resource, parts },
    );
    for (const { signal } of due) metrics.evictionStatsAge(signal, (clock.monotonic() - measuredMs) / 1000);
    const first = ranked.find(({ pod, worker }) => !isCriticalPod(pod) && !worker.finished);
    if (!first) {
      log.warn('no pod can be evicted', { resource, pods: active.length });
      return undefined;
    }
    const { message, annotations } = evictionText(first, { resource, due, observations });
    log.info('pod evicted', { pod: objectKey(first.pod), message });
    events.event(first.pod, { type: 'Warning', reason: EVICTED, message, annotations });
    metrics.evicted(threshold.signal);
    first.worker.fail({
      reason: EVICTED,
      message,
      graceSeconds: this.#graceSeconds(threshold, first.pod),
      disrupted: true,
    });
    return first.worker;
  }

  #graceSeconds(threshold: Threshold, { spec }: EvictablePod['pod']): number {
    if (isHard(threshold)) return IMMEDIATE_GRACE_SECONDS;
    return Math.min(this.#options.maximumPodGraceSeconds, spec?.terminationGracePeriodSeconds ?? Infinity);
  }

  async #waitForEnd(worker: EvictablePod): Promise<void> {
    const { clock } = this.#options;
    const untilMs = clock.monotonic() + CLEANUP_MS;
    while (!worker.finished && !this.#rounds.stopped && clock.monotonic() < untilMs)
      await clock.sleep(CLEANUP_POLL_MS, this.#stop.signal).catch(() => {});
  }
}
