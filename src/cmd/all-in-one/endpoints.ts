/**
 * Ports for health and metrics of a thread's components, with `up --component-endpoints`: upstream's, on 127.0.0.1. Otherwise nothing is counted, loaded
 * or opened.
 */
import { RestClientMetrics } from '#client/metrics.ts';
import type { Client } from '#client/client.ts';
import type { Transport } from '#client/transport.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';

const ADDRESS = '127.0.0.1';
/** What requests go over in this program, in place of a host. */
const HOST = 'in-process';

interface Shown {
  readonly name: string;
  readonly port: number;
  readonly api: Client;
  readonly metrics: MetricsRegistry | undefined;
  readonly moreMetrics?: Readonly<Record<string, MetricsRegistry>>;
}

export class ThreadEndpoints {
  readonly #enabled: boolean;
  readonly #log: Logger;
  readonly #servers: { close(): Promise<void> }[] = [];

  constructor(enabled: boolean, log: Logger) {
    this.#enabled = enabled;
    this.#log = log;
  }

  /** Of one component: its figures, and its requests counted. */
  measure(): {
    readonly context: { readonly metrics?: MetricsRegistry };
    measured(transport: Transport): Transport;
  } {
    if (!this.#enabled) return { context: {}, measured: (transport) => transport };
    const metrics = new MetricsRegistry();
    const requests = new RestClientMetrics();
    metrics.add(requests);
    return { context: { metrics }, measured: (transport) => requests.measured(transport, HOST) };
  }

  /** Called once it has started. Throws a UserError for a port in use. */
  async show({ name, port, api, metrics, moreMetrics }: Shown): Promise<void> {
    if (!metrics) return;
    const { serveEndpoints } = await import('../component-endpoints.ts');
    this.#servers.push(
      await serveEndpoints({
        name,
        address: ADDRESS,
        port,
        api,
        metrics,
        moreMetrics,
        access: {},
        flags: {},
        config: {},
        checks: [],
        clock: realClock,
        log: this.#log.with({ component: name }),
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()));
  }
}
