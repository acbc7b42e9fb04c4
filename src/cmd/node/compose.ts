/** The node of this machine in all-in-one: its own containerd, the node's certificates, and the node agent over both. */
import { join } from 'node:path';
import type { KeyPair } from '#pki/certificate.ts';
import { createEventRecorder } from '#client/event-recorder.ts';
import {
  createFirewallCondition,
  type FirewallConditionOptions,
} from '#node/agent/node/firewall-condition.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '#node/agent/node-agent.ts';
import { createContainerd } from '#node/containerd/containerd.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import { createPodNetwork, type PodNetworkOptions } from '#node/network/pod-network.ts';
import { unmountBelow } from '#node/containerd/teardown.ts';
import { activeSandbox, RuntimeView } from '#node/agent/runtime-view.ts';
import type { CriClient } from '#node/cri/client.ts';
import { createNetworkPolicies } from '#node/network-policy/network-policies.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createDetector } from './problem-monitors.ts';
import { createRebootCommand } from './reboot-command.ts';
import type { NodeSettings } from './settings.ts';
import { followServing, issueServing, kubeletAddresses } from './serving-certificate.ts';
import { KUBERNETES_VERSION } from '../version.ts';

/** Structured-cloneable. */
export interface RealNodeData {
  readonly nodeName: string;
  /** The node's InternalIPs; the kubelet API is served at the first. */
  readonly addresses: readonly string[];
  /** The bridge's addresses: where pods reach this machine. */
  readonly gateways: readonly string[];
  readonly podCIDRs: readonly string[];
  /** Ranges of all pods of the cluster. */
  readonly clusterCIDRs: readonly string[];
  /** Routes to the pods of other nodes. Without it they are somebody else's. */
  readonly podNetwork?: Pick<PodNetworkOptions, 'mode' | 'vxlanId' | 'mtu'> | undefined;
  readonly clusterDNS: readonly string[];
  /** The node's directory; the agent's files are in `kubelet` below it. */
  readonly dir: string;
  readonly containerdDir: string;
  /** Authority of the API server's client certificate. */
  readonly caPem: string;
  /** The kubelet API's certificate; or the cluster's pki folder, to issue it from. */
  readonly serving: KeyPair | { readonly pkiDir: string };
  /** For /flagz and /configz. */
  readonly shown?: NodeAgentOptions['shown'];
  /** Where flags say so. */
  readonly settings?: NodeSettings;
}

export interface RealNode {
  readonly component: Component;
  /** For metrics: a request for a certificate failed. */
  renewFailed(of: 'client' | 'serving'): void;
  /** The kubelet API shows this certificate from now on, or believes clients of these authorities. */
  replaceTls: NodeAgent['replaceTls'];
  /** Stops the agent, then the pods gracefully, then containerd. Throws what could not be stopped, after all of it was tried. */
  stopContainers(): Promise<void>;
  /** Ends the supervision: containers and containerd run on. */
  leave(): Promise<void>;
}

interface RealNodeOptions extends ComponentContext {
  readonly data: RealNodeData;
  /** The certificate that the node shows the API server now, PEM, for metrics. */
  readonly clientCertificate?: (() => string | undefined) | undefined;
}

const CLUSTER_DOMAIN = 'cluster.local';
/** Users with full access to the kubelet API: the API server, by the name in its certificate. */
const API_SERVER = 'kube-apiserver-kubelet-client';

