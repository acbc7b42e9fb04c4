/** All extenders of a scheduler, asked one after another, as upstream: each filters what the one before left; their scores are added up. */
import type { Pod } from '#api/types.ts';
import type { Logger } from '#stdx/log.ts';
import { errorMessage } from '#stdx/log.ts';
import { HttpsClient } from '#stdx/https-client.ts';
import type { NodeInfo } from '../node-info.ts';
import { refusal, type Refusal } from '../plugin.ts';
import type { PodInfo } from '../pod-info.ts';
import type { PreemptionCandidate } from '../preemption.ts';
import { Extender, type ExtenderConfig } from './extender.ts';

/** The plugin that a refusal of an extender counts for; any event may help. */
export const EXTENDER = 'Extender';

/** An extender that is not ignorable failed: as upstream, the attempt ends with its error. */
export class ExtenderError extends Error {
  override readonly name = 'ExtenderError';
}

export class Extenders {
  readonly #all: readonly Extender[];
  readonly #client = new HttpsClient();
  readonly #log: Logger;

  constructor(configs: readonly ExtenderConfig[], log: Logger) {
    this.#all = configs.map((config) => new Extender(config, this.#client));
    this.#log = log;
  }

  stop(): void {
    this.#client.destroy();
  }

  /** Whether one of them has a say in where the pod goes. */
  concerns(pod: Pod): boolean {
    return this.#all.some(
      (extender) =>
        (extender.config.filterVerb !== '' || extender.config.prioritizeVerb !== '') &&
        extender.isInterested(pod),
    );
  }

  /** The nodes that all of them accept; the others with their reasons. Throws ExtenderError. */
  async filter(
    { pod }: PodInfo,
    nodes: readonly NodeInfo[],
  ): Promise<{ readonly feasible: readonly NodeInfo[]; readonly refusals: ReadonlyMap<string, Refusal> }> {
    let feasible = nodes;
    const refusals = new Map<string, Refusal>();
    for (const extender of this.#all) {
      if (feasible.length === 0) break;
      if (extender.config.filterVerb === '' || !extender.isInterested(pod)) continue;
      const answer = await this.#attempt(extender, () => extender.filter(pod, feasible));
      if (!answer) continue;
      for (const { name } of feasible) {
        const unresolvable = answer.unresolvable.get(name);
        if (unresolvable === undefined && answer.nodes.has(name)) continue;
        const reason = unresolvable ?? answer.failed.get(name) ?? '';
        refusals.set(name, refusal(EXTENDER, reason, { resolvable: unresolvable === undefined }));
      }
      feasible = feasible.filter(({ name }) => !refusals.has(name));
    }
    return { feasible, refusals };
  }

  /** Added up over all of them. As upstream, one that fails gives no scores. */
  async prioritize({ pod }: PodInfo, nodes: readonly NodeInfo[]): Promise<ReadonlyMap<string, number>> {
    const asked = this.#all.filter(
      (extender) => extender.config.prioritizeVerb !== '' && extender.isInterested(pod),
    );
    const answers = await Promise.all(
      asked.map((extender) =>
        extender.prioritize(pod, nodes).catch((error: unknown) => {
          this.#log.warn('extender gave no scores', { extender: extender.name, error: errorMessage(error) });
          return new Map<string, number>();
        }),
      ),
    );
    const sums = new Map<string, number>();
    for (const scores of answers)
      for (const [node, score] of scores) sums.set(node, (sums.get(node) ?? 0) + score);
    return sums;
  }

  /** Candidates that all of them agree to, with the victims that they want. Throws ExtenderError. */
  async preempt(
    { pod }: PodInfo,
    candidates: readonly PreemptionCandidate[],
  ): Promise<readonly PreemptionCandidate[]> {
    let left = candidates;
    for (const extender of this.#all) {
      if (left.length === 0) break;
      if (extender.config.preemptVerb === '' || !extender.isInterested(pod)) continue;
      const victims = new Map(
        left.map((one) => [
          one.node,
          { pods: one.victims.map((victim) => victim.pod), violations: one.violations },
        ]),
      );
      const agreed = await this.#attempt(extender, () => extender.preempt(pod, victims));
      if (!agreed) continue;
      left = left.flatMap((one) => {
        const wanted = agreed.get(one.node);
        if (!wanted) return [];
        const uids = new Set(wanted.uids);
        return [
          { ...one, violations: wanted.violations, victims: one.victims.filter(({ uid }) => uids.has(uid)) },
        ];
      });
    }
    return left;
  }

  /** The extender that binds this pod instead of the scheduler. */
  binderOf(pod: Pod): Extender | undefined {
    return this.#all.find((extender) => extender.config.bindVerb !== '' && extender.isInterested(pod));
  }

  /** Undefined: it failed, and may be ignored. */
  async #attempt<T>(extender: Extender, ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (!extender.config.ignorable) throw new ExtenderError(errorMessage(error), { cause: error });
      this.#log.warn('skipped extender, which is ignorable', {
        extender: extender.name,
        error: errorMessage(error),
      });
      return undefined;
    }
  }
}
