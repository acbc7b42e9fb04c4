/**
 * The scheduler component: informers feed the cache and the queue; the leader pops pods, schedules them (schedule.ts, pure)
 * and binds them. Pods are scheduled one at a time; bindings are written concurrently with the next scheduling cycles.
 *
 *   informers ──► cache, queue ──pop──► schedule() ──fits──► assume ──► POST binding ──ok──► (the informer confirms)
 *                     ▲                     │                                 '──failed──► forget, back to the queue
 *                     │                     └─none──► preemption? ──► victims deleted, nominatedNodeName set
 *                     └──────────────────── condition PodScheduled=False, event FailedScheduling
 */
import type {
  Namespace,
  Node,
  Pod,
  PodDisruptionBudget,
  ReplicaSet,
  ReplicationController,
  Service,
  StatefulSet,
} from '#api/types.ts';
import {
  deviceClasses,
  namespaces,
  nodes,
  podDisruptionBudgets,
  pods,
  replicaSets,
  replicationControllers,
  resourceClaims,
  resourceSlices,
  services,
  statefulSets,
} from '#client/refs.ts';
import type { Client, Informer } from '#client/client.ts';
import { fencedClient } from '#client/fenced-client.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import type { LeaderElectionOptions } from '#client/leader-election.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey, type KubeObject } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createLedComponent, type LedComponent } from '#runtime/led-component.ts';
import { errorMessage } from '#stdx/log.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import { formatTime } from '#machinery/time.ts';
import { SchedulerCache } from './cache.ts';
import { podInfo, type PodInfo } from './pod-info.ts';
import type { Cycle, SchedulerPlugin } from './plugin.ts';
import { defaultPlugins } from './plugins/list.ts';
import type { ExtenderConfig } from './extenders/extender.ts';
import { EXTENDER, ExtenderError, Extenders } from './extenders/extenders.ts';
import { bestPreemption, findPreemption, preemptionCandidates, type Preemption } from './preemption.ts';
import { Nominator } from './nominator.ts';
import { SchedulerMetrics, type AttemptResult } from './metrics.ts';
import { SchedulingQueue, type Backoff, type Popped } from './queue.ts';
import { choose, failureMessage, findCandidates, schedule, type Decision, type Profile } from './schedule.ts';
import { DefaultSelectors } from './default-selectors.ts';
import { AllocationError } from './dra/allocation-error.ts';
import { ClaimBinder, ClaimBindingError, plannedClaims, type PlannedClaims } from './dra/claim-binder.ts';
import { DeviceState, type DeviceInformers } from './dra/device-state.ts';
import { plannedVolumes, type PodVolumes } from './plugins/volume-binding.ts';
import type { Snapshot } from './snapshot.ts';
import { AssumedStorage, storageInformers, subscribeStorage, type StorageInformers } from './storage.ts';
import { VolumeBinder, VolumeBindingError } from './volume-binder.ts';

export interface SchedulerOptions extends ComponentContext {
  /** Use leader election; false: start scheduling at once (then run a single instance only). */
  readonly leaderElect?:
    | false
    | Partial<Pick<LeaderElectionOptions, 'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'>>;
  readonly profiles?: readonly Profile[];
  readonly extenders?: readonly ExtenderConfig[] | undefined;
  readonly backoff?: Backoff | undefined;
  readonly random?: Random;
  /** Maximum number of concurrent binding and status writes; scheduling waits when it is reached. Default 64. */
  readonly maxBinding?: number;
}

const NO_PREEMPTION = { message: '', keepNomination: true };
const MAX_WRITING = 64;
/** Scheduling cycles in one turn of the event loop. */
const SLICE_MS = 8;
const DEFAULT_PROFILES: readonly Profile[] = [
  { schedulerName: 'default-scheduler', plugins: defaultPlugins },
];

export function createScheduler(options: SchedulerOptions): Component {
  return new Scheduler(options);
}

