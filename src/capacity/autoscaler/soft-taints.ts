/** Marks unneeded Nodes, so that the scheduler prefers others, and takes the marks back; a bounded number of Nodes in each loop. */
import { errorMessage } from '#stdx/log.ts';
import type { AutoscalerContext } from './context.ts';
import { DELETION_CANDIDATE, findTaint, isBeingDeleted } from './node-facts.ts';
import { markCandidate, unmarkCandidate } from './taints.ts';

export class SoftTaints {
  readonly #context: AutoscalerContext;

  constructor(context: AutoscalerContext) {
    this.#context = context;
  }

  async update(unneeded: ReadonlySet<string>): Promise<void> {
    const { settings, source, api, clock, log } = this.#context;
    const work = source.nodes.list().flatMap((node) => {
      const { name } = node.metadata;
      if (isBeingDeleted(node)) return [];
      const isMarked = findTaint(node, DELETION_CANDIDATE) !== undefined;
      if (unneeded.has(name) === isMarked) return [];
      return [
        () => (isMarked ? unmarkCandidate(api, name) : markCandidate(api, name, { nowMs: clock.now() })),
      ];
    });
    for (const one of work.slice(0, settings.maxBulkSoftTaintCount))
      await one().catch((error: unknown) =>
        log.warn('error marking an unneeded node', { error: errorMessage(error) }),
      );
  }
}
