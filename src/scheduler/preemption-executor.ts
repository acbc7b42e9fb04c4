/** Carries out a preemption: deletes the victims, and takes the nomination to the node from pods of lower priority. */
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import type { PodInfo } from './pod-info.ts';
import type { PodReporter } from './pod-reporter.ts';
import type { Preemption } from './preemption.ts';
import type { Profile } from './schedule.ts';

interface PreemptionExecutorOptions {
  /** For writes; refuses them when this scheduler does not lead. */
  readonly fenced: Client;
  readonly nominator: Nominator;
  readonly metrics: SchedulerMetrics;
  readonly reporter: PodReporter;
}

interface ExecuteOptions {
  readonly preemption: Preemption;
  readonly profile: Profile;
}

export class PreemptionExecutor {
  readonly #options: PreemptionExecutorOptions;

  constructor(options: PreemptionExecutorOptions) {
    this.#options = options;
  }

  /** Beside the next scheduling cycles. Fails when a victim could not be deleted. */
  async execute(info: PodInfo, options: ExecuteOptions): Promise<void> {
    const startMs = performance.now();
    const report = (result: 'success' | 'error'): void =>
      this.#options.metrics.preempted({ result, seconds: (performance.now() - startMs) / 1000 });
    try {
      await this.#execute(info, options);
    } catch (error) {
      report('error');
      throw error;
    }
    report('success');
  }

  async #execute(info: PodInfo, { preemption, profile }: ExecuteOptions): Promise<void> {
    const { nominator, reporter } = this.#options;
    // Pods of lower priority that are nominated to the node may no longer fit.
    const outdone = nominator.on(preemption.node).filter((other) => other.priority < info.priority);
    for (const { uid } of outdone) nominator.delete(uid);
    const victims = preemption.victims.filter(({ pod }) => !pod.metadata?.deletionTimestamp);
    await Promise.all([
      ...outdone.map(({ pod }) => reporter.patchStatus(pod, { nominatedNodeName: null })),
      ...victims.map((victim) => this.#evict(victim.pod, { info, node: preemption.node, profile })),
    ]);
  }

  async #evict(
    victim: Pod,
    { info, node, profile }: { readonly info: PodInfo; readonly node: string; readonly profile: Profile },
  ): Promise<void> {
    const { fenced, reporter } = this.#options;
    const { name = '', namespace, uid = '', generation } = victim.metadata ?? {};
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'PreemptionByScheduler',
      observedGeneration: generation,
      lastTransitionTime: reporter.nowText(),
      message: `${info.pod.spec?.schedulerName ?? 'default-scheduler'}: preempting to accommodate a higher priority pod`,
    };
    try {
      await fenced.patch(
        pods,
        { name, namespace },
        { type: 'strategic', subresource: 'status', patch: { status: { conditions: [condition] } } },
      );
      await fenced.delete(pods, { name, namespace }, { preconditions: { uid } });
      reporter.event(victim, {
        schedulerName: profile.schedulerName,
        type: 'Normal',
        reason: 'Preempted',
        action: 'Preempting',
        message: `Preempted by pod ${info.uid} on node ${node}`,
      });
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    }
  }
}
