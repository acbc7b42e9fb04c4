/**
 * Maintains the Available condition and metrics of every APIService with a Service, after upstream's remote available controller. Checks when an
 * APIService, its Service or its endpoints change, every 30 s, and sooner after a failure.
 */
import { formatTime } from '#machinery/time.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { APIService } from '#api/types.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import {
  fetchFromExtension,
  UnreachableService,
  type ExtensionAddress,
  type ExtensionService,
} from './extension-service.ts';

export const API_SERVICES = { group: 'apiregistration.k8s.io', resource: 'apiservices' };

const RECHECK_MS = 30_000;
const FIRST_RETRY_MS = 5000;
const MAX_RETRY_MS = 30_000;
const CHECK_TIMEOUT_MS = 5000;
/** More of a discovery document is not waited for. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Endpoints tried before a server counts as unreachable. */
const MAX_ATTEMPTS = 5;

interface Condition {
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

interface AvailabilityOptions {
  readonly internal: InternalApi;
  readonly clock: Clock;
  readonly log: Logger;
  /** The current Service of this name. */
  serviceOf(name: string): ExtensionService | undefined;
  readonly checkTimeoutMs?: number | undefined;
}

export class AvailabilityController {
  readonly #options: AvailabilityOptions;
  readonly #timers = new Map<string, Timer>();
  readonly #failures = new Map<string, number>();
  /** Names being checked, and whether to check again afterwards. */
  readonly #busy = new Map<string, { again: boolean }>();
  readonly #working = new Set<Promise<void>>();
  readonly #unavailable = new Map<string, boolean>();
  readonly #turnedUnavailable = new Map<
    string,
    { readonly name: string; readonly reason: string; count: number }
  >();
  #stopped = false;

  constructor(options: AvailabilityOptions) {
    this.#options = options;
  }

  check(name: string): void {
    if (this.#stopped) return;
    this.#timers.get(name)?.cancel();
    const busy = this.#busy.get(name);
    if (busy) {
      busy.again = true;
      return;
    }
    const work = this.#run(name);
    this.#working.add(work);
    void work.finally(() => this.#working.delete(work));
  }

  forget(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    this.#failures.delete(name);
    this.#unavailable.delete(name);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    await Promise.all(this.#working);
  }

  async #run(name: string): Promise<void> {
    const { serviceOf, log } = this.#options;
    const state = { again: false };
    this.#busy.set(name, state);
    let failed = false;
    try {
      do {
        state.again = false;
        const service = serviceOf(name);
        if (!service || this.#stopped) return;
        const condition = await this.#look(service);
        failed = condition.status === 'False';
        // The result applies to the server that was called.
        if (serviceOf(name)?.spec.service === undefined || this.#stopped) return;
        await this.#write(name, condition);
      } while (state.again && !this.#stopped);
    } catch (error) {
      failed = true;
      if (!isStatusError(error, 'NotFound'))
        log.warn('error writing the condition of an APIService', {
          apiservice: name,
          error: errorMessage(error),
        });
    } finally {
      this.#busy.delete(name);
      this.#schedule(name, failed);
    }
  }

  #schedule(name: string, failed: boolean): void {
    if (this.#stopped || !this.#options.serviceOf(name)) return;
    const failures = failed ? (this.#failures.get(name) ?? 0) + 1 : 0;
    this.#failures.set(name, failures);
    const delay = failed ? Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), MAX_RETRY_MS) : RECHECK_MS;
    this.#timers.set(
      name,
      this.#options.clock.after(delay, () => this.check(name)),
    );
  }

  async #look(service: ExtensionService): Promise<Condition> {
    let addresses: readonly ExtensionAddress[];
    try {
      addresses = service.addresses();
    } catch (error) {
      if (!(error instanceof UnreachableService)) throw error;
      return { status: 'False', reason: error.reason, message: error.message };
    }
    let failure = '';
    for (const address of addresses.slice(0, MAX_ATTEMPTS)) {
      const problem = await this.#ask(service, address);
      if (problem === undefined) return { status: 'True', reason: 'Passed', message: 'all checks passed' };
      failure ||= problem;
    }
    return { status: 'False', reason: 'FailedDiscoveryCheck', message: failure };
  }

  async #ask(service: ExtensionService, address: ExtensionAddress): Promise<string | undefined> {
    const path = `/${service.path}`;
    const { host, port } = address;
    const url = `https://${formatHostPort(host, port)}${path}`;
    try {
      const { status } = await fetchFromExtension(service, {
        path,
        accept: 'application/json',
        address,
        timeoutMs: this.#options.checkTimeoutMs ?? CHECK_TIMEOUT_MS,
        maxBytes: MAX_ANSWER_BYTES,
      });
      return status >= 200 && status <= 299
        ? undefined
        : `failing or missing response from ${url}: bad status from ${url}: ${status}`;
    } catch (error) {
      return `failing or missing response from ${url}: ${errorMessage(error)}`;
    }
  }

  async #write(name: string, condition: Condition): Promise<void> {
    const { internal, clock } = this.#options;
    await internal.modify(
      API_SERVICES,
      { name },
      (object) => setAvailable(object as APIService, { ...condition, nowMs: clock.now() }),
      { subresource: 'status' },
    );
    const isUnavailable = condition.status === 'False';
    if (isUnavailable && this.#unavailable.get(name) !== true) {
      const key = `${name} ${condition.reason}`;
      const counted = this.#turnedUnavailable.get(key) ?? { name, reason: condition.reason, count: 0 };
      counted.count++;
      this.#turnedUnavailable.set(key, counted);
    }
    this.#unavailable.set(name, isUnavailable);
  }

  /** Prometheus text; '' before there was an APIService of another server. */
  metrics(): string {
    if (this.#unavailable.size === 0 && this.#turnedUnavailable.size === 0) return '';
    return [
      '# HELP aggregator_unavailable_apiservice 1 for an APIService whose server cannot be used now, else 0.',
      '# TYPE aggregator_unavailable_apiservice gauge',
      ...Array.from(
        this.#unavailable,
        ([name, is]) => `aggregator_unavailable_apiservice{name="${name}"} ${is ? 1 : 0}`,
      ),
      '# HELP aggregator_unavailable_apiservice_total How often an APIService became unavailable, by name and reason.',
      '# TYPE aggregator_unavailable_apiservice_total counter',
      ...Array.from(
        this.#turnedUnavailable.values(),
        ({ name, reason, count }) =>
          `aggregator_unavailable_apiservice_total{name="${name}",reason="${reason}"} ${count}`,
      ),
    ].join('\n');
  }
}

/** False when the condition is unchanged. */
function setAvailable(
  service: APIService,
  { nowMs, ...condition }: Condition & { readonly nowMs: number },
): boolean {
  const conditions = service.status?.conditions ?? [];
  const old = conditions.find(({ type }) => type === 'Available');
  if (
    old &&
    old.status === condition.status &&
    old.reason === condition.reason &&
    old.message === condition.message
  )
    return false;
  const lastTransitionTime =
    old?.status === condition.status && old.lastTransitionTime ? old.lastTransitionTime : formatTime(nowMs);
  service.status = {
    ...service.status,
    conditions: [
      ...conditions.filter(({ type }) => type !== 'Available'),
      { type: 'Available', ...condition, lastTransitionTime },
    ],
  };
  return true;
}
