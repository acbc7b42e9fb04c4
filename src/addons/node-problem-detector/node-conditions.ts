/**
 * Writes conditions of monitors into the Node's status: within a second of a change, every five minutes as a heartbeat, and again ten seconds after a failure. A
 * patch of these conditions alone; the node agent keeps those that are not its own.
 */
import type { NodeCondition } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { ProblemCondition } from './problem.ts';

interface NodeConditionsOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
}

const COLLECT_MS = 1_000;
const RETRY_MS = 10_000;
const HEARTBEAT_MS = 5 * 60_000;
/** Longer ones are cut. */
const MAX_MESSAGE = 2_048;

export class NodeConditions {
  readonly #options: NodeConditionsOptions;
  readonly #conditions = new Map<string, ProblemCondition>();
  #timer: Timer | undefined;
  #dueMs = Infinity;
  #writing: Promise<void> | undefined;
  #failing = false;
  #stopped = false;

  constructor(options: NodeConditionsOptions) {
    this.#options = options;
  }

  set(conditions: readonly ProblemCondition[]): void {
    const changed = conditions.filter((one) => this.#conditions.get(one.type) !== one);
    for (const condition of changed) this.#conditions.set(condition.type, condition);
    if (changed.length > 0) this.#writeIn(COLLECT_MS);
  }

  /** Resolves when nothing is written any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#writing;
  }

  #writeIn(delayMs: number): void {
    const { clock } = this.#options;
    const dueMs = clock.monotonic() + delayMs;
    if (this.#stopped || dueMs >= this.#dueMs) return;
    this.#timer?.cancel();
    this.#dueMs = dueMs;
    this.#timer = clock.after(delayMs, () => {
      this.#dueMs = Infinity;
      this.#writing = (this.#writing ?? Promise.resolve()).then(() => this.#write());
    });
  }

  async #write(): Promise<void> {
    const { api, clock, log, nodeName } = this.#options;
    if (this.#stopped) return;
    try {
      const now = formatTime(clock.now());
      const conditions = Array.from(this.#conditions.values(), (one) => conditionOf(one, now));
      const patch = { status: { conditions } };
      await api.patch(nodes, { name: nodeName }, { type: 'strategic', subresource: 'status', patch });
      this.#failing = false;
      this.#writeIn(HEARTBEAT_MS);
    } catch (error) {
      if (!this.#failing)
        log.warn('error writing conditions of the node, retrying', { error: errorMessage(error) });
      this.#failing = true;
      this.#writeIn(RETRY_MS);
    }
  }
}

function conditionOf(
  { type, status, transitionMs, reason, message }: ProblemCondition,
  now: string,
): NodeCondition {
  return {
    type,
    status,
    lastHeartbeatTime: now,
    lastTransitionTime: formatTime(transitionMs),
    reason,
    message: message.slice(0, MAX_MESSAGE),
  };
}
