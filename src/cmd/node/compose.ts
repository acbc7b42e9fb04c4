/** The node of this machine in all-in-one: its own containerd, the node's certificates, and the node agent over both. */
import { join } from 'node:path';
import type { KeyPair } from '#pki/certificate.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '#node/agent/node-agent.ts';
import { createContainerd } from '#node/containerd/containerd.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import { unmountBelow } from '#node/containerd/teardown.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { NodeNetwork, type AssignPodRanges, type NodeNetworkData } from './node-network.ts';
import { createDetector } from './problem-monitors.ts';
import { createRebootCommand } from './reboot-command.ts';
import type { NodeSettings } from './settings.ts';
import { followServing, issueServing, kubeletAddresses } from './serving-certificate.ts';
import { KUBERNETES_VERSION } from '../version.ts';

/** Structured-cloneable. */
export interface RealNodeData extends NodeNetworkData {
  /** The bridge's addresses: where pods reach this machine. */
  readonly gateways: readonly string[];
  readonly clusterDNS: readonly string[];
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
  /** Where data has no pod ranges: the node starts, and pods without the host's network wait until this resolves. */
  readonly assignPodRanges?: AssignPodRanges | undefined;
  /** The certificate that the node shows the API server now, PEM, for metrics. */
  readonly clientCertificate?: (() => string | undefined) | undefined;
}

const CLUSTER_DOMAIN = 'cluster.local';
/** Users with full access to the kubelet API: the API server, by the name in its certificate. */
const API_SERVER = 'kube-apiserver-kubelet-client';

/** Starts containerd, or adopts the one that runs. Throws ContainerdError and PkiError. */
export async function createRealNode({
  data,
  assignPodRanges,
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
  const network = new NodeNetwork({ context, data, containerd, assign: assignPodRanges });
  const kubelet = createNodeAgent({
    context,
    network: network.readiness,
    networkPolicies: network.policies,
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
  const detector = createDetector({ context, nodeName, dir, cri: containerd.cri, settings: problems });
  const reboots =
    problems?.rebootCommand === undefined
      ? undefined
      : createRebootCommand({ ...context, nodeName, command: problems.rebootCommand });
  const companions = [detector, reboots].filter((companion) => companion !== undefined);
  const followed =
    'pkiDir' in data.serving
      ? followServing({
          pkiDir: data.serving.pkiDir,
          nodeName,
          current: { ...serving, clientCaPem: caPem },
          replace: (next) => kubelet.replaceTls(next),
          clock,
          log,
        })
      : undefined;
  const component: Component = {
    name: kubelet.name,
    async start() {
      await network.startBeforeAgent();
      await kubelet.start();
      await network.startAfterAgent();
      for (const companion of companions) await companion.start();
    },
    async stop() {
      for (const companion of companions.toReversed()) await companion.stop();
      await network.stopBeforeAgent();
      await kubelet.stop();
      await network.stopAfterAgent();
    },
    onFailure: (callback) => network.onFailure(callback),
  };
  return {
    component,
    renewFailed: (of) => kubelet.renewFailed(of),
    replaceTls: (next) => kubelet.replaceTls(next),
    async stopContainers() {
      // Otherwise the agent would restart what is being stopped.
      await component.stop();
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

async function servingCertificate(
  { serving, caPem, nodeName, addresses: nodeAddresses, gateways }: RealNodeData,
  nowMs: number,
): Promise<KeyPair> {
  if ('keyPem' in serving) return serving;
  const addresses = kubeletAddresses({ addresses: nodeAddresses, gateways });
  return issueServing({ pkiDir: serving.pkiDir, caPem, nodeName, addresses, nowMs });
}
