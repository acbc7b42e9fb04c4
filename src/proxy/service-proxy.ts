/**
 * The service proxy: keeps this machine's nftables rules equal to the cluster's Services, a table for each address family that pods have. Changes are gathered for a few milliseconds, then applied in one
 * transaction; when one fails, or the kernel's table differs, the whole table is rewritten.
 *
 *   informers ──change──► dirty ──GATHER_MS──► model ─► content ─► difference ─► nft ──ok──► current
 *                                                                                 '──failed──► full rewrite with backoff
 */
import type { EndpointSlice, Node, Service, ServiceCIDR } from '#api/types.ts';
import { endpointSlices, nodes, serviceCIDRs, services } from '#client/refs.ts';
import type { Informer } from '#client/client.ts';
import { indexByService, serviceOfSlice } from '#component-helpers/endpoint-slices.ts';
import { objectKey } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { switchOnForwarding } from '#stdx/ip-forwarding.ts';
import { chainContains, runNft, tableDiffers } from '#stdx/run-nft.ts';
import { setSysctl } from '#stdx/sysctl.ts';
import { RETRY_MS, TableUpkeep } from '#stdx/table-upkeep.ts';
import { ConntrackCleaner, udpServices } from './conntrack.ts';
import { HealthCheckPorts, type ServiceHealth } from './health-checks.ts';
import { familyOf, serviceHealth, servicePorts, type Family, type ServicePortModel } from './model.ts';
import {
  emptyContent,
  MASQUERADE_MARK,
  renderBase,
  renderContent,
  renderDifference,
  tableName,
  type RenderedPort,
  type RenderOptions,
  type TableContent,
} from './nft.ts';
import { ProxyMetrics } from './metrics.ts';

export interface ServiceProxyOptions extends ComponentContext {
  readonly nodeName: string;
  readonly clusterId: string;
  /** Ranges of all pods of the cluster, one for each family that is served. */
  readonly podCIDRs: readonly string[];
}

/** The rules of one address family. */
interface FamilyTable {
  readonly family: Family;
  readonly render: RenderOptions;
  /** By the Service's key; recomputed for those that are dirty. */
  readonly ports: Map<string, readonly ServicePortModel[]>;
}

/** Changes within this time (a rolling update) become one transaction. */
const GATHER_MS = 20;
/** A table without it is not whole. */
const BASE = { chain: 'nat-prerouting', text: 'jump services' };
const CLEANUP_MS = 1_000;
const ZONE_LABEL = 'topology.kubernetes.io/zone';

/** A change that has not reached the rules for this long makes the proxy unhealthy: upstream's two periods of 30 seconds. */
const UNHEALTHY_AFTER_MS = 60_000;
const AUTOSCALER_TAINT = 'ToBeDeletedByClusterAutoscaler';

export interface ProxyHealth {
  readonly isHealthy: boolean;
  readonly syncedAtMs: number | undefined;
  /** The node is not being deleted: load balancers may send it traffic. */
  readonly isNodeEligible: boolean;
}

export interface RunningProxy extends Component {
  health(): ProxyHealth;
}

export function createServiceProxy(options: ServiceProxyOptions): RunningProxy {
  return new ServiceProxy(options);
}

class ServiceProxy implements RunningProxy {
  readonly name = 'kube-proxy';
  readonly #options: ServiceProxyOptions;
  readonly #tables: readonly FamilyTable[];
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  #services: Informer<Service> | undefined;
  #slices: Informer<EndpointSlice> | undefined;
  #ranges: Informer<ServiceCIDR> | undefined;
  /** Only this Node is watched: its zone is all that is needed. */
  #nodes: Informer<Node> | undefined;
  /** The kernel's content as last written; undefined: write the whole tables. */
  #current: ReadonlyMap<FamilyTable, TableContent> | undefined;
  readonly #health = new Map<string, ServiceHealth>();
  readonly #healthPorts: HealthCheckPorts;
  readonly #conntrack: ConntrackCleaner;
  readonly #dirty = new Set<string>();
  readonly #rendered = new WeakMap<ServicePortModel, RenderedPort>();
  readonly #upkeep: TableUpkeep;
  #cleanupTimer: Timer | undefined;
  #cleanup = '';
  readonly #metrics: ProxyMetrics;
  /** When the rules were last known to be as they should, and since when they have not been. */
  #syncedAtMs: number | undefined;
  #behindSinceMs: number | undefined;