/** Starts containerd, or adopts the one that runs. Throws ContainerdError and PkiError. */
export async function createRealNode({
  data,
  clientCertificate,
  ...context
}: RealNodeOptions): Promise<RealNode> {
  const {
    nodeName,
    addresses,
    podCIDRs,
    clusterCIDRs,
    podNetwork,
    clusterDNS,
    dir,
    containerdDir,
    caPem,
    settings: { agent: { rootDir, ...agent } = {}, tls, reserved = {}, problems, ...limits } = {},
  } = data;
  const { clock, log } = context;
  const containerd = createContainerd({
    dir: containerdDir,
    podCIDRs,
    clusterCIDRs,
    podMtu: podNetwork?.mtu,
    clock,
    log,
  });
  const [serving] = await Promise.all([servingCertificate(data, clock.now()), containerd.start()]);
  const decodePod =
    agent.staticPodPath === undefined ? undefined : (await import('./decode-static-pod.ts')).decodeStaticPod;
  const agentDir = rootDir ?? join(dir, 'kubelet');
  const networkPolicies = createNetworkPolicies({
    ...context,
    nodeName,
    podCIDRs,
    table: containerd.layout.policyTable,
    sandboxes: () => sandboxAddresses(containerd.cri),
  });
  const component = createNodeAgent({
    context,
    networkPolicies,
    nodeName,
    cri: containerd.cri,
    cgroupRoot: containerd.cgroupRoot,
    dir: agentDir,
    imageDir: containerd.layout.root,
    registryDir: containerd.layout.registryDir,
    imageMounts: containerd.imageMounts,
    podCIDRs,
    clusterDNS,
    clusterDomain: CLUSTER_DOMAIN,
    ...limits,
    ...agent,
    decodePod,
    addresses,
    kubeletVersion: KUBERNETES_VERSION,
    clientCertificate,
    shown: data.shown,
    tls: { ...serving, ...tls, clientCaPem: caPem, clients: [API_SERVER] },
    reserved: Object.fromEntries(Object.entries(reserved).map(([name, text]) => [name, parseQuantity(text)])),
  });
  const firewall = watchFirewall({
    ...context,
    nodeName,
    network: { bridge: containerd.layout.bridge, podCIDRs },
  });
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
  const detector = createDetector({ context, nodeName, dir, cri: containerd.cri, settings: problems });
  const reboots =
    problems?.rebootCommand === undefined
      ? undefined
      : createRebootCommand({ ...context, nodeName, command: problems.rebootCommand });
  const companions = [routes, firewall, detector, reboots].filter((companion) => companion !== undefined);
  const followed =
    'pkiDir' in data.serving
      ? followServing({
          pkiDir: data.serving.pkiDir,
          nodeName,
          current: { ...serving, clientCaPem: caPem },
          replace: (next) => component.replaceTls(next),
          clock,
          log,
        })
      : undefined;
  return {
    component: withFirst(networkPolicies, companions.reduce<Component>(withCompanion, component)),
    renewFailed: (of) => component.renewFailed(of),
    replaceTls: (next) => component.replaceTls(next),
    async stopContainers() {
      // Otherwise it would restart what is being stopped.
      for (const companion of companions.toReversed()) await companion.stop();
      await component.stop();
      await networkPolicies.stop();
      const problems = [...(await containerd.stopAll()), ...(await unmountBelow([agentDir]))];
      if (problems.length > 0)
        throw new ContainerdError('teardown', `not everything could be stopped: ${problems.join('; ')}`);
    },
    leave() {
      followed?.close();
      return containerd.stop();
    },
  };
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

/** The agent needs it for the first pod that it starts, and as long as it stops any. */
function withFirst(first: Component, component: Component): Component {
  return {
    name: component.name,
    async start() {
      await first.start();
      await component.start();
    },
    async stop() {
      await component.stop();
      await first.stop();
    },
  };
}

/** Started after, and stopped before, the component that makes the Node. */
function withCompanion(component: Component, companion: Component): Component {
  return {
    name: component.name,
    async start() {
      await component.start();
      await companion.start();
    },
    async stop() {
      await companion.stop();
      await component.stop();
    },
  };
}

async function servingCertificate(
  { serving, caPem, nodeName, addresses: nodeAddresses, gateways }: RealNodeData,
  nowMs: number,
): Promise<KeyPair> {
  if ('keyPem' in serving) return serving;
  const addresses = kubeletAddresses({ addresses: nodeAddresses, gateways });
  return issueServing({ pkiDir: serving.pkiDir, caPem, nodeName, addresses, nowMs });
}
