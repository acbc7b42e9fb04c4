/**
 * Health gates between the steps of an upgrade: the cluster is as well as it was before. Each look asks every API server for readiness and for the errors that
 * it answered, and the cluster for Nodes and containers. A gate opens after it found nothing for a while, and fails when it does not come to that in time.
 */
import type { Client } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { observeMachines, type ObservedMachine } from './observe.ts';

/** A gate stayed shut: the upgrade is taken back. */
export class GateError extends Error {}

interface GateOptions {
  readonly api: Client;
  at(server: string): Client;
  readonly clock: Clock;
  /** How long it may find something before it fails. Default 120 s. */
  readonly patienceMs?: number | undefined;
  /** For tests and for checks of one's own: what is wrong, or undefined. */
  readonly extra?: (() => Promise<string | undefined>) | undefined;
}

const PATIENCE_MS = 120_000;
const LOOK_EVERY_MS = 1_000;
/** Of the requests that an API server answered since the gate opened last. */
const ERROR_RATE = 0.05;
const ERRORS_AT_LEAST = 5;

interface Baseline {
  readonly notReady: ReadonlySet<string>;
  readonly looping: ReadonlySet<string>;
}

interface Requests {
  readonly total: number;
  readonly errors: number;
}

export class Gates {
  readonly #options: GateOptions;
  #baseline: Baseline | undefined;
  readonly #requests = new Map<string, Requests>();

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** What was wrong before counts for nothing later. */
  async remember(): Promise<void> {
    const machines = await this.#observe();
    this.#baseline = {
      notReady: new Set(machines.filter(({ ready }) => !ready).map(({ name }) => name)),
      looping: await loopingPods(this.#options.api),
    };
  }

  /** Resolves after nothing was found for so long without a break. Throws a GateError. */
  async hold(name: string, forMs: number): Promise<void> {
    const { clock, patienceMs = PATIENCE_MS } = this.#options;
    this.#requests.clear();
    let goodSince: number | undefined;
    let badSince = clock.monotonic();
    for (;;) {
      const problem = await this.#look().catch((error: unknown) => errorMessage(error));
      const now = clock.monotonic();
      if (problem === undefined) goodSince ??= now;
      else if (goodSince !== undefined) {
        goodSince = undefined;
        badSince = now;
      }
      if (goodSince !== undefined && now - goodSince >= forMs) return;
      if (problem !== undefined && now - badSince >= patienceMs) throw new GateError(`${name}: ${problem}`);
      await clock.sleep(LOOK_EVERY_MS);
    }
  }

  #observe(): Promise<readonly ObservedMachine[]> {
    return observeMachines(this.#options.api, this.#options.at);
  }

  async #look(): Promise<string | undefined> {
    const machines = await this.#observe();
    for (const machine of machines) {
      const problem = machine.role === 'control-plane' ? await this.#serverProblem(machine) : undefined;
      if (problem !== undefined) return `API server of ${machine.name}: ${problem}`;
    }
    const lost = machines.find(({ name, ready }) => !ready && !this.#baseline?.notReady.has(name));
    if (lost) return `Node ${lost.name} is not Ready`;
    const looping = [...(await loopingPods(this.#options.api))].find(
      (pod) => !this.#baseline?.looping.has(pod),
    );
    if (looping !== undefined) return `Pod ${looping} is in CrashLoopBackOff`;
    return this.#options.extra?.();
  }

  async #serverProblem({ server, api, name }: ObservedMachine): Promise<string | undefined> {
    if (server === undefined || api === undefined) return 'it does not answer';
    const client = this.#options.at(server);
    const ready = await client.transport.request({ method: 'GET', path: '/readyz?verbose' });
    const text = (await ready.bytes()).toString();
    // Its checks ask etcd too.
    if (ready.status !== 200)
      return `not ready: ${text.split('\n').find((line) => line.startsWith('[-]')) ?? `HTTP ${ready.status}`}`;
    const metrics = await client.transport.request({ method: 'GET', path: '/metrics' });
    return this.#errorProblem(name, countRequests((await metrics.bytes()).toString()));
  }

  #errorProblem(name: string, now: Requests): string | undefined {
    const before = this.#requests.get(name);
    // A server that was started again counts from zero.
    if (!before || now.total < before.total) {
      this.#requests.set(name, now);
      return undefined;
    }
    const errors = now.errors - before.errors;
    const total = now.total - before.total;
    return errors >= ERRORS_AT_LEAST && errors > total * ERROR_RATE
      ? `${errors} of ${total} requests failed with 5xx`
      : undefined;
  }
}

/** 504 and 429 say that it is busy, 503 that something else is away. */
function countRequests(text: string): Requests {
  let total = 0;
  let errors = 0;
  for (const line of text.split('\n')) {
    if (!line.startsWith('apiserver_request_total{')) continue;
    const count = Number(line.slice(line.lastIndexOf(' ') + 1));
    total += count;
    if (/[{,]code="500"/.test(line)) errors += count;
  }
  return { total, errors };
}

async function loopingPods(api: Client): Promise<ReadonlySet<string>> {
  const { items } = await api.list(pods);
  return new Set(
    items
      .filter(({ status }) =>
        status?.containerStatuses?.some(({ state }) => state?.waiting?.reason === 'CrashLoopBackOff'),
      )
      .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
  );
}
