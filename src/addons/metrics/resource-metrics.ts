/**
 * The resource metrics of the cluster: usage of nodes and pods, measured as metrics-server does, for metrics.k8s.io. Of several instances one measures
 * (a Lease) and the others say where it is, so that all API servers answer the same. While somebody else serves the API, nothing is measured.
 *
 *   off --serve(true)--> standby --elected--> measuring: a round at once, a second soon, then one every resolution
 *    ^--serve(false)--------'---------lost---------'
 */
import type { Client } from '#client/client.ts';
import { createLeaderElector, type LeaderElector } from '#client/leader-election.ts';
import type { LabelSelector } from '#machinery/labels.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { Counter, Gauge, Histogram } from '#stdx/instruments.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import { ClusterView, type ObjectSource } from './cluster-view.ts';
import { METRICS_GROUP, METRICS_VERSION } from './metrics-api.ts';
import { MetricsStorage } from './metrics-storage.ts';
import type { NodeMeasurements } from './resource-page.ts';
import { scrapeNodes, type ScrapeNode } from './scrape.ts';
import { SimulatedUsage } from './simulated-usage.ts';

/** metrics-server's manifest sets the same. */
const RESOLUTION_MS = 15_000;
/** From the first round to the second, so that there are metrics soon after the start. */
const WARM_UP_MS = 5_000;
/** A round ends before the next one begins. */
const ROUND_PART = 0.9;
/** Simulated nodes measured before others get their turn. */
const SIMULATED_SLICE = 25;
const LEASE = { namespace: 'kube-system', name: 'resource-metrics' };
const API_VERSION = `${METRICS_GROUP}/${METRICS_VERSION}`;

