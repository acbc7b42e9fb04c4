/**
 * The scheduler component: informers feed the cache and the queue; the leader pops pods, schedules them (scheduling-cycle.ts)
 * and binds them. Pods are scheduled one at a time; bindings are written concurrently with the next scheduling cycles.
 *
 *   informers ──► cache, queue ──pop──► schedule() ──fits──► assume ──► POST binding ──ok──► (the informer confirms)
 *                     ▲                     │                                 '──failed──► forget, back to the queue
 *                     │                     └─none──► preemption? ──► victims deleted, nominatedNodeName set
 *                     └──────────────────── condition PodScheduled=False, event FailedScheduling
 */
import type { Client, Informer } from '#client/client.ts';
import { fencedClient } from '#client/fenced-client.ts';
import type { LeaderElectionOptions } from '#client/leader-election.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createLedComponent, type LedComponent } from '#runtime/led-component.ts';
import type { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import { Assigner } from './assigner.ts';
import { BindingCycle } from './binding-cycle.ts';
import { SchedulerCache } from './cache.ts';
import { Decider } from './decider.ts';
import { DefaultSelectors } from './default-selectors.ts';
import { ClaimBinder } from './dra/claim-binder.ts';
import { DeviceState } from './dra/device-state.ts';
import { subscribeHandlers } from './event-handlers.ts';
import type { ExtenderConfig } from './extenders/extender.ts';
import { EXTENDER, Extenders } from './extenders/extenders.ts';
import { GroupCycle } from './group-cycle.ts';
import { GroupMetrics } from './group-metrics.ts';
import { GroupReporter } from './group-reporter.ts';
import { schedulerInformers, type Informers } from './informers.ts';
import { SchedulerMetrics } from './metrics.ts';
import { Nominator } from './nominator.ts';
import type { SchedulerPlugin } from './plugin.ts';
import { pluginsWith } from './plugins/list.ts';
import { groupKeyOf, PodGroups } from './pod-groups.ts';
import { PodReporter } from './pod-reporter.ts';
import { PostFilter } from './post-filter.ts';
import { PreemptionExecutor } from './preemption-executor.ts';
import { podResourceLines } from './resource-metrics.ts';
import { SchedulingQueue, type Backoff, type Popped } from './queue.ts';
import type { Profile } from './schedule.ts';
import { SchedulingCycle } from './scheduling-cycle.ts';
import { liveSnapshot } from './snapshot.ts';
import { AssumedStorage } from './storage.ts';
import { VolumeBinder } from './volume-binder.ts';
import { WriteSlots } from './write-slots.ts';

export interface SchedulerOptions extends ComponentContext {
  /** Use leader election; false: start scheduling at once (then run a single instance only). */
  readonly leaderElect?:
    | false
    | Partial<Pick<LeaderElectionOptions, 'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'>>;
  readonly profiles?: readonly Profile[];
  readonly extenders?: readonly ExtenderConfig[] | undefined;
  readonly backoff?: Backoff | undefined;
  /** Feature gates that are on: GenericWorkload (groups are scheduled as such), GangScheduling (of the default profile). Default: none. */
  readonly features?: ReadonlySet<string> | undefined;
  readonly random?: Random;
  /** Maximum number of concurrent binding and status writes; scheduling waits when it is reached. Default 64. */
  readonly maxBinding?: number;
  /** The registry for what pods request; empty while another scheduler leads. */
  readonly resourceMetrics?: MetricsRegistry | undefined;
}

const MAX_WRITING = 64;
/** Scheduling cycles in one turn of the event loop. */
const SLICE_MS = 8;

export function createScheduler(options: SchedulerOptions): Component {
  return new Scheduler(options);
}

class Scheduler implements Component {
  readonly name = 'kube-scheduler';
  readonly #options: SchedulerOptions;
  readonly #profiles: ReadonlyMap<string, Profile>;
  readonly #cache = new SchedulerCache();
  readonly #queue: SchedulingQueue;
  readonly #nominator = new Nominator();
  /** Undefined: the gate is off. */
  readonly #groups: PodGroups | undefined;
  readonly #metrics: SchedulerMetrics;
  readonly #extenders: Extenders | undefined;
  readonly #reporter: PodReporter;
  readonly #slots: WriteSlots;
  readonly #led: LedComponent;
  /** For writes. */
  readonly #fenced: Client;
  readonly #stop = new AbortController();
  #unsubscribe: readonly (() => void)[] = [];
  #informers: Informers | undefined;
  #cycle: SchedulingCycle | undefined;
  #groupCycle: GroupCycle | undefined;
  #bindingCycle: BindingCycle | undefined;
  #leading = false;
  #looping = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { features } = options;
    const profiles = options.profiles ?? [
      { schedulerName: 'default-scheduler', plugins: pluginsWith({}, features) },
    ];
    this.#groups = features?.has('GenericWorkload')
      ? new PodGroups({
          find: (key) => this.#informers?.podGroups?.get(key),
          isPlaced: (uid) => this.#cache.isPlaced(uid),
        })
      : undefined;
    this.#profiles = new Map(profiles.map((profile) => [profile.schedulerName, profile]));
    this.#extenders = options.extenders?.length ? new Extenders(options.extenders, options.log) : undefined;
    this.#queue = new SchedulingQueue({
      clock: options.clock,
      plugins: [...pluginsByName(profiles), ...(options.extenders?.length ? [{ name: EXTENDER }] : [])],
      backoff: options.backoff,
      groups: this.#groups,
      onReady: () => this.#kick(),
      onQueued: (queue, event) => this.#metrics.queued(queue, event),
      onHint: (hint) => this.#metrics.hinted(hint),
    });
    this.#metrics = new SchedulerMetrics(options.metrics, () => ({
      queues: this.#queue.sizes,
      cache: this.#cache.sizes,
      refusals: this.#queue.refusals(),
      inFlight: this.#queue.inFlight,
      writes: this.#slots.count,
    }));
    for (const { schedulerName } of profiles) this.#metrics.profile(schedulerName);
    const { api, clock, log, identity, leaderElect = {} } = options;
    this.#fenced = fencedClient(api, () => this.#led.mayWrite);
    this.#reporter = new PodReporter({
      fenced: this.#fenced,
      clock,
      log,
      profiles,
      informer: () => this.#informers?.pods,
    });
    options.resourceMetrics?.collect(() =>
      this.#leading ? podResourceLines(this.#informers?.pods.list() ?? []) : [],
    );
    this.#slots = new WriteSlots(options.maxBinding ?? MAX_WRITING, log);
    this.#led = createLedComponent({
      api,
      clock,
      log,
      identity,
      name: this.name,
      metrics: options.metrics,
      ...(leaderElect === false ? {} : { leaderElect }),
      prepare: () => this.#watch(),
      work: (signal) => this.#lead(signal),
    });
  }

  start(): Promise<void> {
    return this.#led.start();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('scheduler stopped'));
    this.#queue.stop();
    this.#extenders?.stop();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#led.stop();
    this.#reporter.stop();
  }

  /** Cache and queue are kept up to date on the leader and on standbys. */
  async #watch(): Promise<void> {
    const informers = schedulerInformers(this.#options.api, { groups: this.#groups !== undefined });
    this.#informers = informers;
    this.#compose(informers);
    await Promise.all(
      Object.values(informers).map((informer: Informer<never>) => informer.synced(this.#stop.signal)),
    );
  }

  #compose(informers: Informers): void {
    const { clock, log, random = realRandom } = this.#options;
    const shared = {
      fenced: this.#fenced,
      clock,
      log,
      cache: this.#cache,
      queue: this.#queue,
      nominator: this.#nominator,
      metrics: this.#metrics,
      extenders: this.#extenders,
      reporter: this.#reporter,
      slots: this.#slots,
      groups: this.#groups,
    };
    const selectors = new DefaultSelectors(informers);
    const assumed = new AssumedStorage(informers);
    const devices = new DeviceState(informers, clock);
    const volumeBinder = new VolumeBinder({
      api: this.#fenced,
      clock,
      informers,
      pods: informers.pods,
      assumed,
      labelsOf: (node) => {
        const info = this.#cache.byName.get(node);
        return info?.node && info.labels;
      },
    });
    const claimBinder = new ClaimBinder({ api: this.#fenced, clock, state: devices, metrics: this.#metrics });
    const bindingCycle = new BindingCycle({
      ...shared,
      mayWrite: () => this.#led.mayWrite,
      volumeBinder,
      claimBinder,
    });
    const postFilter = new PostFilter({
      ...shared,
      claimBinder,
      executor: new PreemptionExecutor(shared),
      random,
      budgets: () => informers.budgets.list(),
    });
    this.#bindingCycle = bindingCycle;
    const decider = new Decider({
      ...shared,
      random,
      snapshot: liveSnapshot(this.#cache, {
        namespaceLabels: (name) => informers.namespaces.get(name)?.metadata?.labels ?? {},
        defaultSelector: (pod) => selectors.of(pod),
        volumes: assumed,
        resourceClaims: devices,
        nominated: (node) => this.#nominator.on(node),
      }),
    });
    const assigner = new Assigner({ ...shared, claimBinder, volumeBinder, bindingCycle });
    const deciding = { ...shared, decider, assigner, postFilter };
    const single = new SchedulingCycle({ ...deciding, profiles: this.#profiles });
    this.#cycle = single;
    this.#groupCycle = this.#groupCycleWith({ ...deciding, single });
    this.#unsubscribe = subscribeHandlers(informers, {
      ...shared,
      selectors,
      devices,
      volumeBinder,
      claimBinder,
      isResponsible: ({ spec }) => this.#profiles.has(spec?.schedulerName ?? 'default-scheduler'),
    });
  }

  #groupCycleWith(
    options: Omit<ConstructorParameters<typeof GroupCycle>[0], 'groups' | 'groupMetrics' | 'groupReporter'>,
  ): GroupCycle | undefined {
    if (!this.#groups) return undefined;
    const { clock, log, metrics } = this.#options;
    return new GroupCycle({
      ...options,
      groups: this.#groups,
      groupMetrics: new GroupMetrics(metrics),
      groupReporter: new GroupReporter({
        fenced: this.#fenced,
        clock,
        log,
        find: (key) => this.#informers?.podGroups?.get(key),
      }),
    });
  }

  async #lead(signal: AbortSignal): Promise<void> {
    this.#leading = true;
    this.#bindingCycle?.lead();
    this.#kick();
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.#leading = false;
    await this.#bindingCycle?.resign();
    await this.#slots.settled();
  }

  /** Starts the scheduling loop when it is idle and the queue is not empty. */
  #kick(): void {
    if (!this.#leading || this.#looping || this.#stop.signal.aborted) return;
    this.#looping = true;
    setImmediate(
      () =>
        void this.#loop().finally(() => {
          this.#looping = false;
          if (this.#queue.activeSize > 0) this.#kick();
        }),
    );
  }

  #decide(next: Popped): Promise<void> | undefined {
    return this.#groupCycle && groupKeyOf(next.pod) !== undefined
      ? this.#groupCycle.run(next)
      : this.#cycle?.run(next);
  }

  async #loop(): Promise<void> {
    let sliceStart = performance.now();
    while (this.#leading && !this.#stop.signal.aborted) {
      const next = this.#queue.pop();
      if (!next) return;
      const deciding = this.#decide(next);
      if (deciding) await deciding;
      while (this.#slots.isFull) await this.#slots.nextFree();
      if (performance.now() - sliceStart > SLICE_MS) {
        await new Promise((resolve) => setImmediate(resolve));
        sliceStart = performance.now();
      }
    }
  }
}

/** Each profile may have its own weights for a plugin. */
function pluginsByName(profiles: readonly Profile[]): SchedulerPlugin[] {
  const all = profiles.flatMap((profile) => profile.plugins);
  return [...new Map(all.map((plugin) => [plugin.name, plugin])).values()];
}