interface Informers extends StorageInformers, DeviceInformers {
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
  readonly namespaces: Informer<Namespace>;
  readonly services: Informer<Service>;
  readonly replicaSets: Informer<ReplicaSet>;
  readonly replicationControllers: Informer<ReplicationController>;
  readonly statefulSets: Informer<StatefulSet>;
  readonly budgets: Informer<PodDisruptionBudget>;
}

/** One attempt to schedule a pod. */
interface Attempted extends Popped {
  readonly info: PodInfo;
  readonly profile: Profile;
  readonly attempt: Attempt;
}

type PreemptionResult = ReturnType<typeof findPreemption>;

interface PodBinding {
  readonly node: string;
  readonly profile: Profile;
  /** Called with the result of the attempt. */
  readonly bound: (isBound: boolean) => void;
  /** What its claims need before it is bound. */
  readonly claims: PlannedClaims | undefined;
}

class Scheduler implements Component {
  readonly name = 'kube-scheduler';
  readonly #options: SchedulerOptions;
  readonly #profiles: ReadonlyMap<string, Profile>;
  readonly #recorders: ReadonlyMap<string, StoppableEventRecorder>;
  readonly #cache = new SchedulerCache();
  readonly #queue: SchedulingQueue;
  readonly #stop = new AbortController();
  readonly #writing = new Set<Promise<void>>();
  readonly #unsubscribe: (() => void)[] = [];
  readonly #nominator = new Nominator();
  readonly #metrics: SchedulerMetrics;
  readonly #extenders: Extenders | undefined;
  #informers: Informers | undefined;
  #defaultSelectors: DefaultSelectors | undefined;
  #snapshot: Snapshot | undefined;
  #volumeBinder: VolumeBinder | undefined;
  #claimBinder: ClaimBinder | undefined;
  #devices: DeviceState | undefined;
  /** Pods that wait for volumes or devices: bounded by the pods in the API, and no write slots, because a provisioner may take minutes. */
  readonly #preBinding = new Set<Promise<void>>();
  #leadership = new AbortController();
  #leading = false;
  #looping = false;
  #startIndex = 0;
  readonly #led: LedComponent;
  /** For writes. */
  readonly #fenced: Client;
  /** Resumes the scheduling loop when it waits for a write to finish. */
  #slotFree: (() => void) | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const profiles = options.profiles ?? DEFAULT_PROFILES;
    this.#profiles = new Map(profiles.map((profile) => [profile.schedulerName, profile]));
    this.#recorders = new Map(
      profiles.map(({ schedulerName }) => [
        schedulerName,
        createEventRecorder(options.api, { component: schedulerName, clock: options.clock }),
      ]),
    );
    this.#extenders = options.extenders?.length ? new Extenders(options.extenders, options.log) : undefined;
    this.#queue = new SchedulingQueue({
      clock: options.clock,
      plugins: [...pluginsByName(profiles), ...(options.extenders?.length ? [{ name: EXTENDER }] : [])],
      backoff: options.backoff,
      onReady: () => this.#kick(),
      onQueued: (queue, event) => this.#metrics.queued(queue, event),
    });
    this.#metrics = new SchedulerMetrics(options.metrics, () => ({
      queues: this.#queue.sizes,
      cache: this.#cache.sizes,
      refusals: this.#queue.refusals(),
    }));
    for (const { schedulerName } of profiles) this.#metrics.profile(schedulerName);
    const { api, clock, log, identity, leaderElect = {} } = options;
    this.#fenced = fencedClient(api, () => this.#led.mayWrite);
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
    for (const recorder of this.#recorders.values()) recorder.stop();
  }

  /** Cache and queue are kept up to date on the leader and on standbys. */
  async #watch(): Promise<void> {
    const { api } = this.#options;
    const informers: Informers = {
      pods: api.informer(pods),
      nodes: api.informer(nodes),
      namespaces: api.informer(namespaces),
      services: api.informer(services),
      replicaSets: api.informer(replicaSets),
      replicationControllers: api.informer(replicationControllers),
      statefulSets: api.informer(statefulSets),
      ...storageInformers(api),
      budgets: api.informer(podDisruptionBudgets),
      resourceClaims: api.informer(resourceClaims),
      deviceClasses: api.informer(deviceClasses),
      resourceSlices: api.informer(resourceSlices),
    };
    this.#informers = informers;
    this.#defaultSelectors = new DefaultSelectors(informers);
    const assumed = new AssumedStorage(informers);
    this.#volumeBinder = new VolumeBinder({
      api: this.#fenced,
      clock: this.#options.clock,
      informers,
      pods: informers.pods,
      assumed,
      labelsOf: (node) => {
        const info = this.#cache.byName.get(node);
        return info?.node && info.labels;
      },
    });
    const { clock } = this.#options;
    const devices = new DeviceState(informers, clock);
    this.#devices = devices;
    this.#claimBinder = new ClaimBinder({ api: this.#fenced, clock, state: devices });
    this.#snapshot = this.#liveSnapshot({ informers, assumed, devices, selectors: this.#defaultSelectors });
    this.#subscribe(informers);
    await Promise.all(
      Object.values(informers).map((informer: Informer<never>) => informer.synced(this.#stop.signal)),
    );
  }

  async #lead(signal: AbortSignal): Promise<void> {
    this.#leading = true;
    this.#leadership = new AbortController();
    this.#kick();
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.#leading = false;
    this.#leadership.abort(new Error('the scheduler leads no more'));
    await Promise.allSettled(this.#preBinding);
    await Promise.allSettled(this.#writing);
  }

  #subscribe(informers: Informers): void {
    this.#unsubscribe.push(
      informers.pods.subscribe({
        added: (pod) => this.#podSeen(pod, undefined),
        updated: (pod, before) => this.#podSeen(pod, before),
        deleted: (pod) => this.#podGone(pod),
      }),
      informers.nodes.subscribe({
        added: (node) => {
          this.#cache.setNode(node);
          this.#queue.event('node-added', node);
        },
        updated: (node, before) => {
          this.#cache.setNode(node);
          if (nodeChanged(node, before)) this.#queue.event('node-updated', node, before);
        },
        deleted: (node) => {
          this.#cache.removeNode(node.metadata?.name ?? '');
          this.#devices?.forgetNode(node.metadata?.name ?? '');
          this.#queue.event('node-deleted', node);
        },
      }),
      informers.services.subscribe({
        added: (service) => this.#defaultSelectors?.forget(service.metadata?.namespace ?? ''),
        updated: (service) => this.#defaultSelectors?.forget(service.metadata?.namespace ?? ''),
        deleted: (service) => this.#defaultSelectors?.forget(service.metadata?.namespace ?? ''),
      }),
      ...subscribeStorage(informers, (event, object) => {
        this.#queue.event(event, object);
        this.#volumeBinder?.changed();
      }),
      ...this.#devices!.subscribe((event, { object, before }) => {
        this.#queue.event(event, object as KubeObject, before as KubeObject | undefined);
        if (event === 'resource-claim-updated') this.#claimBinder?.changed();
      }),
    );
  }

  #podSeen(pod: Pod, before: Pod | undefined): void {
    const uid = pod.metadata?.uid ?? '';
    if (isPodTerminal(pod)) return this.#podGone(pod);
    if (!pod.spec?.nodeName) {
      if (
        this.#profiles.has(pod.spec?.schedulerName ?? 'default-scheduler') &&
        !pod.metadata?.deletionTimestamp
      ) {
        this.#nominator.seen(podInfo(pod), before && podInfo(before));
        this.#queue.set(pod);
      } else this.#forgetWaiting(uid);
      return;
    }
    this.#forgetWaiting(uid);
    this.#cache.setPod(pod);
    if (!before?.spec?.nodeName) this.#queue.event('pod-added', pod);
    else if (pod.metadata?.generation !== before.metadata?.generation || labelsDiffer(pod, before))
      this.#queue.event('pod-updated', pod, before);
  }

  #podGone(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    this.#forgetWaiting(uid);
    if (!this.#cache.isPlaced(uid)) return;
    this.#cache.removePod(uid);
    this.#queue.event('pod-deleted', pod);
  }

  #forgetWaiting(uid: string): void {
    this.#queue.remove(uid);
    this.#nominator.delete(uid);
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

  async #loop(): Promise<void> {
    let sliceStart = performance.now();
    while (this.#leading && !this.#stop.signal.aborted) {
      const next = this.#queue.pop();
      if (!next) return;
      const deciding = this.#decide(next);
      if (deciding) await deciding;
      while (this.#writing.size >= (this.#options.maxBinding ?? MAX_WRITING))
        await new Promise<void>((resolve) => {
          this.#slotFree = resolve;
        });
      if (performance.now() - sliceStart > SLICE_MS) {
        await new Promise((resolve) => setImmediate(resolve));
        sliceStart = performance.now();
      }
    }
  }

  /** A promise when an extender has a say: the loop waits for it, so that pods are still decided on one by one. */
  #decide(popped: Popped): Promise<void> | undefined {
    const { pod } = popped;
    const uid = pod.metadata?.uid ?? '';
    const profile = this.#profiles.get(pod.spec?.schedulerName ?? 'default-scheduler');
    if (!profile || this.#cache.isPlaced(uid)) return void this.#queue.done(uid);
    const info = podInfo(pod);
    const attempt = new Attempt({ metrics: this.#metrics, profile: profile.schedulerName });
    const attempted = { ...popped, info, profile, attempt };
    if (this.#extenders?.concerns(pod)) return this.#decideWithExtenders(attempted);
    let decision: Decision;
    try {
      decision = schedule(this.#scheduleInput(attempted));
      attempt.decided();
    } catch (error) {
      return void this.#attemptThrew(error, attempted);
    }
    return void this.#carryOut(decision, attempted);
  }

  #scheduleInput({ info, profile }: Attempted): Parameters<typeof schedule>[0] {
    return {
      pod: info,
      snapshot: this.#snapshot as Snapshot,
      profile,
      random: this.#options.random ?? realRandom,
      startIndex: this.#startIndex,
      nominatedNode: this.#nominator.nodeOf(info.uid),
      observe: (point, taken) => this.#metrics.point(point, { profile: profile.schedulerName, ...taken }),
    };
  }

  async #decideWithExtenders(attempted: Attempted): Promise<void> {
    let decision: Decision;
    try {
      const input = this.#scheduleInput(attempted);
      decision = await this.#askExtenders(input);
      // The nominated node was refused: all others may take the pod.
      if (decision.kind === 'none' && input.nominatedNode !== undefined)
        decision = await this.#askExtenders({ ...input, nominatedNode: undefined });
      attempted.attempt.decided();
    } catch (error) {
      return this.#attemptThrew(error, attempted);
    }
    // Deleted, or bound by another scheduler, while extenders were asked.
    const { uid } = attempted.info;
    if (this.#cache.isPlaced(uid) || !this.#queue.isInFlight(uid)) return this.#queue.done(uid);
    this.#carryOut(decision, attempted);
  }

  async #askExtenders(input: Parameters<typeof schedule>[0]): Promise<Decision> {
    const extenders = this.#extenders!;
    const found = findCandidates(input);
    if (found.kind === 'none') return found;
    const { feasible, refusals } = await extenders.filter(input.pod, found.feasible);
    const all = new Map([...found.refusals.entries(), ...refusals]);
    const left = feasible.filter(({ node }) => node !== undefined);
    if (left.length === 0) {
      const nodeCount = input.snapshot.nodes.length;
      return {
        kind: 'none',
        cycle: found.cycle,
        failure: { nodeCount, refusals: all, others: found.others },
      };
    }
    const candidates = { ...found, feasible: left, refusals: all };
    if (left.length === 1) return choose(candidates, input);
    return choose(candidates, { ...input, extraScores: await extenders.prioritize(input.pod, left) });
  }

  #attemptThrew(error: unknown, { info, profile, attempt }: Attempted): void {
    this.#options.log.error('scheduling failed', { pod: info.key, error: errorMessage(error) });
    attempt.ended('error');
    this.#queue.failed(info.uid, new Set());
    if (error instanceof AllocationError || error instanceof ExtenderError)
      this.#track(this.#attemptFailed(info, { profile, error }));
  }

  #carryOut(decision: Decision, { info, profile, attempt, attempts, readyAtMs }: Attempted): void {
    const { uid } = info;
    if (decision.kind === 'fits') {
      this.#startIndex += decision.evaluated;
      this.#cache.assume(info, decision.node);
      this.#nominator.delete(uid);
      const bound = (isBound: boolean): void => {
        attempt.ended(isBound ? 'scheduled' : 'error');
        const seconds = (this.#options.clock.now() - readyAtMs) / 1000;
        if (isBound) this.#metrics.scheduled({ attempts, seconds });
      };
      const volumes = plannedVolumes(decision.cycle, decision.node);
      const claims = plannedClaims(decision.cycle, decision.node);
      if (claims) this.#claimBinder?.assume(claims);
      const binding = { node: decision.node, profile, bound, claims };
      if (!volumes) return this.#track(this.#bind(info, binding));
      return this.#bindVolumes(info, { ...binding, volumes });
    }
    attempt.ended('unschedulable');
    this.#track(this.#refused(info, { decision, profile }));
  }

  #track(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) =>
        this.#options.log.error('scheduling write failed', { error: errorMessage(error) }),
      )
      .finally(() => {
        this.#writing.delete(tracked);
        this.#slotFree?.();
      });
    this.#writing.add(tracked);
  }

  #bindVolumes(info: PodInfo, { volumes, ...binding }: PodBinding & { readonly volumes: PodVolumes }): void {
    const binder = this.#volumeBinder!;
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
        () => this.#track(this.#bind(info, binding)),
        (error: unknown) => this.#track(this.#volumesFailed(info, { ...binding, error })),
      )
      .finally(() => this.#preBinding.delete(work));
    this.#preBinding.add(work);
  }

  async #volumesFailed(
    info: PodInfo,
    { profile, bound, claims, error }: PodBinding & { readonly error: unknown },
  ): Promise<void> {
    bound(false);
    this.#cache.forget(info.uid);
    this.#queue.event('pod-deleted');
    this.#queue.failed(info.uid, new Set());
    await this.#release(info, claims);
    if (error instanceof VolumeBindingError) await this.#attemptFailed(info, { profile, error });
  }

  /** An error that the pod's owner should see. */
  async #attemptFailed(
    info: PodInfo,
    { profile, error }: { readonly profile: Profile; readonly error: Error },
  ): Promise<void> {
    const { message } = error;
    this.#recorder(profile).event(info.pod, {
      type: 'Warning',
      reason: 'FailedScheduling',
      action: 'Scheduling',
      message,
    });
    await this.#setUnscheduled(info.pod, { message, nominatedNodeName: undefined, reason: 'SchedulerError' });
  }

  async #bind(info: PodInfo, binding: PodBinding): Promise<void> {
    try {
      const mustWait = binding.claims && (await this.#claimBinder!.write(binding.claims));
      if (mustWait) return this.#awaitDevices(info, binding);
    } catch (error) {
      return this.#bindingFailed(info, { ...binding, error });
    }
    return this.#bindPod(info, binding);
  }

  /** Outside the write slots: a driver may take minutes. */
  #awaitDevices(info: PodInfo, binding: PodBinding): void {
    this.#recorder(binding.profile).event(info.pod, {
      type: 'Normal',
      reason: 'BindingConditionsPending',
      action: 'Scheduling',
      message: `waiting for binding conditions for device on node ${binding.node}`,
    });
    const work: Promise<void> = this.#claimBinder!.wait(binding.claims!, this.#leadership.signal)
      .then(
        () => this.#track(this.#bindPod(info, binding)),
        (error: unknown) => this.#track(this.#bindingFailed(info, { ...binding, error })),
      )
      .finally(() => this.#preBinding.delete(work));
    this.#preBinding.add(work);
  }

  async #bindPod(info: PodInfo, binding: PodBinding): Promise<void> {
    const { name = '', namespace = '', uid = '' } = info.pod.metadata ?? {};
    const { node, profile, bound } = binding;
    try {
      const extender = this.#extenders?.binderOf(info.pod);
      if (extender) {
        if (!this.#led.mayWrite) throw new Error('this scheduler does not lead');
        await extender.bind(info.pod, node);
      } else await this.#writeBinding({ name, namespace, uid, node });
      bound(true);
      this.#queue.done(uid);
      this.#recorder(profile).event(info.pod, {
        type: 'Normal',
        reason: 'Scheduled',
        action: 'Binding',
        message: `Successfully assigned ${info.key} to ${node}`,
      });
    } catch (error) {
      await this.#bindingFailed(info, { ...binding, error });
    }
  }

  async #writeBinding({
    name,
    namespace,
    uid,
    node,
  }: Record<'name' | 'namespace' | 'uid' | 'node', string>): Promise<void> {
    await this.#fenced.createSubresource(
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
    bound(false);
    this.#cache.forget(uid);
    if (isStatusError(error, 'NotFound') || isStatusError(error, 'Conflict'))
      this.#options.log.debug('pod changed while binding', { pod: info.key, error: errorMessage(error) });
    else this.#options.log.warn('binding failed', { pod: info.key, node, error: errorMessage(error) });
    // An earlier nomination is kept until the pod is deleted.
    this.#nominator.seen(info, undefined);
    this.#queue.event('pod-deleted');
    await this.#release(info, claims);
    if (isStatusError(error, 'NotFound')) {
      this.#queue.done(uid);
      this.#nominator.delete(uid);
      return;
    }
    this.#queue.failed(uid, new Set());
    if (error instanceof ClaimBindingError) await this.#attemptFailed(info, { profile, error });
  }

  async #release(info: PodInfo, claims: PlannedClaims | undefined): Promise<void> {
    if (!claims) return;
    try {
      await this.#claimBinder!.release(claims);
    } catch (error) {
      this.#options.log.warn('resource claims not released', { pod: info.key, error: errorMessage(error) });
    }
  }

  /** The pod stays in flight until its victims are deleted: otherwise it could be scheduled elsewhere and the preemption would be in vain. */
  async #refused(
    info: PodInfo,
    {
      decision,
      profile,
    }: { readonly decision: Extract<Decision, { kind: 'none' }>; readonly profile: Profile },
  ): Promise<void> {
    const { failure, cycle } = decision;
    const refusedBy = new Set(
      [...new Set(failure.refusals.values()), failure.others, failure.everywhere].flatMap(
        (refused) => refused?.plugin ?? [],
      ),
    );
    let message = failureMessage(failure);
    let nominated: string | undefined;
    try {
      if (failure.nodeCount > 0) {
        // At once, unless extenders are asked: later decisions must see the nomination.
        const finding = this.#findPreemption(decision, profile);
        const found = finding instanceof Promise ? await finding : finding;
        this.#metrics.preempting('victims' in found ? found.victims.length : 0);
        if ('victims' in found) {
          nominated = found.node;
          this.#nominator.set(info, found.node);
          await this.#preempt(info, { preemption: found, profile });
        } else {
          const released = await this.#releaseUnavailable(info, cycle);
          message = failureMessage(failure, [
            ...profile.plugins.flatMap((plugin) => {
              const said = plugin.postFilter?.(cycle);
              return said === undefined
                ? []
                : ((plugin.name === 'DynamicResources' ? released : undefined) ?? said);
            }),
            ...(profile.preemption === false ? [] : [`preemption: ${found.message}`]),
          ]);
          if (!found.keepNomination) {
            this.#nominator.delete(info.uid);
            nominated = '';
          }
        }
      }
    } finally {
      // Without any node, no plugin rejected the pod: retry when a node is added.
      this.#queue.failed(info.uid, refusedBy.size > 0 ? refusedBy : new Set(['NodeName']));
    }
    this.#recorder(profile).event(info.pod, {
      type: 'Warning',
      reason: 'FailedScheduling',
      action: 'Scheduling',
      message,
    });
    await this.#setUnscheduled(info.pod, { message, nominatedNodeName: nominated });
  }

  /** What DynamicResources did so that the pod may be scheduled later; the attempt is over whether it worked or not. */
  async #releaseUnavailable({ key }: PodInfo, cycle: Cycle): Promise<string | undefined> {
    try {
      return await this.#claimBinder?.postFilter(cycle);
    } catch (error) {
      this.#options.log.warn('resource claim not deallocated', { pod: key, error: errorMessage(error) });
      return undefined;
    }
  }

  #findPreemption(
    { failure, cycle }: Extract<Decision, { kind: 'none' }>,
    { preemption }: Profile,
  ): PreemptionResult | Promise<PreemptionResult> {
    if (preemption === false) return NO_PREEMPTION;
    const input = {
      cycle,
      failure,
      args: preemption,
      budgets: this.#informers?.budgets.list() ?? [],
      nominatedNode: this.#nominator.nodeOf(cycle.pod.uid),
    };
    if (!this.#extenders) return findPreemption(input);
    const found = preemptionCandidates(input);
    if (!('candidates' in found) || found.candidates.length === 0)
      return 'candidates' in found ? bestPreemption(found) : found;
    const { message } = found;
    return this.#extenders
      .preempt(cycle.pod, found.candidates)
      .then((candidates) => bestPreemption({ candidates, message }));
  }

  async #preempt(
    info: PodInfo,
    { preemption, profile }: { readonly preemption: Preemption; readonly profile: Profile },
  ): Promise<void> {
    // Pods of lower priority that are nominated to the node may no longer fit.
    const outdone = this.#nominator.on(preemption.node).filter((other) => other.priority < info.priority);
    for (const { uid } of outdone) this.#nominator.delete(uid);
    const victims = preemption.victims.filter(({ pod }) => !pod.metadata?.deletionTimestamp);
    await Promise.all([
      ...outdone.map(({ pod }) => this.#patchStatus(pod, { nominatedNodeName: null })),
      ...victims.map((victim) => this.#evict(victim.pod, { info, node: preemption.node, profile })),
    ]);
  }

  async #evict(
    victim: Pod,
    { info, node, profile }: { readonly info: PodInfo; readonly node: string; readonly profile: Profile },
  ): Promise<void> {
    const { name = '', namespace, uid = '', generation } = victim.metadata ?? {};
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'PreemptionByScheduler',
      observedGeneration: generation,
      lastTransitionTime: this.#nowText(),
      message: `${info.pod.spec?.schedulerName ?? 'default-scheduler'}: preempting to accommodate a higher priority pod`,
    };
    try {
      await this.#fenced.patch(
        pods,
        { name, namespace },
        { type: 'strategic', subresource: 'status', patch: { status: { conditions: [condition] } } },
      );
      await this.#fenced.delete(pods, { name, namespace }, { preconditions: { uid } });
      this.#recorder(profile).event(victim, {
        type: 'Normal',
        reason: 'Preempted',
        action: 'Preempting',
        message: `Preempted by pod ${info.uid} on node ${node}`,
      });
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    }
  }

  /** nominatedNodeName '' clears the nomination; undefined keeps it. */
  async #setUnscheduled(
    pod: Pod,
    {
      message,
      nominatedNodeName,
      reason = 'Unschedulable',
    }: {
      readonly message: string;
      readonly nominatedNodeName: string | undefined;
      readonly reason?: 'Unschedulable' | 'SchedulerError';
    },
  ): Promise<void> {
    const current = (this.#informers?.pods.get(objectKey(pod)) ?? pod).status;
    const before = current?.conditions?.find((condition) => condition.type === 'PodScheduled');
    const sameNomination =
      nominatedNodeName === undefined || nominatedNodeName === (current?.nominatedNodeName ?? '');
    if (
      sameNomination &&
      before?.status === 'False' &&
      before.reason === reason &&
      before.message === message
    )
      return;
    const condition = {
      type: 'PodScheduled',
      status: 'False',
      reason,
      message,
      observedGeneration: pod.metadata?.generation,
      lastTransitionTime: before?.status === 'False' ? before.lastTransitionTime : this.#nowText(),
    };
    await this.#patchStatus(pod, {
      conditions: [condition],
      ...(sameNomination ? {} : { nominatedNodeName: nominatedNodeName || null }),
    });
  }

  async #patchStatus(pod: Pod, status: object): Promise<void> {
    try {
      await this.#fenced.patch(
        pods,
        { name: pod.metadata?.name ?? '', namespace: pod.metadata?.namespace },
        { type: 'strategic', subresource: 'status', patch: { status } },
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound'))
        this.#options.log.warn('error updating pod status', {
          pod: objectKey(pod),
          error: errorMessage(error),
        });
    }
  }

  #recorder(profile: Profile): StoppableEventRecorder {
    return this.#recorders.get(profile.schedulerName) as StoppableEventRecorder;
  }

  #nowText(): string {
    return formatTime(this.#options.clock.now());
  }

  /** Reads the live cache at each attempt, so one object serves all attempts. */
  #liveSnapshot({
    informers,
    assumed,
    devices,
    selectors,
  }: {
    readonly informers: Informers;
    readonly assumed: AssumedStorage;
    readonly devices: DeviceState;
    readonly selectors: DefaultSelectors;
  }): Snapshot {
    const cache = this.#cache;
    return {
      get nodes() {
        return cache.nodes();
      },
      byName: cache.byName,
      withAffinity: cache.withAffinity,
      withRequiredAntiAffinity: cache.withRequiredAntiAffinity,
      imageNodes: cache.imageNodes,
      namespaceLabels: (name) => informers.namespaces.get(name)?.metadata?.labels ?? {},
      defaultSelector: (pod) => selectors.of(pod),
      volumes: assumed,
      resourceClaims: devices,
      nominated: (node) => this.#nominator.on(node),
    };
  }
}

