/**
 * The Node condition FirewallBlocksPods and its event, written as the node problem detector writes its own: a patch of this condition alone. It appears when
 * a firewall is first found, and then stays, true or false. Nothing is tainted: the firewall may let through what these pods need.
 */
import type { Node, NodeCondition } from '#api/types.ts';
import type { EventRecorder } from '#client/events.ts';
import { nodes } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { describeBlocking, findBlockingChains, type PodNetworkNames } from '../../containerd/firewall.ts';

export interface FirewallConditionOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log'> {
  readonly nodeName: string;
  readonly network: PodNetworkNames;
  readonly events: EventRecorder;
  /** Replaced in tests. */
  readonly find?: typeof findBlockingChains;
}

const TYPE = 'FirewallBlocksPods';
const CHECK_MS = 30_000;

export function createFirewallCondition(options: FirewallConditionOptions): Component {
  return new FirewallConditionWriter(options);
}

class FirewallConditionWriter implements Component {
  readonly name = 'firewall-condition';
  readonly #options: FirewallConditionOptions;
  /** The message last written; undefined: none, or unknown. */
  #written: string | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: FirewallConditionOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    this.#arm(0);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    return Promise.resolve();
  }

  #arm(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(delayMs, () => {
      void this.#check()
        .catch((error: unknown) =>
          this.#options.log.warn('error checking the firewall', { error: errorMessage(error) }),
        )
        .finally(() => this.#arm(CHECK_MS));
    });
  }

  async #check(): Promise<void> {
    const { network, find = findBlockingChains } = this.#options;
    const chains = await find(network);
    const message = chains.length === 0 ? 'no firewall cuts pods off' : describeBlocking(chains, network);
    if (message !== this.#written) await this.#write({ isBlocked: chains.length > 0, message });
  }

  async #write({
    isBlocked,
    message,
  }: {
    readonly isBlocked: boolean;
    readonly message: string;
  }): Promise<void> {
    const { api, nodeName, clock, events, log } = this.#options;
    const node: Node = await api.get(nodes, { name: nodeName });
    const before = node.status?.conditions?.find(({ type }) => type === TYPE);
    const status = isBlocked ? 'True' : 'False';
    const isNews = before ? before.status !== status || before.message !== message : isBlocked;
    if (isNews) {
      const now = formatTime(clock.now());
      const condition: NodeCondition = {
        type: TYPE,
        status,
        reason: isBlocked ? 'PolicyDrop' : 'NoFirewallFound',
        message,
        lastHeartbeatTime: now,
        lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? now) : now,
      };
      const patch = { status: { conditions: [condition] } };
      await api.patch(nodes, { name: nodeName }, { type: 'strategic', subresource: 'status', patch });
    }
    if (isNews && isBlocked) {
      log.warn('a firewall blocks pod traffic', { message });
      events.event(node, { type: 'Warning', reason: TYPE, message });
    }
    this.#written = message;
  }
}
