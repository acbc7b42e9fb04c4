/** Sends events as an EventList to the server of a kubeconfig file, again and again for a while when it does not take them. */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { WebhookCallError, type KubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import { LostEventsError } from './batching.ts';
import type { AuditBackend, AuditCounters } from './backend.ts';
import type { AuditEvent } from './event.ts';

const TRIES = 5;
const CALL_TIMEOUT_MS = 30_000;

interface WebhookBackendOptions {
  readonly client: KubeconfigClient;
  readonly initialBackoffMs: number;
  readonly clock: Clock;
  readonly counters: AuditCounters;
}

export class WebhookBackend implements AuditBackend {
  readonly #options: WebhookBackendOptions;
  readonly #closing = new AbortController();

  constructor(options: WebhookBackendOptions) {
    this.#options = options;
  }

  async process(events: readonly AuditEvent[]): Promise<void> {
    const { counters, client } = this.#options;
    // Items of a list have no kind of their own.
    const items = events.map(({ kind: _kind, apiVersion: _version, ...event }) => event);
    try {
      await this.#deliver({ kind: 'EventList', apiVersion: 'audit.k8s.io/v1', metadata: {}, items });
    } catch (error) {
      counters.lost('webhook', events.length, `${client.server} does not take them: ${errorMessage(error)}`);
      throw new LostEventsError(errorMessage(error), { cause: error });
    }
  }

  close(): Promise<void> {
    this.#closing.abort(new Error('the server stopped'));
    this.#options.client.close();
    return Promise.resolve();
  }

  async #deliver(list: unknown): Promise<void> {
    const { client, clock, initialBackoffMs } = this.#options;
    const { signal } = this.#closing;
    for (let attempt = 0; ; attempt++) {
      try {
        await client.post(list, { timeoutMs: CALL_TIMEOUT_MS, signal });
        return;
      } catch (error) {
        // Delivered: the rest of the response is ignored.
        if (error instanceof WebhookCallError && error.failure === 'malformed') return;
        if (attempt + 1 >= TRIES || signal.aborted) throw error;
        await clock.sleep(
          backoffMs(attempt, {
            initialMs: initialBackoffMs,
            maximumMs: 10 * initialBackoffMs,
            factor: 1.5,
            jitter: 0.2,
          }),
          signal,
        );
      }
    }
  }
}
