/**
 * Runs controllers: one work queue and one event recorder each, keys serial, retries rate-limited, only on the leader.
 *
 *   start() --caches synced--> standby --elected--> running --lost or stop()--> draining --workers idle--> standby | stopped
 *
 * Controllers are isolated: one whose caches do not sync (its resource is not served), or whose reconcile fails, does not block others.
 */
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import { isStatusError } from '#machinery/errors.ts';
import { assert } from '#stdx/assert.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Timer } from '#stdx/clock.ts';
import type { Client, Informer, ResourceRef } from '#client/client.ts';
import { fencedClient } from '#client/fenced-client.ts';
import { createEventRecorder } from '#client/event-recorder.ts';
import {
  createLeaderElector,
  type LeaderElectionOptions,
  type LeaderElector,
} from '#client/leader-election.ts';
import type { Component, ComponentContext } from './component.ts';
import type { ControllerDefinition, ReconcileContext, SourceContext, WatchSource } from './controller.ts';
import { Expectations } from './expectations.ts';
import { OwnWrites } from './own-writes.ts';
import { StaleSyncs } from './stale-sync-metrics.ts';
import { createWorkQueue, type WorkQueue } from './work-queue.ts';
import { WorkQueueFamilies } from './work-queue-metrics.ts';
import { leadershipLines } from '#client/leader-election-metrics.ts';

export interface ControllerManagerOptions extends ComponentContext {
  /** The component's name. Default 'kube-controller-manager'. */
  readonly name?: string;
  /** Use leader election; without it the controllers run as soon as the caches are synced (run a single instance only, then). */
  readonly leaderElect?: Partial<
    Pick<
      LeaderElectionOptions,
      'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs' | 'releaseOnStop'
    >
  >;
  /** How long start() waits for caches; controllers whose caches sync later start then. Default 30 s. */
  readonly syncTimeoutMs?: number;
  /** How long stop() waits for reconciles after their signal was aborted. Default 5 s, less than the lease duration. */
  readonly stopTimeoutMs?: number;
  /**
   * The client that a controller writes, reads live and records events with, as with kube-controller-manager
   * --use-service-account-credentials. Default: `api`, whose informers all controllers share. The caller closes it after the manager stopped.
   */
  readonly clientFor?: (definition: ControllerDefinition) => Client;
}

export interface ControllerManager extends Component {
  readonly isLeader: boolean;
  /** No other instance can lead; always true without leader election. For fenced-client.ts. */
  readonly mayWrite: boolean;
}

export function createControllerManager(
  definitions: readonly ControllerDefinition[],
  options: ControllerManagerOptions,
): ControllerManager {
  return new LedControllers(definitions, options);
}

/**
 * Selects the controllers to run, as kube-controller-manager --controllers: '*' enables all that are on by default, 'name' adds
 * one, '-name' removes one. An unknown name is an error.
 */
export function selectControllers(
  definitions: readonly ControllerDefinition[],
  {
    names,
    offByDefault = [],
  }: { readonly names: readonly string[]; readonly offByDefault?: readonly string[] },
): ControllerDefinition[] {
  const known = new Set(definitions.map(({ name }) => name));
  for (const name of names) {
    if (name !== '*' && !known.has(name.replace(/^-/, '')))
      throw new Error(`"${name.replace(/^-/, '')}" is not in the list of known controllers`);
  }
  return definitions.filter(({ name }) => {
    if (names.includes(`-${name}`)) return false;
    return names.includes(name) || (names.includes('*') && !offByDefault.includes(name));
  });
}

class LedControllers implements ControllerManager {
  readonly name: string;
  readonly #definitions: readonly ControllerDefinition[];
  readonly #options: ControllerManagerOptions;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #queues = new WorkQueueFamilies();
  readonly #staleSyncs: StaleSyncs;
  #leading = false;
  #elector: LeaderElector | undefined;
  #work: Promise<void> | undefined;

