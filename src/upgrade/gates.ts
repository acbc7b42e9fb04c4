/**
 * Health gates between the steps of an upgrade: the cluster is as well as it was before. Each look asks every API server for readiness and for the errors that
 * it answered; Nodes and pods are watched. A gate opens after it found nothing for a while, and fails when it does not come to that in time.
 */
import type { Node, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { nodes, pods } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { Followed } from './followed.ts';
import { apiServerPort, machineOf, type Machine } from './observe.ts';

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
/** Names that a baseline has at most; further ones count as new. */
const BASELINE_NAMES = 2_000;

/** What was wrong before the upgrade, which counts for nothing later. */
export interface Baseline {
  readonly notReady: readonly string[];
  readonly looping: readonly string[];
}

interface Requests {
  readonly total: number;
  readonly errors: number;
}

export class Gates {
  readonly #options: GateOptions;
  readonly #nodes: Followed<Node, Machine>;
  readonly #looping: Followed<Pod, true>;
  #baseline: Baseline = { notReady: [], looping: [] };
  #port = 0;
  readonly #requests = new Map<string, Requests>();

  constructor(options: GateOptions) {
    this.#options = options;
    const { api } = options;
    this.#nodes = new Followed(api, { ref: nodes, keep: (node) => machineOf(node, this.#port) });
    this.#looping = new Followed(api, { ref: pods, keep: (pod) => isLooping(pod) || undefined });
  }

  /** Begins to watch. known: of an earlier run of the same upgrade, which may have caused what is wrong now. */
  async remember(known?: Baseline): Promise<Baseline> {
    this.#port = await apiServerPort(this.#options.api);
    await this.#nodes.start();
    await this.#looping.start();
    this.#baseline = known ?? {
      notReady: this.#machines()
        .filter(({ ready }) => !ready)
        .map(({ name }) => name)
        .slice(0, BASELINE_NAMES),
      looping: [...this.#looping.kept.keys()].slice(0, BASELINE_NAMES),
    };
    return this.#baseline;
  }

  async close(): Promise<void> {
    await Promise.all([this.#nodes.stop(), this.#looping.stop()]);
  }

  /** After remember. Resolves after nothing was found for so long without a break. Throws a GateError. */
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

  #machines(): readonly Machine[] {
    return [...this.#nodes.kept.values()];
  }

  async #look(): Promise<string | undefined> {
    const machines = this.#machines();
    for (const machine of machines) {
      const problem = machine.role === 'control-plane' ? await this.#serverProblem(machine) : undefined;
      if (problem !== undefined) return `API server of ${machine.name}: ${problem}`;
    }
    const unseen = this.#nodes.problem ?? this.#looping.problem;
    if (unseen !== undefined) return unseen;
    const { notReady, looping } = this.#baseline;
    const lost = machines.find(({ name, ready }) => !ready && !notReady.includes(name));
    if (lost) return `Node ${lost.name} is not Ready`;
    const known = new Set(looping);
    for (const pod of this.#looping.kept.keys())
      if (!known.has(pod)) return `Pod ${pod} is in CrashLoopBackOff`;
    return this.#options.extra?.();
  }

  async #serverProblem({ server = '', name }: Machine): Promise<string | undefined> {
    const client = this.#options.at(server);
    const ask = async (path: string): Promise<{ readonly status: number; readonly text: string }> => {
      const response = await client.transport.request({ method: 'GET', path });
      return { status: response.status, text: (await response.bytes()).toString() };
    };
    try {
      const { status, text } = await ask('/readyz?verbose');
      // Its checks ask etcd too.
      if (status !== 200)
        return `not ready: ${text.split('\n').find((line) => line.startsWith('[-]')) ?? `HTTP ${status}`}`;
      return this.#errorProblem(name, countRequests((await ask('/metrics')).text));
    } catch (error) {
      return `it does not answer: ${errorMessage(error)}`;
    }
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
      ? `${errors} of ${total} requests were answered with 500 (429, 503 and 504, which clients retry, do not count)`
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

function isLooping({ status }: Pod): boolean {
  return (
    status?.containerStatuses?.some(({ state }) => state?.waiting?.reason === 'CrashLoopBackOff') ?? false
  );
}
