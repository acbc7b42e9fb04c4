/**
 * The binding cycle of a pod for which a node was chosen: volumes, claims, then the pod. Runs beside the next scheduling cycles.
 *
 *   assumed ──► volumes bound ──► claims written ──► [devices ready] ──► POST binding ──ok──► the informer confirms
 *                   └─────────────────┴──────────────────┴────────────────────┴─failed──► forget, back to the queue
 */
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { SchedulerCache } from './cache.ts';
import { ClaimBindingError, type ClaimBinder, type PlannedClaims } from './dra/claim-binder.ts';
import type { Extenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import type { PodInfo } from './pod-info.ts';
import type { PodReporter } from './pod-reporter.ts';
import type { PodVolumes } from './plugins/volume-binding.ts';
import type { SchedulingQueue } from './queue.ts';
import type { Profile } from './schedule.ts';
import { VolumeBindingError, type VolumeBinder } from './volume-binder.ts';
import type { WriteSlots } from './write-slots.ts';

interface BindingCycleOptions {
  /** For writes; refuses them when this scheduler does not lead. */
  readonly fenced: Client;
  readonly mayWrite: () => boolean;
  readonly log: Logger;
  readonly cache: SchedulerCache;
  readonly metrics: SchedulerMetrics;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  readonly extenders: Extenders | undefined;
  readonly reporter: PodReporter;
  readonly slots: WriteSlots;
  readonly volumeBinder: VolumeBinder;
  readonly claimBinder: ClaimBinder;
}

interface PodBinding {
  readonly node: string;
  readonly profile: Profile;
  /** Called with the result of the attempt. */
  readonly bound: (isBound: boolean) => void;
  /** What its claims need before it is bound. */
  readonly claims: PlannedClaims | undefined;
}

export class BindingCycle {
  readonly #options: BindingCycleOptions;
  /** Pods that wait for volumes or devices: bounded by the pods in the API, and no write slots, because a provisioner may take minutes. */
  readonly #preBinding = new Set<Promise<void>>();
  #leadership = new AbortController();

  constructor(options: BindingCycleOptions) {
    this.#options = options;
  }

  /** This scheduler leads. */
  lead(): void {
    this.#leadership = new AbortController();
  }

  /** Resolves when no pod waits for volumes or devices any more. */
  async resign(): Promise<void> {
    this.#leadership.abort(new Error('the scheduler leads no more'));
    await Promise.allSettled(this.#preBinding);
  }

  /** The pod and its claims are assumed. */
  start(
    info: PodInfo,
    { volumes, ...binding }: PodBinding & { readonly volumes: PodVolumes | undefined },
  ): void {
    if (!volumes) return this.#options.slots.track(this.#bind(info, binding));
    this.#bindVolumes(info, { ...binding, volumes });
  }

  #bindVolumes(info: PodInfo, { volumes, ...binding }: PodBinding & { readonly volumes: PodVolumes }): void {
    const { volumeBinder: binder, slots } = this.#options;
    const assumed = binder.assume(volumes, binding.node);
    const work: Promise<void> = binder
      .bind(
        {
          ...assumed,
          pod: info.pod,
          node: binding.node,
          timeoutMs: binding.profile.bindTimeoutMs,
        },
        this.#leadership.signal,
      )
      .finally(() => binder.forget(assumed))
      .then(
        () => slots.track(this.#bind(info, binding)),
        (error: unknown) => slots.track(this.#volumesFailed(info, { ...binding, error })),
      )
      .finally(() => this.#preBinding.delete(work));
    this.#preBinding.add(work);
  }

  async #volumesFailed(
    info: PodInfo,
    { profile, bound, claims, error }: PodBinding & { readonly error: unknown },
  ): Promise<void> {
    const { cache, queue, metrics, reporter } = this.#options;
    metrics.volumesFailed();
    bound(false);
    cache.forget(info.uid);
    queue.event('pod-deleted');
    queue.failed(info.uid, new Set());
    await this.#release(info, claims);
    if (error instanceof VolumeBindingError) await reporter.attemptFailed(info, { profile, error });
  }

  async #bind(info: PodInfo, binding: PodBinding): Promise<void> {
    try {
      const mustWait = binding.claims && (await this.#options.claimBinder.write(binding.claims));
      if (mustWait) return this.#awaitDevices(info, { ...binding, claims: binding.claims });
    } catch (error) {
      return this.#bindingFailed(info, { ...binding, error });
    }
    return this.#bindPod(info, binding);
  }

  /** Outside the write slots: a driver may take minutes. */
  #awaitDevices(info: PodInfo, binding: PodBinding & { readonly claims: PlannedClaims }): void {
    const { slots, reporter, claimBinder } = this.#options;
    reporter.event(info.pod, {
      schedulerName: binding.profile.schedulerName,
      type: 'Normal',
      reason: 'BindingConditionsPending',
      action: 'Scheduling',
      message: `waiting for binding conditions for device on node ${binding.node}`,
    });
    const work: Promise<void> = claimBinder
      .wait(binding.claims, this.#leadership.signal)
      .then(
        () => slots.track(this.#bindPod(info, binding)),
        (error: unknown) => slots.track(this.#bindingFailed(info, { ...binding, error })),
      )
      .finally(() => this.#preBinding.delete(work));
    this.#preBinding.add(work);
  }

  async #bindPod(info: PodInfo, binding: PodBinding): Promise<void> {
    const { extenders, queue, metrics, reporter, mayWrite } = this.#options;
    const { node, profile, bound } = binding;
    const startMs = performance.now();
    const took = (status: string): void =>
      metrics.point('Bind', {
        profile: profile.schedulerName,
        status,
        seconds: (performance.now() - startMs) / 1000,
      });
    try {
      const extender = extenders?.binderOf(info.pod);
      if (extender) {
        if (!mayWrite()) throw new Error('this scheduler does not lead');
        await extender.bind(info.pod, node);
      } else await this.#writeBinding(info, node);
      took('Success');
      bound(true);
      queue.done(info.uid);
      reporter.event(info.pod, {
        schedulerName: profile.schedulerName,
        type: 'Normal',
        reason: 'Scheduled',
        action: 'Binding',
        message: `Successfully assigned ${info.key} to ${node}`,
      });
    } catch (error) {
      took('Error');
      await this.#bindingFailed(info, { ...binding, error });
    }
  }

  async #writeBinding({ pod }: PodInfo, node: string): Promise<void> {
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    await this.#options.fenced.createSubresource(
      pods,
      { name, namespace },
      {
        subresource: 'binding',
        body: {
          apiVersion: 'v1',
          kind: 'Binding',
          metadata: { name, namespace, uid },
          target: { kind: 'Node', name: node },
        },
      },
    );
  }

  async #bindingFailed(
    info: PodInfo,
    { node, profile, bound, claims, error }: PodBinding & { readonly error: unknown },
  ): Promise<void> {
    const { uid } = info;
    const { cache, queue, nominator, reporter, log } = this.#options;
    bound(false);
    cache.forget(uid);
    if (isStatusError(error, 'NotFound') || isStatusError(error, 'Conflict'))
      log.debug('pod changed while binding', { pod: info.key, error: errorMessage(error) });
    else log.warn('binding failed', { pod: info.key, node, error: errorMessage(error) });
    // An earlier nomination is kept until the pod is deleted.
    nominator.seen(info, undefined);
    queue.event('pod-deleted');
    await this.#release(info, claims);
    if (isStatusError(error, 'NotFound')) {
      queue.done(uid);
      nominator.delete(uid);
      return;
    }
    queue.failed(uid, new Set());
    if (error instanceof ClaimBindingError) await reporter.attemptFailed(info, { profile, error });
  }

  async #release(info: PodInfo, claims: PlannedClaims | undefined): Promise<void> {
    if (!claims) return;
    const { claimBinder, log } = this.#options;
    try {
      await claimBinder.release(claims);
    } catch (error) {
      log.warn('resource claims not released', { pod: info.key, error: errorMessage(error) });
    }
  }
}
