/**
 * The interface of every component (scheduler, controller manager, node agent, proxy, DNS) to the program that runs it.
 *
 *   created --start()--> running --stop()--> stopped        start() may fail: then the component is stopped, nothing left behind
 *
 * A component gets a Client and nothing else from other components. start() resolves when it works (caches synced, sockets open);
 * it does not wait for leadership. stop() resolves when all its work has ended; it never throws.
 */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { MetricsRegistry } from '#stdx/metrics-registry.ts';
import type { Client } from '#client/client.ts';

export interface Component {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Called when a running component has failed permanently (its thread exited, say): it is then stopped and recreated. At most one callback. */
  onFailure?(callback: (error: Error) => void): void;
}

export interface ComponentContext {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** Unique name of this process for leader election and events: '<host>_<uuid>'. */
  readonly identity: string;
  /** The registry for the component's metrics. Undefined: metrics are not exposed. */
  readonly metrics?: MetricsRegistry | undefined;
}
