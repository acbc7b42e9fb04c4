/**
 * What every component (scheduler, controller manager, node agent, proxy, DNS) is to the program that composes it.
 *
 *   created --start()--> running --stop()--> stopped        start() may fail: then the component is stopped, nothing left behind
 *
 * A component gets a Client and nothing else from its siblings. start() resolves when it is at work (caches synced, sockets open);
 * it does not wait for leadership. stop() resolves when all its work ended; it never throws.
 */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { MetricsRegistry } from '#stdx/metrics-registry.ts';
import type { Client } from '#client/client.ts';

export interface Component {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Where a running component says that it cannot go on (its thread died, say): it is then stopped and another one is made. At most one callback. */
  onFailure?(callback: (error: Error) => void): void;
}

export interface ComponentContext {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** Unique name of this process for leader election and events: '<host>_<uuid>'. */
  readonly identity: string;
  /** Where the component adds its figures. Absent: nobody reads them. */
  readonly metrics?: MetricsRegistry;
}
