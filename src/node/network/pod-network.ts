/**
 * The pod network between nodes: keeps this machine's routes to other nodes' pods equal to the Nodes. Removed routes are restored.
 *
 *   Nodes ──change──► dirty ──GATHER_MS──┐
 *   every CHECK_MS ──────────────────────┴─► routes wanted (peers.ts) ─► difference to the kernel (kernel.ts) ──failed──► RETRY_MS
 *
 * Routes stay when it stops: pods outlive the agent. `capstan reset` and leaving remove them.
 */
import type { Node } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { watchTableDeletions, type TableEvents } from '#stdx/nftables-events.ts';
import { runNft } from '#stdx/run-nft.ts';
import { applyRoutes, ensureOverlay, onLinkDevices, ownAddresses, type NetworkNames } from './kernel.ts';
import { computePeers, routesTo, WIREGUARD_KEY, type PodNetworkMode } from './peers.ts';
import { hasTunnelGuard, removeTunnelGuard, renderTunnelGuard } from './tunnel-guard.ts';
import { ensureKeys, setWireguardPeers, type WireguardKeys } from './wireguard.ts';

export interface PodNetworkOptions extends ComponentContext {
  readonly names: NetworkNames;
  readonly nodeName: string;
  /** This node's ranges, one of each family that pods have. */
  readonly podCIDRs: readonly string[];
  /** Of all pods of the cluster. */
  readonly clusterCIDRs: readonly string[];
  /** The first of the node's. */
  readonly nodeAddress: string;
  readonly mode: PodNetworkMode;
  /** The same on every node of the cluster. */
  readonly vxlanId: number;
  readonly mtu: number;
  /** Where this node keeps its WireGuard key, if that is the mode. */
  readonly wireguardDir: string;
}

const GATHER_MS = 50;
const CHECK_MS = 10_000;
const RETRY_MS = 1_000;

export function createPodNetwork(options: PodNetworkOptions): Component {
  return new PodNetwork(options);
}

class PodNetwork implements Component {
  readonly name = 'pod-network';
  readonly #options: PodNetworkOptions;
  readonly #stop = new AbortController();
  #nodes: Informer<Node> | undefined;
  #unsubscribe: (() => void) | undefined;
  #timer: Timer | undefined;
  /** Nodes changed since the last look at them. */
  #dirty = false;
  #applying: Promise<void> = Promise.resolve();
  #problems = '';
  /** Of mode wireguard. */
  #keys: WireguardKeys | undefined;
  /** Those that the kernel has from us; '' where the mode needs none. */
  #guardedRanges: string | undefined;
  #tables: TableEvents | undefined;

  constructor(options: PodNetworkOptions) {
    this.#options = options;
  }

  /** Does not wait for the Nodes, nor fail for the kernel: the node is of use for its own pods without. */
  start(): Promise<void> {
    const informer = this.#options.api.informer(nodes);
    this.#nodes = informer;
    const changed = (): void => {
      this.#dirty = true;
      this.#schedule(GATHER_MS);
    };
    this.#unsubscribe = informer.subscribe({
      added: changed,
      deleted: changed,
      // Heartbeats change nothing here.
      updated: (node, before) => {
        if (place(node) !== place(before)) changed();
      },
    });
    if (this.#options.mode === 'wireguard')
      this.#tables = watchTableDeletions({ ...this.#options, onDeleted: () => this.#schedule(0) });
    this.#schedule(0);
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('pod network stopped'));
    this.#unsubscribe?.();
    this.#tables?.close();
    this.#timer?.cancel();
    await this.#applying;
  }

  #schedule(delayMs: number): void {
    if (this.#stop.signal.aborted) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#applying = this.#applying.then(() => this.#apply());
    });
  }

  async #apply(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    // Routes to nodes that are only not listed yet must not go.
    if (!this.#nodes?.hasSynced) return this.#schedule(RETRY_MS);
    this.#dirty = false;
    try {
      await this.#applyOnce(this.#nodes.list());
      // Not later than what changed meanwhile asks for.
      this.#schedule(this.#dirty ? GATHER_MS : CHECK_MS);
    } catch (error) {
      this.#say(errorMessage(error));
      this.#schedule(RETRY_MS);
    }
  }

  async #applyOnce(all: readonly Node[]): Promise<void> {
    const { names, mode, nodeName, log, ...rest } = this.#options;
    if (mode !== 'direct') await ensureOverlay(names, { mode, ...rest });
    if (mode === 'wireguard') this.#keys ??= ensureKeys(rest.wireguardDir);
    const peers = computePeers(all, { nodeName, ownAddresses: ownAddresses() });
    const devices =
      mode === 'vxlan' || mode === 'wireguard'
        ? new Map<string, string>()
        : await onLinkDevices(peers.flatMap(({ addresses }) => addresses));
    const { routes, problems } = routesTo(peers, {
      mode,
      overlay: names.overlay,
      ...rest,
      publicKey: this.#keys?.publicKey,
      onLink: (address) => devices.get(address),
    });
    await this.#guard(routes.map(({ podCIDR }) => podCIDR));
    if (this.#keys) await setWireguardPeers(names.overlay, { ...this.#keys, dir: rest.wireguardDir, routes });
    const changes = await applyRoutes(names, routes);
    if (changes > 0)
      log.info('routes to the pods of other nodes changed', {
        routes: routes.length,
        tunnels: routes.filter(({ tunnel, wireguard }) => tunnel ?? wireguard).length,
      });
    await this.#publishKey(all);
    this.#say(problems.join('; '));
  }

  /** Before the routes that it is for. */
  async #guard(routed: readonly string[]): Promise<void> {
    const { names, mode, clusterCIDRs, podCIDRs } = this.#options;
    const isWanted = mode === 'wireguard';
    const ranges = isWanted ? [...new Set([...clusterCIDRs, ...podCIDRs, ...routed])].toSorted() : [];
    if (this.#guardedRanges === ranges.join() && (!isWanted || (await hasTunnelGuard(names)))) return;
    if (isWanted) await runNft(renderTunnelGuard(names, ranges));
    // Of an earlier start in that mode.
    else if (await hasTunnelGuard(names)) await removeTunnelGuard(names);
    this.#guardedRanges = ranges.join();
  }

  /** As an annotation of the own Node: other nodes encrypt for it. In other modes the annotation goes: nothing here decrypts. */
  async #publishKey(all: readonly Node[]): Promise<void> {
    const { api, nodeName } = this.#options;
    const own = all.find(({ metadata }) => metadata?.name === nodeName);
    if (!own || own.metadata?.annotations?.[WIREGUARD_KEY] === this.#keys?.publicKey) return;
    const patch = { metadata: { annotations: { [WIREGUARD_KEY]: this.#keys?.publicKey ?? null } } };
    await api.patch(nodes, { name: nodeName }, { type: 'merge', patch });
  }

  /** Once, until it is another one. */
  #say(problems: string): void {
    if (problems !== '' && problems !== this.#problems)
      this.#options.log.error('error keeping the routes to the pods of other nodes', { error: problems });
    this.#problems = problems;
  }
}

function place({ metadata, spec, status }: Node): string {
  const key = metadata?.annotations?.[WIREGUARD_KEY];
  return JSON.stringify([spec?.podCIDRs, spec?.podCIDR, status?.addresses, key]);
}