interface ResourceMetricsOptions {
  readonly objects: ObjectSource;
  readonly scrape: ScrapeNode;
  /** Absent: there is no other instance. */
  readonly election?: { readonly api: Client; readonly address: Address; readonly id: string } | undefined;
  readonly resolutionMs?: number | undefined;
  readonly warmUpMs?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Selection {
  /** '' = all. */
  readonly namespace: string;
  readonly labels: LabelSelector | undefined;
}

interface Term {
  readonly view: ClusterView;
  readonly storage: MetricsStorage;
  readonly simulated: SimulatedUsage;
  readonly failing: Set<string>;
}

export class ResourceMetrics {
  readonly #options: ResourceMetricsOptions;
  readonly #resolutionMs: number;
  readonly #elector: LeaderElector | undefined;
  readonly #identity: string;
  readonly #requests = new Counter(
    'metrics_server_kubelet_request_total',
    'Number of requests sent to the resource metrics endpoint of kubelets.',
  );
  readonly #points = new Gauge(
    'metrics_server_storage_points',
    'Number of nodes and containers that metrics can be returned of.',
  );
  readonly #ticks = new Histogram('metrics_server_manager_tick_duration_seconds', {
    help: 'Duration of a round of scrapes.',
    bounds: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
  });
  #leader = '';
  #serving: AbortController | undefined;
  #running: Promise<void> | undefined;
  #term: Term | undefined;

  constructor(options: ResourceMetricsOptions) {
    this.#options = options;
    this.#resolutionMs = options.resolutionMs ?? RESOLUTION_MS;
    const { election, clock, log } = options;
    this.#identity = election ? identityOf(election.address, election.id) : '';
    this.#elector =
      election &&
      createLeaderElector({
        api: election.api,
        lease: LEASE,
        identity: this.#identity,
        clock,
        log,
        onNewLeader: (identity) => void (this.#leader = identity),
      });
  }

  /** Begins, or ends: then resolves when nothing is measured any more. */
  async serve(on: boolean): Promise<void> {
    if (on === (this.#serving !== undefined)) return;
    if (on) {
      const serving = (this.#serving = new AbortController());
      const before = this.#running;
      this.#running = (async () => {
        await before;
        await this.#run(serving.signal);
      })();
      return;
    }
    this.#serving?.abort(new Error('resource metrics are not served here'));
    this.#serving = undefined;
    this.#leader = '';
    await this.#running;
  }

  stop(): Promise<void> {
    return this.serve(false);
  }

  /** Where requests are answered. Undefined: nowhere at the moment. */
  answeredBy(): 'here' | Address | undefined {
    if (this.#term) return 'here';
    return this.#leader === '' || this.#leader === this.#identity ? undefined : addressOf(this.#leader);
  }

  metrics(): string {
    return [this.#requests, this.#points, this.#ticks].flatMap((family) => family.render()).join('\n');
  }

  // --------------------------------------------------------------------------------------------------------------- answers

  /** In the order of their names. */
  listNodes({ labels }: Pick<Selection, 'labels'>): KubeObject[] {
    const { view, storage } = this.#requireTerm();
    return Array.from(view.nodes.values())
      .filter((node) => !labels || labels.matches(node.labels))
      .toSorted((one, other) => (one.name < other.name ? -1 : 1))
      .flatMap(({ name, labels: own }) => {
        const used = storage.node(name);
        return used ? [this.#object('NodeMetrics', { name, labels: own }, used)] : [];
      });
  }

  /** Throws NotFound: of the node, or of its metrics. */
  getNode(name: string): KubeObject {
    const { view, storage } = this.#requireTerm();
    const node = view.nodes.get(name);
    if (!node) throw statusErrors.notFound({ group: '', resource: 'nodes', name });
    const used = storage.node(name);
    if (!used) throw statusErrors.notFound({ group: METRICS_GROUP, resource: 'nodemetrics', name });
    return this.#object('NodeMetrics', { name, labels: node.labels }, used);
  }

  /** In the order of their namespaces and names. */
  listPods({ namespace, labels }: Selection): KubeObject[] {
    const { view, storage } = this.#requireTerm();
    return Array.from(view.pods(namespace))
      .filter((pod) => !labels || labels.matches(pod.labels))
      .toSorted((one, other) =>
        `${one.namespace}/${one.name}` < `${other.namespace}/${other.name}` ? -1 : 1,
      )
      .flatMap((pod) => {
        const used = storage.pod(`${pod.namespace}/${pod.name}`);
        return used ? [this.#object('PodMetrics', pod, used)] : [];
      });
  }

  /** Throws NotFound: of the pod, or of its metrics. */
  getPod(namespace: string, name: string): KubeObject {
    const { view, storage } = this.#requireTerm();
    const pod = view.pod(namespace, name);
    if (!pod) throw statusErrors.notFound({ group: '', resource: 'pods', name });
    const key = `${namespace}/${name}`;
    const used = storage.pod(key);
    if (!used) throw statusErrors.notFound({ group: METRICS_GROUP, resource: 'podmetrics', name: key });
    return this.#object('PodMetrics', pod, used);
  }

  #requireTerm(): Term {
    if (!this.#term) throw statusErrors.unavailable('resource metrics are not measured here');
    return this.#term;
  }

  #object(
    kind: 'NodeMetrics' | 'PodMetrics',
    {
      name,
      namespace,
      labels,
    }: {
      readonly name: string;
      readonly namespace?: string;
      readonly labels: Readonly<Record<string, string>>;
    },
    used: object,
  ): KubeObject {
    const metadata = {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      creationTimestamp: formatTime(this.#options.clock.now()),
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
    };
    return { kind, apiVersion: API_VERSION, metadata, ...used };
  }

  // ---------------------------------------------------------------------------------------------------------------- rounds

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted)
      await (this.#elector
        ? this.#elector.run(signal, (leading) => this.#measure(leading))
        : this.#measure(signal));
  }

  /** Until the signal is aborted. */
  async #measure(signal: AbortSignal): Promise<void> {
    const { objects, clock, log, warmUpMs = WARM_UP_MS } = this.#options;
    if (signal.aborted) return;
    const term: Term = {
      view: new ClusterView(objects),
      storage: new MetricsStorage({ resolutionMs: this.#resolutionMs }),
      simulated: new SimulatedUsage(),
      failing: new Set(),
    };
    this.#term = term;
    try {
      for (let rounds = 0; !signal.aborted; rounds++) {
        const startedMs = clock.monotonic();
        await this.#round(term, signal).catch((error: unknown) =>
          log.warn('error measuring the usage of nodes', { error: errorMessage(error) }),
        );
        const periodMs = rounds === 0 ? Math.min(warmUpMs, this.#resolutionMs) : this.#resolutionMs;
        const tookMs = clock.monotonic() - startedMs;
        this.#ticks.observe('', tookMs / 1000);
        await clock.sleep(Math.max(0, periodMs - tookMs), signal).catch(() => {});
      }
    } finally {
      this.#term = undefined;
      term.view.stop();
    }
  }

  async #round(term: Term, signal: AbortSignal): Promise<void> {
    const { scrape, log } = this.#options;
    const all = Array.from(term.view.nodes.values());
    const real = all.filter(({ isSimulated }) => !isSimulated).map(({ name }) => name);
    const within = AbortSignal.any([signal, AbortSignal.timeout(this.#resolutionMs * ROUND_PART)]);
    const round = await scrapeNodes(real, { scrape, signal: within, failing: term.failing, log });
    if (signal.aborted) return;
    this.#requests.add('success="true"', round.size);
    this.#requests.add('success="false"', real.length - round.size);
    const simulated = all.filter(({ isSimulated }) => isSimulated).map(({ name }) => name);
    for (const [name, measured] of await this.#simulate(term, simulated)) round.set(name, measured);
    term.storage.store(round);
    const { nodes, containers } = term.storage.counts();
    this.#points.set('type="node"', nodes);
    this.#points.set('type="container"', containers);
  }

  async #simulate(
    { view, simulated }: Term,
    names: readonly string[],
  ): Promise<Map<string, NodeMeasurements>> {
    const measured = new Map<string, NodeMeasurements>();
    const round = simulated.startRound();
    for (const [index, name] of names.entries()) {
      measured.set(
        name,
        round.measure(name, { nowMs: this.#options.clock.now(), pods: view.simulatedPods(name) }),
      );
      if ((index + 1) % SIMULATED_SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    round.end();
    return measured;
  }
}

/** '192.0.2.1:6443_ID': where this instance is reached. */
function identityOf({ host, port }: Address, id: string): string {
  return `${formatHostPort(host, port)}_${id}`;
}

/** Undefined for the identity of something else. */
function addressOf(identity: string): Address | undefined {
  const [, bracketed, plain, port = ''] = /^(?:\[([0-9a-f:]+)\]|([^[\]:_]+)):(\d+)_/i.exec(identity) ?? [];
  const host = bracketed ?? plain;
  return host === undefined ? undefined : { host, port: Number(port) };
}
