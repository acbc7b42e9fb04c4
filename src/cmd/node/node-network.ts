/**
 * The network of this node's pods, around the node agent: network policies, containerd's network, routes to the pods of other nodes, the watch on firewalls.
 * All of it needs the node's pod ranges. They are known at the start (a flag, the Node, the last start), or come while the agent runs already.
 *
 *   known:  policies ─► agent ─► routes, firewall
 *   later:  agent, network not ready ─── ranges ─► containerd's network ─► policies ─► network ready ─► routes, firewall
 */
import { createEventRecorder } from '#client/event-recorder.ts';
import {
  createFirewallCondition,
  type FirewallConditionOptions,
} from '#node/agent/node/firewall-condition.ts';
import { NetworkReadiness, networkNotReady } from '#node/agent/network-readiness.ts';
import { activeSandbox, RuntimeView } from '#node/agent/runtime-view.ts';
import type { Containerd } from '#node/containerd/containerd.ts';
import type { CriClient } from '#node/cri/client.ts';
import { createNetworkPolicies } from '#node/network-policy/network-policies.ts';
import { createPodNetwork, type PodNetworkOptions } from '#node/network/pod-network.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { assert } from '#stdx/assert.ts';

/** Resolves when the node's pod ranges are known and its bridge has their addresses. */
export type AssignPodRanges = (signal: AbortSignal) => Promise<readonly string[]>;

/** Structured-cloneable. */
export interface NodeNetworkData {
  readonly nodeName: string;
  /** The node's InternalIPs; the kubelet API is served at the first. */
  readonly addresses: readonly string[];
  /** Undefined: not known yet. */
  readonly podCIDRs: readonly string[] | undefined;
  /** Ranges of all pods of the cluster. */
  readonly clusterCIDRs: readonly string[];
  /** Routes to the pods of other nodes. Without it they are somebody else's. */
  readonly podNetwork?: Pick<PodNetworkOptions, 'mode' | 'vxlanId' | 'mtu'> | undefined;
  /** The node's directory; the agent's files are in `kubelet` below it. */
  readonly dir: string;
}

interface NodeNetworkOptions {
  readonly context: ComponentContext;
  readonly data: NodeNetworkData;
  readonly containerd: Pick<Containerd, 'layout' | 'cri' | 'configureNetwork'>;
  /** Where data has no ranges. */
  readonly assign?: AssignPodRanges | undefined;
}

/** Upstream's reason and beginning of a runtime without a network. */
const NO_RANGE = networkNotReady(
  'NetworkPluginNotReady',
  'Network plugin returns error: no pod range is assigned to this node yet',
);

export class NodeNetwork {
  readonly readiness = new NetworkReadiness();
  readonly policies: ReturnType<typeof createNetworkPolicies>;
  readonly #options: NodeNetworkOptions;
  readonly #stop = new AbortController();
  /** Started in this order. */
  #companions: readonly Component[] = [];
  #podCIDRs: readonly string[];
  #later: Promise<void> | undefined;
  #failed: (error: Error) => void = () => {};

  constructor(options: NodeNetworkOptions) {
    const { context, data, containerd } = options;
    this.#options = options;
    this.#podCIDRs = data.podCIDRs ?? [];
    if (!data.podCIDRs) this.readiness.report('pod-range', NO_RANGE);
    this.policies = createNetworkPolicies({
      ...context,
      nodeName: data.nodeName,
      podCIDRs: () => this.#podCIDRs,
      table: containerd.layout.policyTable,
      sandboxes: () => sandboxAddresses(containerd.cri),
    });
  }

  /** What pods need from their first moment on. Where the ranges are not known it does not wait for them. */
  async startBeforeAgent(): Promise<void> {
    if (this.#options.data.podCIDRs) return this.policies.start();
    this.#later = this.#startLater().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#failed(error instanceof Error ? error : new Error(String(error)));
    });
  }

  async startAfterAgent(): Promise<void> {
    if (!this.#later && !this.#stop.signal.aborted) await this.#startCompanions();
  }

  onFailure(callback: (error: Error) => void): void {
    this.#failed = callback;
  }

  async stopBeforeAgent(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    await this.#later;
    for (const companion of this.#companions.toReversed()) await companion.stop();
    this.#companions = [];
  }

  /** Pods that are being stopped still need them. */
  stopAfterAgent(): Promise<void> {
    return this.policies.stop();
  }

  async #startLater(): Promise<void> {
    const { assign, containerd, context } = this.#options;
    assert(assign !== undefined, 'a node without pod ranges gets them later');
    const { signal } = this.#stop;
    this.#podCIDRs = await assign(signal);
    signal.throwIfAborted();
    await containerd.configureNetwork(this.#podCIDRs);
    await this.policies.start();
    this.readiness.report('pod-range', undefined);
    context.log.info('the network of pods is ready', { podCIDRs: this.#podCIDRs.join() });
    signal.throwIfAborted();
    await this.#startCompanions();
  }

  async #startCompanions(): Promise<void> {
    this.#companions = this.#makeCompanions();
    for (const companion of this.#companions) await companion.start();
  }

  #makeCompanions(): readonly Component[] {
    const { context, data, containerd } = this.#options;
    const { nodeName, podNetwork, clusterCIDRs, addresses, dir } = data;
    const podCIDRs = this.#podCIDRs;
    const routes =
      podNetwork &&
      createPodNetwork({
        ...context,
        ...podNetwork,
        names: containerd.layout,
        nodeName,
        podCIDRs,
        clusterCIDRs,
        nodeAddress: addresses[0] ?? '',
        wireguardDir: dir,
      });
    const firewall = watchFirewall({
      ...context,
      nodeName,
      network: { bridge: containerd.layout.bridge, podCIDRs },
    });
    return routes ? [routes, firewall] : [firewall];
  }
}

function watchFirewall(options: Omit<FirewallConditionOptions, 'events'>): Component {
  const { api, nodeName, clock, log } = options;
  const events = createEventRecorder(api, { component: 'kubelet', host: nodeName, clock, log });
  const condition = createFirewallCondition({ ...options, events });
  return {
    name: condition.name,
    start: () => condition.start(),
    async stop() {
      await condition.stop();
      events.stop();
    },
  };
}

/** Of the sandboxes that are ready, by the UIDs of their pods. */
async function sandboxAddresses(cri: CriClient): Promise<ReadonlyMap<string, readonly string[]>> {
  const view = new RuntimeView(cri);
  const found = new Map<string, readonly string[]>();
  for (const uid of (await view.digests()).keys()) {
    const sandbox = activeSandbox(await view.pod(uid));
    if (sandbox && !sandbox.hostNetwork && sandbox.ips.length > 0) found.set(uid, sandbox.ips);
  }
  return found;
}
