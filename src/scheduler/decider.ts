/** Decides on a node for a pod: schedule.ts over the live snapshot, with extenders where they have a say. Nothing is changed or written here. */
import type { Random } from '#stdx/random.ts';
import type { Attempted } from './attempt.ts';
import type { Extenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import { choose, findCandidates, schedule, type Decision } from './schedule.ts';
import type { Snapshot } from './snapshot.ts';

interface DeciderOptions {
  readonly snapshot: Snapshot;
  readonly random: Random;
  readonly nominator: Nominator;
  readonly metrics: SchedulerMetrics;
  readonly extenders: Extenders | undefined;
}

type Input = Parameters<typeof schedule>[0];

export class Decider {
  readonly #options: DeciderOptions;
  /** Where the next search begins. */
  #startIndex = 0;

  constructor(options: DeciderOptions) {
    this.#options = options;
  }

  /** A promise when an extender has a say: the caller waits for it, so that pods are still decided on one by one. Throws what plugins and extenders throw. */
  decide(attempted: Attempted): Decision | Promise<Decision> {
    const input = this.#input(attempted);
    if (this.#options.extenders?.concerns(attempted.pod))
      return this.#withExtenders(input).then((decision) => this.#decided(decision, attempted));
    return this.#decided(schedule(input), attempted);
  }

  #decided(decision: Decision, { attempt }: Attempted): Decision {
    attempt.decided();
    if (decision.kind === 'fits') this.#startIndex += decision.evaluated;
    return decision;
  }

  #input({ info, profile }: Attempted): Input {
    const { snapshot, random, nominator, metrics } = this.#options;
    return {
      pod: info,
      snapshot,
      profile,
      random,
      startIndex: this.#startIndex,
      nominatedNode: nominator.nodeOf(info.uid),
      probe: metrics.probe(profile.schedulerName),
      observe: (point, taken) => metrics.point(point, { profile: profile.schedulerName, ...taken }),
    };
  }

  async #withExtenders(input: Input): Promise<Decision> {
    const decision = await this.#askExtenders(input);
    if (decision.kind === 'fits' || input.nominatedNode === undefined) return decision;
    // The nominated node was refused: all others may take the pod.
    return this.#askExtenders({ ...input, nominatedNode: undefined });
  }

  async #askExtenders(input: Input): Promise<Decision> {
    const extenders = this.#options.extenders!;
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
}