  constructor(options: ServiceProxyOptions) {
    this.#options = options;
    this.#metrics = new ProxyMetrics(options.clock, options.metrics);
    this.#healthPorts = new HealthCheckPorts(options.log);
    this.#conntrack = new ConntrackCleaner(options.log);
    this.#tables = options.podCIDRs.map((podCIDR) => tableFor(podCIDR, options.clusterId));
    this.#upkeep = new TableUpkeep({
      clock: options.clock,
      log: options.log,
      subject: 'the service rules',
      apply: () => this.#apply(),
      check: (thorough) => this.#check(thorough),
      failed: () => {
        this.#current = undefined;
        this.#schedule(RETRY_MS);
      },
    });
  }

  async start(): Promise<void> {
    for (const { family } of this.#tables) await prepareKernel(family);
    const { api } = this.#options;
    const [byName, slices, ranges, own] = [
      api.informer(services),
      api.informer(endpointSlices),
      api.informer(serviceCIDRs),
      api.informer(nodes, { fieldSelector: `metadata.name=${this.#options.nodeName}` }),
    ];
    this.#services = byName;
    this.#slices = slices;
    this.#ranges = ranges;
    this.#nodes = own;
    slices.addIndex('proxy-service', indexByService);
    // Start does not wait for the ServiceCIDRs, which an older API server may not serve, nor for the Node, which may not be registered yet.
    await Promise.all([byName.synced(this.#stop.signal), slices.synced(this.#stop.signal)]);
    for (const service of byName.list()) this.#dirty.add(objectKey(service));
    await this.#apply();
    const serviceChanged = (service: Service): void => {
      this.#metrics.serviceChanged();
      this.#changed(objectKey(service));
    };
    const sliceChanged = (slice: EndpointSlice, before?: EndpointSlice): void => {
      this.#metrics.sliceChanged(slice);
      this.#changed(serviceOfSlice(slice));
      if (before) this.#changed(serviceOfSlice(before));
    };
    const nodeChanged = (node: Node, before?: Node): void => {
      if (zoneOf(node) !== zoneOf(before)) this.#allChanged();
    };
    const rangeChanged = (): void => this.#schedule(GATHER_MS);
    this.#unsubscribe.push(
      byName.subscribe({ added: serviceChanged, updated: serviceChanged, deleted: serviceChanged }),
      slices.subscribe({ added: sliceChanged, updated: sliceChanged, deleted: sliceChanged }),
      own.subscribe({ added: nodeChanged, updated: nodeChanged, deleted: nodeChanged }),
      ranges.subscribe({ added: rangeChanged, updated: rangeChanged, deleted: rangeChanged }),
    );
    this.#upkeep.startChecks();
    this.#upkeep.watchDeletions();
  }

  /** The rules stay, so that connections continue while the program is stopped. destroyServiceProxy removes them. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('service proxy stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cleanupTimer?.cancel();
    await this.#upkeep.stop();
    await this.#conntrack.idle();
    this.#healthPorts.close();
  }

  #changed(serviceKey: string): void {
    this.#dirty.add(serviceKey);
    this.#schedule(GATHER_MS);
  }

  #allChanged(): void {
    for (const service of this.#services?.list() ?? []) this.#changed(objectKey(service));
  }

  #schedule(delayMs: number): void {
    if (!this.#upkeep.schedule(delayMs)) return;
    this.#metrics.queued();
    this.#behindSinceMs ??= this.#options.clock.now();
  }

  async #check(thorough: boolean): Promise<void> {
    if (!this.#current) return;
    const changed = await this.#firstChanged(this.#current, thorough);
    if (!changed) return;
    this.#options.log.warn('service rules were changed by another program: writing the whole table', {
      table: changed.render.table,
      family: changed.family,
    });
    this.#current = undefined;
    await this.#apply();
  }

  async #firstChanged(
    current: ReadonlyMap<FamilyTable, TableContent>,
    thorough: boolean,
  ): Promise<FamilyTable | undefined> {
    for (const [table, wanted] of current)
      if (
        !(await chainContains(table.render, BASE)) ||
        (thorough && (await tableDiffers(table.render, wanted)))
      )
        return table;
    return undefined;
  }

  /** For /healthz, after upstream's: it fails when rules have been due for too long. */
  health(): ProxyHealth {
    const nowMs = this.#options.clock.now();
    const isHealthy =
      this.#syncedAtMs !== undefined &&
      (this.#behindSinceMs === undefined || nowMs - this.#behindSinceMs < UNHEALTHY_AFTER_MS);
    return { isHealthy, syncedAtMs: this.#syncedAtMs, isNodeEligible: isEligible(this.#ownNode()) };
  }

  #ownNode(): Node | undefined {
    return this.#nodes?.get(this.#options.nodeName);
  }

  async #apply(): Promise<void> {
    await this.#metrics.measure(this.#current === undefined, () => this.#write());
    this.#syncedAtMs = this.#options.clock.now();
    this.#behindSinceMs = this.#upkeep.isDue ? this.#syncedAtMs : undefined;
  }

  async #write(): Promise<void> {
    const udpBefore = this.#recompute();
    const serviceCIDRs = this.#serviceCIDRs();
    const wanted = new Map(this.#tables.map((table) => [table, this.#contentOf(table, serviceCIDRs)]));
    const changes = [...wanted].map(([table, to]) =>
      renderDifference(table.render, { from: this.#current?.get(table) ?? emptyContent(), to }),
    );
    // Both families in one transaction.
    const script = changes.map((change) => change.script).join('');
    const cleanup = changes.map((change) => change.cleanup).join('');
    if (this.#current === undefined) {
      this.#takeCleanup();
      await runNft(`${this.#tables.map(({ render }) => renderBase(render)).join('')}${script}`);
    } else if (script !== '') {
      // A chain that waits for removal may be needed again: the pending ones are removed first.
      await runNft(`${this.#takeCleanup()}${script}`);
    }
    this.#current = wanted;
    this.#healthPorts.sync([...this.#health.values()]);
    // Those that are gone have no endpoints; what took their address since comes later, and counts.
    if (udpBefore)
      this.#conntrack.request(
        udpServices([...udpBefore.map((port) => ({ ...port, servingEndpoints: [] })), ...this.#allPorts()]),
      );
    if (cleanup === '') return;
    this.#cleanup = cleanup;
    this.#cleanupTimer = this.#options.clock.after(CLEANUP_MS, () =>
      this.#upkeep.inTurn('error removing old service chains', () => this.#runCleanup()),
    );
  }

  #contentOf({ family, render, ports }: FamilyTable, serviceCIDRs: readonly string[]): TableContent {
    return renderContent([...ports.values()].flat(), {
      ...render,
      serviceCIDRs: serviceCIDRs.filter((range) => familyOf(range.split('/')[0]) === family),
      known: this.#rendered,
    });
  }

  #allPorts(): ServicePortModel[] {
    return this.#tables.flatMap(({ ports }) => [...ports.values()].flat());
  }

  #serviceCIDRs(): string[] {
    return (this.#ranges?.list() ?? []).flatMap(({ spec }) => spec?.cidrs ?? []);
  }

  /** Brings the model of dirty services up to date. Returns what UDP ports they had before; undefined where they had and have none. */
  #recompute(): readonly ServicePortModel[] | undefined {
    const udpBefore: ServicePortModel[] = [];
    let hasUdp = false;
    const zone = zoneOf(this.#ownNode());
    for (const key of this.#dirty) {
      const service = this.#services?.get(key);
      const input = {
        slicesOf: () => this.#slices?.byIndex('proxy-service', key) ?? [],
        nodeName: this.#options.nodeName,
        zone,
      };
      const health = service && serviceHealth(service, input);
      if (health) this.#health.set(key, health);
      else this.#health.delete(key);
      for (const { family, ports: known } of this.#tables) {
        const before = known.get(key) ?? [];
        const ports = service ? servicePorts(service, { ...input, family }) : [];
        if (ports.length > 0) known.set(key, ports);
        else known.delete(key);
        udpBefore.push(...before.filter(({ protocol }) => protocol === 'udp'));
        hasUdp ||= ports.some(({ protocol }) => protocol === 'udp');
      }
    }
    this.#dirty.clear();
    return hasUdp || udpBefore.length > 0 ? udpBefore : undefined;
  }

  async #runCleanup(): Promise<void> {
    const script = this.#takeCleanup();
    if (script !== '') await runNft(script);
  }

  #takeCleanup(): string {
    const script = this.#cleanup;
    this.#cleanup = '';
    this.#cleanupTimer?.cancel();
    return script;
  }
}

function tableFor(podCIDR: string, clusterId: string): FamilyTable {
  const family = familyOf(podCIDR.split('/')[0]) ?? 'IPv4';
  return {
    family,
    render: {
      family: family === 'IPv6' ? 'ip6' : 'ip',
      table: tableName(clusterId),
      podCIDR,
      mark: MASQUERADE_MARK,
    },
    ports: new Map(),
  };
}

async function prepareKernel(family: Family): Promise<void> {
  await switchOnForwarding(family);
  // Lets this machine reach node ports by 127.0.0.1; the chain `martians` refuses others that use such addresses.
  if (family === 'IPv4') await setSysctl('/proc/sys/net/ipv4/conf/all/route_localnet', '1');
}

function zoneOf(node: Node | undefined): string | undefined {
  return node?.metadata?.labels?.[ZONE_LABEL];
}

function isEligible(node: Node | undefined): boolean {
  return (
    !node?.metadata?.deletionTimestamp && !node?.spec?.taints?.some(({ key }) => key === AUTOSCALER_TAINT)
  );
}
