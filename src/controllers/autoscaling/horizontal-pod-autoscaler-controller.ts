/**
 * Scales the target of each HorizontalPodAutoscaler to what its metrics ask for, once a sync period.
 *
 *   scale of the target ──► metrics ──► replicas (compute-replicas.ts) ──► stabilized, limited (scaling-behavior.ts) ──► scale
 *                                                                      └─► status: AbleToScale, ScalingActive, ScalingLimited
 *
 * After upstream's pkg/controller/podautoscaler: conditions, events, reasons and messages are its own. Writes the target's scale and the autoscaler's status.
 */
import type {
  HorizontalPodAutoscaler,
  HorizontalPodAutoscalerCondition,
  HorizontalPodAutoscalerStatus,
  Pod,
} from '#api/types.ts';
import { horizontalPodAutoscalers, pods } from '#client/refs.ts';
import { updateCondition } from '#component-helpers/conditions.ts';
import { deepEqual } from '#machinery/json.ts';
import { parseLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { objectKey, parseApiVersion, type Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
  type ReconcileResult,
} from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import { getScale, updateScale, type ScaleTarget } from '../scale-client.ts';
import {
  computeReplicas,
  MetricFailure,
  type ProposedReplicas,
  type UsageSettings,
} from './compute-replicas.ts';
import { decide, recordScaling, type Decision, type ScalingHistory } from './scaling-behavior.ts';

const GET_SCALE_FAILED = "the HPA controller was unable to get the target's current scale";

/** Defaults are upstream's. */
export interface HorizontalPodAutoscalerOptions {
  readonly autoscalerSyncPeriodMs?: number | undefined;
  /** How far usage may be from its target, as a part of it. */
  readonly autoscalerTolerance?: number | undefined;
  readonly autoscalerDownscaleStabilizationMs?: number | undefined;
  readonly autoscalerCpuInitializationMs?: number | undefined;
  readonly autoscalerInitialReadinessDelayMs?: number | undefined;
}

interface Settings {
  readonly syncPeriodMs: number;
  readonly downscaleStabilizationMs: number;
  readonly usage: UsageSettings;
}

export function horizontalPodAutoscalerController({
  autoscalerSyncPeriodMs: syncPeriodMs = 15_000,
  autoscalerTolerance: tolerance = 0.1,
  autoscalerDownscaleStabilizationMs: downscaleStabilizationMs = 300_000,
  autoscalerCpuInitializationMs: cpuInitializationMs = 300_000,
  autoscalerInitialReadinessDelayMs: initialReadinessDelayMs = 30_000,
}: HorizontalPodAutoscalerOptions = {}): ControllerDefinition {
  const usage = { tolerance, cpuInitializationMs, initialReadinessDelayMs };
  const settings = { syncPeriodMs, downscaleStabilizationMs, usage };
  return defineController({
    name: 'horizontal-pod-autoscaler-controller',
    serviceAccount: 'horizontal-pod-autoscaler',
    eventSource: 'horizontal-pod-autoscaler',
    watches: [
      watch(horizontalPodAutoscalers, {
        changed: (object, previous) => !deepEqual(object.spec, previous.spec),
      }),
      // Read, not followed: metrics are asked for once a period.
      watch(pods, { keys: () => [] }),
    ],
    async reconcile(context): Promise<ReconcileResult> {
      const autoscaler = context.informer(horizontalPodAutoscalers).get(context.key);
      if (!autoscaler) return void context.memory.delete(context.key);
      try {
        await new Sync(context, autoscaler, settings).run();
      } catch (error) {
        // Retried with the period, not sooner: the conditions say why.
        context.log.warn('error syncing horizontal pod autoscaler', {
          key: context.key,
          error: errorMessage(error),
        });
      }
      return { requeueAfterMs: syncPeriodMs };
    },
  });
}

interface Known {
  readonly history: ScalingHistory;
  selector?: LabelSelector;
}

/** Rejects after it has written why. */
class Sync {
  readonly #context: ReconcileContext;
  readonly #autoscaler: Stored<HorizontalPodAutoscaler>;
  readonly #settings: Settings;
  #status: HorizontalPodAutoscalerStatus;

  constructor(context: ReconcileContext, autoscaler: Stored<HorizontalPodAutoscaler>, settings: Settings) {
    this.#settings = settings;
    this.#context = context;
    this.#autoscaler = autoscaler;
    this.#status = { desiredReplicas: 0, ...autoscaler.status };
  }

  async run(): Promise<void> {
    const target = await this.#getScale();
    this.#setCondition('AbleToScale', 'True', {
      reason: 'SucceededGetScale',
      message: "the HPA controller was able to get the target's current scale",
    });
    const current = target.scale.spec?.replicas ?? 0;
    const { minReplicas = 1, maxReplicas } = this.#autoscaler.spec;
    const known = this.#known(current);
    if (current === 0 && minReplicas !== 0) {
      this.#setCondition('ScalingActive', 'False', {
        reason: 'ScalingDisabled',
        message: 'scaling is disabled since the replica count of the target is zero',
      });
      return this.#finish(current, { desired: 0 });
    }
    if (current > maxReplicas)
      return this.#rescale(target, {
        desired: maxReplicas,
        why: 'Current number of replicas above Spec.MaxReplicas',
        known,
      });
    if (current < minReplicas)
      return this.#rescale(target, {
        desired: minReplicas,
        why: 'Current number of replicas below Spec.MinReplicas',
        known,
      });
    await this.#scaleByMetrics(target, known);
  }

  async #getScale(): Promise<ScaleTarget> {
    const { kind, name, apiVersion = 'v1' } = this.#autoscaler.spec.scaleTargetRef;
    const namespace = this.#autoscaler.metadata.namespace!;
    try {
      const target = await getScale(this.#context, { kind, name, apiVersion, namespace });
      if (target) return target;
      const { group } = parseApiVersion(apiVersion);
      throw new Error(`no matches for kind ${JSON.stringify(kind)} in group ${JSON.stringify(group)}`);
    } catch (error) {
      this.#event('FailedGetScale', errorMessage(error));
      this.#setCondition('AbleToScale', 'False', {
        reason: 'FailedGetScale',
        message: `${GET_SCALE_FAILED}: ${errorMessage(error)}`,
      });
      await this.#writeStatus();
      throw error;
    }
  }

  async #scaleByMetrics(target: ScaleTarget, known: Known): Promise<void> {
    const { history } = known;
    const current = target.scale.spec?.replicas ?? 0;
    const proposed = await this.#propose(target, known);
    const { found, statuses, failures } = proposed;
    const problem = invalidMetrics(proposed, this.#autoscaler);
    if (!found) {
      const [first] = failures;
      this.#setCondition('ScalingActive', 'False', {
        reason: first!.reason,
        message: `the HPA was unable to compute the replica count: ${first!.problem}`,
      });
      this.#status = { ...this.#status, currentReplicas: current, currentMetrics: statuses };
      await this.#writeStatus();
      this.#event('FailedComputeMetricsReplicas', problem);
      throw new Error(problem);
    }
    this.#setCondition('ScalingActive', 'True', {
      reason: 'ValidMetricFound',
      message: `the HPA was able to successfully calculate a replica count from ${found.metric}`,
    });
    const { behavior, minReplicas = 1, maxReplicas } = this.#autoscaler.spec;
    const wish = { currentReplicas: current, proposed: found.replicas, minReplicas, maxReplicas, behavior };
    const { downscaleStabilizationMs } = this.#settings;
    const decision = decide(history, wish, { nowMs: this.#context.clock.now(), downscaleStabilizationMs });
    this.#setDecision(decision);
    if (decision.replicas === current) await this.#finish(current, { desired: current, statuses });
    else {
      const why = found.replicas > current ? `${found.metric} above target` : 'All metrics below target';
      await this.#rescale(target, { desired: decision.replicas, why, known, statuses });
    }
    if (failures.length > 0) throw new Error(problem);
  }

  #setDecision({ stabilized, limited }: Decision): void {
    this.#setCondition('AbleToScale', 'True', stabilized);
    this.#setCondition('ScalingLimited', limited.status, limited);
  }

  async #propose({ scale }: ScaleTarget, known: Known): Promise<ProposedReplicas> {
    const labelSelector = scale.status?.selector ?? '';
    const selected = await this.#selectPods(labelSelector, known);
    const proposed = await computeReplicas({
      context: this.#context,
      autoscaler: this.#autoscaler,
      scale,
      labelSelector,
      pods: selected,
      settings: this.#settings.usage,
    });
    for (const { reason, problem } of proposed.failures) this.#event(reason, problem);
    return proposed;
  }

  /** Two autoscalers must not scale by the same pods: each would count the other's. */
  async #selectPods(text: string, known: Known): Promise<readonly Stored<Pod>[]> {
    if (text === '')
      return this.#refuseSelector({
        event: { reason: 'SelectorRequired', message: 'selector is required' },
        reason: 'InvalidSelector',
        message: "the HPA target's scale is missing a selector",
      });
    let selector: LabelSelector;
    try {
      selector = parseLabelSelector(text);
    } catch (error) {
      const message = `couldn't convert selector into a corresponding internal selector object: ${errorMessage(error)}`;
      return this.#refuseSelector({
        event: { reason: 'InvalidSelector', message },
        reason: 'InvalidSelector',
        message,
      });
    }
    known.selector = selector;
    const { namespace = '' } = this.#autoscaler.metadata;
    const selected = this.#context
      .informer(pods)
      .listNamespace(namespace)
      .filter(({ metadata }) => selector.matches(metadata.labels ?? {}));
    const others = this.#autoscalersOf(selected);
    if (others.length <= 1) return selected;
    const message = `pods by selector ${text} are controlled by multiple HPAs: [${others.join(' ')}]`;
    return this.#refuseSelector({
      event: { reason: 'AmbiguousSelector', message },
      reason: 'AmbiguousSelector',
      message,
    });
  }

  #autoscalersOf(selected: readonly Stored<Pod>[]): string[] {
    const { memory, informer } = this.#context;
    return informer(horizontalPodAutoscalers)
      .listNamespace(this.#autoscaler.metadata.namespace ?? '')
      .map(objectKey)
      .filter((key) => {
        const selector = (memory.get(key) as Known | undefined)?.selector;
        return selector && selected.some(({ metadata }) => selector.matches(metadata.labels ?? {}));
      })
      .toSorted();
  }

  async #refuseSelector({
    event,
    reason,
    message,
  }: {
    readonly event: { readonly reason: string; readonly message: string };
    readonly reason: string;
    readonly message: string;
  }): Promise<never> {
    this.#event(event.reason, event.message);
    this.#setCondition('ScalingActive', 'False', { reason, message });
    await this.#writeStatus();
    this.#event('FailedComputeMetricsReplicas', event.message);
    throw new Error(event.message);
  }

  async #rescale(
    target: ScaleTarget,
    {
      desired,
      why,
      known,
      statuses,
    }: {
      readonly desired: number;
      readonly why: string;
      readonly known: Known;
      readonly statuses?: HorizontalPodAutoscalerStatus['currentMetrics'];
    },
  ): Promise<void> {
    const { api, events, clock, log, key } = this.#context;
    const current = target.scale.spec?.replicas ?? 0;
    try {
      await updateScale(api, target, desired);
    } catch (error) {
      const problem = errorMessage(error);
      this.#event('FailedRescale', `New size: ${desired}; reason: ${why}; error: ${problem}`);
      this.#setCondition('AbleToScale', 'False', {
        reason: 'FailedUpdateScale',
        message: `the HPA controller was unable to update the target scale: ${problem}`,
      });
      this.#status = { ...this.#status, currentReplicas: current, currentMetrics: statuses ?? [] };
      await this.#writeStatus();
      throw error;
    }
    this.#setCondition('AbleToScale', 'True', {
      reason: 'SucceededRescale',
      message: `the HPA controller was able to update the target scale to ${desired}`,
    });
    events.event(this.#autoscaler, {
      type: 'Normal',
      reason: 'SuccessfulRescale',
      message: `New size: ${desired}; reason: ${why}`,
    });
    const { behavior } = this.#autoscaler.spec;
    recordScaling(known.history, { behavior, from: current, to: desired, nowMs: clock.now() });
    log.info('rescaled', { key, from: current, to: desired, reason: why });
    await this.#finish(current, { desired, statuses, scaled: true });
  }

  async #finish(
    current: number,
    {
      desired,
      statuses,
      scaled = false,
    }: {
      readonly desired: number;
      readonly statuses?: HorizontalPodAutoscalerStatus['currentMetrics'] | undefined;
      readonly scaled?: boolean;
    },
  ): Promise<void> {
    this.#status = {
      ...this.#status,
      currentReplicas: current,
      desiredReplicas: desired,
      currentMetrics: statuses ?? [],
    };
    if (scaled) this.#status.lastScaleTime = formatTime(this.#context.clock.now());
    await this.#writeStatus();
  }

  /** The first recommendation is the current count: a new leader does not scale down at once. */
  #known(currentReplicas: number): Known {
    const { memory, key, clock } = this.#context;
    let known = memory.get(key) as Known | undefined;
    if (!known) {
      const proposals = [{ atMs: clock.now(), replicas: currentReplicas }];
      memory.set(key, (known = { history: { proposals, scaledUp: [], scaledDown: [] } }));
    }
    return known;
  }

  #event(reason: string, message: string): void {
    this.#context.events.event(this.#autoscaler, { type: 'Warning', reason, message });
  }

  #setCondition(
    type: string,
    status: 'True' | 'False',
    { reason, message }: { readonly reason: string; readonly message: string },
  ): void {
    const condition: HorizontalPodAutoscalerCondition = {
      type,
      status,
      lastTransitionTime: formatTime(this.#context.clock.now()),
      reason,
      message,
    };
    this.#status = { ...this.#status, conditions: updateCondition(this.#status.conditions, condition) };
  }

  async #writeStatus(): Promise<void> {
    if (deepEqual(this.#status, this.#autoscaler.status)) return;
    try {
      await this.#context.api.updateStatus(horizontalPodAutoscalers, {
        ...this.#autoscaler,
        status: this.#status,
      });
    } catch (error) {
      this.#event('FailedUpdateStatus', errorMessage(error));
      throw error;
    }
  }
}

function invalidMetrics({ failures }: ProposedReplicas, { spec }: HorizontalPodAutoscaler): string {
  const [first] = failures;
  return first instanceof MetricFailure
    ? `invalid metrics (${failures.length} invalid out of ${spec.metrics?.length ?? 0}), first error is: ${first.message}`
    : '';
}
