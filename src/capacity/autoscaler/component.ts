/**
 * The cluster autoscaler as a component: informers on every instance, loops on the leader, each --scan-interval and soon after the scheduler refused a pod. What it writes is fenced; the provider is only called while it leads.
 */
import { createEventRecorder } from '#client/event-recorder.ts';
import { fencedClient } from '#client/fenced-client.ts';
import type { LeaderElectionOptions } from '#client/leader-election.ts';
import { configMaps, daemonSets, replicaSets, replicationControllers } from '#client/refs.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createLedComponent, type LedComponent } from '#runtime/led-component.ts';
import { followForSimulation, type SimulationSource } from '#scheduler/simulation.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Random } from '#stdx/random.ts';
import { Autoscaler, type AutoscalerInformers } from './autoscaler.ts';
import { boundedProvider } from './bounded-provider.ts';
import { AutoscalerMetrics } from './metrics.ts';
import { isUnschedulable } from './pending-pods.ts';
import { PRIORITY_CONFIG_MAP } from './priorities.ts';
import type { NodeProvider } from './provider.ts';
import type { AutoscalerSettings } from './settings.ts';

interface ClusterAutoscalerOptions extends ComponentContext {
  readonly settings: AutoscalerSettings;
  /** Called for each term of leadership; closed at its end. */
  readonly provider: (signal: AbortSignal) => Promise<NodeProvider>;
  readonly leaderElect?:
    | false
    | Partial<Pick<LeaderElectionOptions, 'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'>>;
  readonly random?: Random | undefined;
}

/** From a pod that is refused to the loop for it: others of its kind are refused meanwhile. */
const WAKE_MS = 1_000;

export function createClusterAutoscaler(options: ClusterAutoscalerOptions): Component {
  return new ClusterAutoscaler(options);
}

class ClusterAutoscaler implements Component {
  readonly name = 'cluster-autoscaler';
  readonly #options: ClusterAutoscalerOptions;
  readonly #led: LedComponent;
  readonly #metrics = new AutoscalerMetrics();
  readonly #stop = new AbortController();
  #source: SimulationSource | undefined;
  #informers: AutoscalerInformers | undefined;
  #unsubscribe = (): void => {};
  /** Ends the wait for the next loop. */
  #wake = (): void => {};

  constructor(options: ClusterAutoscalerOptions) {
    this.#options = options;
    const { api, clock, log, identity, leaderElect = {} } = options;
    options.metrics?.add(this.#metrics);
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
    this.#stop.abort(new Error('cluster autoscaler stopped'));
    this.#unsubscribe();
    await this.#led.stop();
  }

  async #watch(): Promise<void> {
    const { api, clock, settings } = this.#options;
    const { signal } = this.#stop;
    const select = {
      namespace: settings.namespace,
      fieldSelector: `metadata.name=${PRIORITY_CONFIG_MAP}`,
    };
    this.#source = await followForSimulation(api, { clock, signal });
    this.#informers = {
      daemonSets: api.informer(daemonSets),
      replicaSets: api.informer(replicaSets),
      replicationControllers: api.informer(replicationControllers),
      priorities: api.informer(configMaps, select),
    };
    await Promise.all([
      this.#informers.daemonSets.synced(signal),
      this.#informers.replicaSets.synced(signal),
      this.#informers.replicationControllers.synced(signal),
      this.#informers.priorities.synced(signal),
    ]);
    this.#unsubscribe = this.#source.pods.subscribe({
      added: (pod) => isUnschedulable(pod) && this.#wake(),
      updated: (pod, before) => isUnschedulable(pod) && !isUnschedulable(before) && this.#wake(),
    });
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const { api, clock, log, settings, random } = this.#options;
    const fenced = fencedClient(api, () => this.#led.mayWrite);
    const events = createEventRecorder(fenced, { component: this.name, clock, log });
    const provider = await this.#options.provider(signal);
    const autoscaler = new Autoscaler({
      settings,
      provider: boundedProvider(provider, {
        clock,
        timeoutMs: settings.providerTimeoutMs,
        mayWrite: () => this.#led.mayWrite,
      }),
      source: this.#source!,
      informers: this.#informers!,
      api: fenced,
      events,
      metrics: this.#metrics,
      clock,
      log,
      signal,
      random,
    });
    try {
      while (!signal.aborted) {
        const woken = this.#nextWake(signal);
        await autoscaler.runOnce();
        await Promise.race([clock.sleep(settings.scanIntervalMs, signal).catch(() => {}), woken]);
      }
    } finally {
      this.#wake = () => {};
      await autoscaler.ended();
      events.stop();
      await provider
        .close()
        .catch((error: unknown) =>
          log.warn('error closing the provider of nodes', { error: errorMessage(error) }),
        );
    }
  }

  /** Resolves a moment after a pod was refused, counted from now on. */
  #nextWake(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    let isSet = false;
    this.#wake = () => {
      if (isSet) return;
      isSet = true;
      clock.sleep(WAKE_MS, signal).then(resolve, resolve);
    };
    return promise;
  }
}