/** Each profile may have its own weights for a plugin. */
function pluginsByName(profiles: readonly Profile[]): SchedulerPlugin[] {
  const all = profiles.flatMap((profile) => profile.plugins);
  return [...new Map(all.map((plugin) => [plugin.name, plugin])).values()];
}

/** The duration of one scheduling attempt. */
class Attempt {
  readonly #metrics: SchedulerMetrics;
  readonly #profile: string;
  readonly #startedMs = performance.now();

  constructor({ metrics, profile }: { readonly metrics: SchedulerMetrics; readonly profile: string }) {
    this.#metrics = metrics;
    this.#profile = profile;
  }

  decided(): void {
    this.#metrics.decided((performance.now() - this.#startedMs) / 1000);
  }

  ended(result: AttemptResult): void {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    this.#metrics.attempted({ profile: this.#profile, result, seconds });
  }
}

function labelsDiffer(a: Pod, b: Pod): boolean {
  return JSON.stringify(a.metadata?.labels) !== JSON.stringify(b.metadata?.labels);
}

/** Heartbeats do not affect scheduling. */
function nodeChanged(node: Node, before: Node): boolean {
  const seen = (of: Node): string =>
    JSON.stringify([
      of.metadata?.labels,
      of.spec?.taints,
      of.spec?.unschedulable,
      of.status?.allocatable,
      of.status?.declaredFeatures,
    ]);
  return seen(node) !== seen(before);
}