  constructor(definitions: readonly ControllerDefinition[], options: ControllerManagerOptions) {
    this.name = options.name ?? 'kube-controller-manager';
    this.#definitions = definitions;
    this.#options = options;
    this.#log = options.log;
    this.#staleSyncs = new StaleSyncs(definitions);
    options.metrics?.add(this.#queues, this.#staleSyncs);
    // A standby has series, too.
    for (const { name } of definitions) this.#queues.of(name);
    const leaseName = options.leaderElect?.lease?.name ?? this.name;
    if (options.leaderElect) options.metrics?.collect(() => leadershipLines(leaseName, this.#leading));
    const names = definitions.map((definition) => definition.name);
    assert(new Set(names).size === names.length, 'controller names are unique');
  }

  get isLeader(): boolean {
    return this.#leading;
  }

  get mayWrite(): boolean {
    return this.#options.leaderElect ? this.#elector?.mayWrite === true : true;
  }

  async start(): Promise<void> {
    assert(this.#work === undefined, 'a component is started once');
    const { api } = this.#options;
    for (const definition of this.#definitions) {
      for (const source of definition.watches) informerOf(api, source);
      for (const index of definition.indexes ?? [])
        declaredInformer(api, { definition, resource: index.resource }).addIndex(
          index.name,
          index.values as (object: KubeObject) => readonly string[],
        );
    }
    await this.#cachesSynced();
    this.#work = (
      this.#options.leaderElect ? this.#lead(this.#options.leaderElect) : this.#run(this.#stop.signal)
    ).catch((error: unknown) => {
      this.#log.error('controllers ended', { error: errorMessage(error) });
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error(`${this.name} is stopping`));
    await this.#work;
  }

  /** Bounded: a resource that is not served must not block the other controllers. */
  async #cachesSynced(): Promise<void> {
    const { api, clock, syncTimeoutMs = 30_000 } = this.#options;
    const all = Promise.allSettled(
      this.#definitions.flatMap(({ watches }) =>
        watches.map((source) => informerOf(api, source).synced(this.#stop.signal)),
      ),
    );
    const timedOut = Promise.withResolvers<'late'>();
    const timer = clock.after(syncTimeoutMs, () => timedOut.resolve('late'));
    const outcome = await Promise.race([all, timedOut.promise]);
    timer.cancel();
    if (outcome === 'late')
      this.#log.warn('caches are not synced yet: each controller starts when its caches are synced', {
        afterMs: syncTimeoutMs,
      });
  }

  async #lead(election: NonNullable<ControllerManagerOptions['leaderElect']>): Promise<void> {
    const { api, clock, identity } = this.#options;
    const elector = createLeaderElector({
      lease: { namespace: 'kube-system', name: this.name },
      ...election,
      api,
      clock,
      identity,
      log: this.#log,
    });
    this.#elector = elector;
    while (!this.#stop.signal.aborted)
      await elector.run(this.#stop.signal, (leading) => this.#run(leading, () => elector.mayWrite));
  }

  /** Resolves when the signal is aborted and all work has ended or timed out. */
  async #run(signal: AbortSignal, mayWrite?: () => boolean): Promise<void> {
    this.#leading = true;
    try {
      await Promise.all(
        this.#definitions.map((definition) =>
          runController(definition, {
            options: this.#options,
            signal,
            queues: this.#queues,
            staleSyncs: this.#staleSyncs,
            mayWrite,
          }),
        ),
      );
    } finally {
      this.#leading = false;
    }
  }
}

interface RunOptions {
  readonly options: ControllerManagerOptions;
  readonly signal: AbortSignal;
  readonly queues: WorkQueueFamilies;
  readonly staleSyncs: StaleSyncs;
  /** Undefined: always. */
  readonly mayWrite?: (() => boolean) | undefined;
}

/** Runs one controller, from its cache sync until the signal. Never throws. */
async function runController(definition: ControllerDefinition, run: RunOptions): Promise<void> {
  const { options, signal } = run;
  const log = options.log.with({ controller: definition.name });
  try {
    await Promise.all(definition.watches.map((source) => informerOf(options.api, source).synced(signal)));
    await new RunningController(definition, { ...run, log }).run();
  } catch (error) {
    if (!signal.aborted) log.error('controller failed', { error: errorMessage(error) });
  }
}

class RunningController {
  readonly #definition: ControllerDefinition;
  readonly #options: ControllerManagerOptions;
  readonly #signal: AbortSignal;
  readonly #log: Logger;
  readonly #queue: WorkQueue;
  readonly #expectations: Expectations;
  readonly #base: Omit<ReconcileContext, 'key'>;
  readonly #source: SourceContext;
  readonly #recorder: ReturnType<typeof createEventRecorder>;
  readonly #staleSyncs: StaleSyncs;
  readonly #ownWrites: OwnWrites | undefined;

