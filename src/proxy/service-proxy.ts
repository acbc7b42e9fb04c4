/**
 * The service proxy: keeps this machine's nftables rules equal to the cluster's Services. Changes are gathered for a few milliseconds, then
 * applied as one transaction; when one fails, or from time to time, the whole table is written anew.
 *
 *   informers ──change──► dirty ──GATHER_MS──► model ─► content ─► difference ─► nft ──ok──► current
 *                                                                                 '──failed──► full rewrite with backoff
 */
import { readFile, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import type { EndpointSlice, Service } from '#api/types.ts';
import { endpointSlices, services } from '#client/refs.ts';
import type { Informer } from '#client/client.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { buildModel, type ServicePortModel } from './model.ts';
import { emptyContent, MASQUERADE_MARK, renderBase, renderContent, renderDifference, tableName, type RenderOptions, type TableContent } from './nft.ts';
import { runNft } from './run-nft.ts';

export interface ServiceProxyOptions extends ComponentContext {
  readonly nodeName: string;
  readonly clusterId: string;
  /** Range of all pods of the cluster. */
  readonly podCIDR: string;
}

/** Several changes that come together (a rolling update) become one transaction. */
const GATHER_MS = 20;
const FULL_REWRITE_MS = 10 * 60_000;
const RETRY_MS = 1_000;
const CLEANUP_MS = 1_000;
const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

export function createServiceProxy(options: ServiceProxyOptions): Component {
  return new ServiceProxy(options);
}

class ServiceProxy implements Component {
  readonly name = 'kube-proxy';
  readonly #options: ServiceProxyOptions;
  readonly #render: RenderOptions;
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  #services: Informer<Service> | undefined;
  #slices: Informer<EndpointSlice> | undefined;
  /** What the kernel has, as far as we know; undefined = write all anew. */
  #current: TableContent | undefined;
  #model: ReadonlyMap<string, ServicePortModel> = new Map();
  #timer: Timer | undefined;
  #rewriteTimer: Timer | undefined;
  #cleanup = '';
  #applying: Promise<void> = Promise.resolve();

  constructor(options: ServiceProxyOptions) {
    this.#options = options;
    this.#render = { table: tableName(options.clusterId), podCIDR: options.podCIDR, mark: MASQUERADE_MARK };
  }

  async start(): Promise<void> {
    await setSysctl('/proc/sys/net/ipv4/ip_forward', '1');
    const { api } = this.#options;
    this.#services = api.informer(services);
    this.#slices = api.informer(endpointSlices);
    this.#slices.addIndex('service', (slice) => [`${slice.metadata?.namespace}/${slice.metadata?.labels?.[SERVICE_NAME_LABEL] ?? ''}`]);
    await Promise.all([this.#services.synced(this.#stop.signal), this.#slices.synced(this.#stop.signal)]);
    await this.#apply();
    // Lets this machine reach node ports by 127.0.0.1; the guard-loopback chain, in place by now, keeps others off loopback.
    await setSysctl('/proc/sys/net/ipv4/conf/all/route_localnet', '1');
    const dirty = (): void => this.#schedule(GATHER_MS);
    for (const informer of [this.#services, this.#slices] as Informer<never>[]) this.#unsubscribe.push(informer.subscribe({ added: dirty, updated: dirty, deleted: dirty }));
    this.#armRewrite();
  }

  /** The rules stay: connections go on while the program is away. destroyServiceProxy removes them. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('service proxy stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#timer?.cancel();
    this.#rewriteTimer?.cancel();
    await this.#applying.catch(() => {});
  }

  #schedule(delayMs: number): void {
    if (this.#timer || this.#stop.signal.aborted) return;
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#applying = this.#applying.then(() => this.#apply()).catch((error: unknown) => {
        this.#options.log.error('service rules not applied, will write all anew', { error: errorMessage(error) });
        this.#current = undefined;
        this.#schedule(RETRY_MS);
      });
    });
  }

  #armRewrite(): void {
    if (this.#stop.signal.aborted) return;
    this.#rewriteTimer = this.#options.clock.after(FULL_REWRITE_MS, () => {
      this.#current = undefined;
      this.#schedule(0);
      this.#armRewrite();
    });
  }

  async #apply(): Promise<void> {
    const model = buildModel({
      services: this.#services?.list() ?? [],
      slicesOf: (namespace, name) => this.#slices?.byIndex('service', `${namespace}/${name}`) ?? [],
      nodeName: this.#options.nodeName,
    });
    const wanted = renderContent(model.values(), this.#render);
    const { script, cleanup } = renderDifference(this.#render, { from: this.#current ?? emptyContent(), to: wanted });
    // A chain waiting for removal may be wanted again: remove what waits first, or let the new content say it anew.
    if (this.#cleanup !== '' && script !== '') await this.#runCleanup();
    if (this.#current === undefined) await runNft(`${renderBase(this.#render)}${script}`);
    else if (script !== '') await runNft(script);
    this.#current = wanted;
    await this.#forgetConnections(model);
    this.#model = model;
    if (cleanup === '') return;
    this.#cleanup = cleanup;
    this.#options.clock.after(CLEANUP_MS, () => {
      this.#applying = this.#applying.then(() => this.#runCleanup()).catch((error: unknown) => {
        this.#options.log.warn('old service chains not removed, will write all anew', { error: errorMessage(error) });
        this.#current = undefined;
        this.#schedule(RETRY_MS);
      });
    });
  }

  async #runCleanup(): Promise<void> {
    const script = this.#cleanup;
    this.#cleanup = '';
    if (script !== '') await runNft(script);
  }

  /** UDP has no connection end: entries of endpoints that are gone would swallow datagrams until they time out. Needs the conntrack tool; without it they time out after 30 s. */
  async #forgetConnections(model: ReadonlyMap<string, ServicePortModel>): Promise<void> {
    for (const before of this.#model.values()) {
      if (before.protocol !== 'udp') continue;
      const now = new Set(model.get(before.key)?.clusterEndpoints.map((target) => target.ip));
      for (const target of before.clusterEndpoints) {
        if (now.has(target.ip)) continue;
        for (const ip of before.clusterIPs) await conntrack(['-D', '-p', 'udp', '--orig-dst', ip, '--dst-nat', target.ip]);
      }
    }
  }
}

function conntrack(words: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('conntrack', words, { stdio: 'ignore' });
    child.on('error', () => resolve());
    child.on('close', () => resolve());
  });
}

async function setSysctl(path: string, value: string): Promise<void> {
  if ((await readFile(path, 'utf8')).trim() !== value) await writeFile(path, value);
}
