/**
 * Enforces node allocatable on all pods together (upstream's enforceNodeAllocatable=pods): limits on their parent cgroup. Retried each minute while the
 * kernel refuses, which it does for a memory limit below current usage; both outcomes are events of the Node.
 */
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Cgroups, NodeLimits } from '../cgroups.ts';
import { Rounds } from '../rounds.ts';
import { nodeReference } from './node-reference.ts';

interface NodeAllocatableOptions {
  readonly cgroups: Pick<Cgroups, 'enforceNode'>;
  readonly cgroupRoot: string;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly nodeName: string;
  readonly limits: () => Promise<NodeLimits>;
}

const RETRY_MS = 60_000;

export class NodeAllocatable {
  readonly #options: NodeAllocatableOptions;
  readonly #rounds: Rounds;

  constructor(options: NodeAllocatableOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  start(): void {
    this.#rounds.start(() => this.#enforce());
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #enforce(): Promise<number> {
    const { cgroups, cgroupRoot, limits } = this.#options;
    try {
      await cgroups.enforceNode(cgroupRoot, await limits());
      this.#event('Normal', {
        reason: 'NodeAllocatableEnforced',
        message: 'Updated Node Allocatable limit across pods',
      });
      return Infinity;
    } catch (error) {
      this.#event('Warning', {
        reason: 'FailedNodeAllocatableEnforcement',
        message: `Failed to update Node Allocatable Limits ${JSON.stringify(`${cgroupRoot}/kubepods`)}: ${errorMessage(error)}`,
      });
      return RETRY_MS;
    }
  }

  #event(
    type: 'Normal' | 'Warning',
    { reason, message }: { readonly reason: string; readonly message: string },
  ): void {
    const { events, nodeName } = this.#options;
    events.event(nodeReference(nodeName), { type, reason, message });
  }
}