  constructor(
    definition: ControllerDefinition,
    { options, signal, log, queues, staleSyncs, mayWrite }: RunOptions & { readonly log: Logger },
  ) {
    const { clock } = options;
    const fenced = (client: Client): Client => (mayWrite ? fencedClient(client, mayWrite) : client);
    const shared = fenced(options.api);
    const own = options.clientFor?.(definition);
    const api = own ? fenced(own) : shared;
    this.#definition = definition;
    this.#options = options;
    this.#signal = signal;
    this.#log = log;
    this.#staleSyncs = staleSyncs;
    this.#ownWrites = definition.seesOwnWrites ? new OwnWrites() : undefined;
    this.#queue = createWorkQueue({
      clock,
      metrics: queues.of(definition.name),
    });
    queues.track(definition.name, this.#queue);
    this.#expectations = new Expectations(clock);
    this.#recorder = createEventRecorder(api, {
      component: definition.eventSource ?? definition.name,
      clock,
      log,
    });
    const informer = <U extends KubeObject>(resource: ResourceRef<U>): Informer<U> =>
      declaredInformer(shared, { definition, resource });
    this.#source = { informer, expectations: this.#expectations };
    this.#base = {
      api,
      shared,
      clock,
      log,
      events: this.#recorder,
      signal,
      expectations: this.#expectations,
      memory: new Map(),
      informer,
      enqueue: (key, delayMs = 0) => this.#queue.addAfter(key, delayMs),
    };
  }

  async run(): Promise<void> {
    const { watches, workers = 5 } = this.#definition;
    const unsubscribes = watches.map((source) => this.#subscribe(source as unknown as WatchSource));
    const sweeping = this.#sweep();
    const working = Promise.all(Array.from({ length: workers }, () => this.#worker()));
    await new Promise<void>((resolve) => {
      if (this.#signal.aborted) resolve();
      else this.#signal.addEventListener('abort', () => resolve(), { once: true });
    });
    for (const unsubscribe of unsubscribes) unsubscribe();
    sweeping.cancel();
    this.#queue.shutDown();
    await this.#drained(working);
    this.#recorder.stop();
  }

  #subscribe(source: WatchSource): () => void {
    const { observe } = source;
    const keysOf = source.keys ?? ((object: KubeObject) => [objectKey(object)]);
    const guarded = (call: () => void): void => {
      try {
        call();
      } catch (error) {
        this.#log.error('watch source failed', {
          resource: source.resource.plural,
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        });
      }
    };
    const enqueue = (object: Stored): void =>
      guarded(() => {
        for (const key of keysOf(object, this.#source)) this.#queue.add(key);
      });
    return informerOf(this.#options.api, source).subscribe({
      added: (object) => {
        if (observe?.added) guarded(() => observe.added!(object, this.#source));
        enqueue(object);
      },
      updated: (object, previous) => {
        if (observe?.updated) guarded(() => observe.updated!(object, previous, this.#source));
        if (source.changed?.(object, previous) === false) return;
        enqueue(object);
        if (source.keys) enqueue(previous);
      },
      deleted: (object) => {
        if (observe?.deleted) guarded(() => observe.deleted!(object, this.#source));
        enqueue(object);
      },
    });
  }

  #sweep(): Timer {
    const { resyncEveryMs } = this.#definition;
    if (resyncEveryMs === undefined) return { cancel: () => {} };
    let timer: Timer;
    const turn = (): void => {
      this.#queue.add('');
      timer = this.#options.clock.after(resyncEveryMs, turn);
    };
    turn();
    return { cancel: () => timer.cancel() };
  }

  async #worker(): Promise<void> {
    for (let key = await this.#queue.get(); key !== undefined; key = await this.#queue.get()) {
      try {
        await this.#reconcile(key);
      } finally {
        this.#queue.done(key);
      }
    }
  }

  async #reconcile(key: string): Promise<void> {
    if (this.#isStale(key)) return;
    try {
      const api = this.#ownWrites?.recording(this.#base.api, key) ?? this.#base.api;
      const result = await this.#definition.reconcile({ ...this.#base, api, key });
      this.#queue.forget(key);
      if (result) this.#queue.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      if (this.#signal.aborted) return;
      const conflict = isStatusError(error, 'Conflict');
      const retryMs = this.#queue.addRateLimited(key);
      if (conflict) this.#log.debug('conflict, retrying', { key, retryMs });
      else this.#log.warn('reconcile failed, retrying', { key, retryMs, error: errorMessage(error) });
    }
  }

  /** The caches have not seen what was written for the key: it is tried again later. */
  #isStale(key: string): boolean {
    const stale = this.#ownWrites?.stale(key, (resource) => this.#readVersion(resource));
    if (!stale) return false;
    this.#staleSyncs.count(this.#definition, stale.resource);
    const retryMs = this.#queue.addRateLimited(key);
    this.#log.debug('cache is older than an own write, retrying', {
      key,
      retryMs,
      resource: stale.resource.plural,
      wrote: stale.resourceVersion,
      read: stale.readVersion,
    });
    return true;
  }

  /** Of the informer that the controller declared; undefined where it declared none. */
  #readVersion(resource: ResourceRef): string | undefined {
    const source = declaredSource(this.#definition, resource);
    return source && informerOf(this.#options.api, source).lastSyncResourceVersion;
  }

  async #drained(working: Promise<unknown>): Promise<void> {
    const { clock, stopTimeoutMs = 5_000 } = this.#options;
    const late = Promise.withResolvers<'late'>();
    const timer = clock.after(stopTimeoutMs, () => late.resolve('late'));
    const outcome = await Promise.race([working, late.promise]);
    timer.cancel();
    if (outcome === 'late') this.#log.error('reconcile did not stop in time', { afterMs: stopTimeoutMs });
  }
}

function informerOf(api: Client, source: WatchSource<never> | WatchSource): Informer<KubeObject> {
  return api.informer<KubeObject>(source.resource as unknown as ResourceRef, source.select ?? {});
}

/** A controller can only read informers that it declared; with `select`, those of the first declared selection. */
function declaredInformer<T extends KubeObject>(
  api: Client,
  { definition, resource }: { readonly definition: ControllerDefinition; readonly resource: ResourceRef<T> },
): Informer<T> {
  const source = declaredSource(definition, resource);
  assert(source, `${definition.name} declares ${resource.plural} in watches before it reads it`);
  return informerOf(api, source) as unknown as Informer<T>;
}

function declaredSource<T extends KubeObject>(
  { watches }: ControllerDefinition,
  { group, version, plural }: ResourceRef<T>,
): WatchSource<never> | undefined {
  return watches.find(({ resource }) => {
    const declared = resource as unknown as ResourceRef;
    return plural === declared.plural && group === declared.group && version === declared.version;
  });
}
