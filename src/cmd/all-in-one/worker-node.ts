/** The node thread of all-in-one: a real node with service proxy, or simulated nodes; and the cluster DNS. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { createGateway } from '#addons/gateway/gateway.ts';
import { createLoadBalancerSpeaker } from '#addons/load-balancer/speaker/speaker.ts';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createClusterDns } from '#dns/cluster-dns.ts';
import type { UserInfo } from '#machinery/object.ts';
import { createSimulatedNodes, simulatedNodeNames } from '#node/simulated/simulated-nodes.ts';
import { createServiceProxy } from '#proxy/service-proxy.ts';
import type { Component } from '#runtime/component.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { ThreadEndpoints } from './endpoints.ts';
import { identities, nodeIdentity } from './identities.ts';
import { createRealNode, type RealNode, type RealNodeData } from '../node/compose.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { STOP_CONTAINERS, workerEnd } from './worker-link.ts';

export interface NodeThreadData {
  readonly simulatedNodes: number;
  readonly clusterId: string;
  /** Of pods: one range, or one of each family with a comma between. */
  readonly clusterCIDR: string;
  readonly dnsServiceIP: string;
  /** Whether the components open ports for health and metrics. */
  readonly endpoints: boolean;
  /** Absent with simulated nodes. */
  readonly real?: RealNodeData;
}

const DNS_PORT = 10053;

const end = workerEnd<NodeThreadData>();
const log = createLogger({ format: 'json' }).with({ thread: 'node' });
const identity = `${hostname()}_${randomUUID()}`;
const components: Component[] = [];
const endpoints = new ThreadEndpoints(end.data.endpoints, log);
let realNode: RealNode | undefined;

async function clientFor(
  user: UserInfo,
  agent: string,
  { measured }: Pick<ReturnType<typeof endpoints.measure>, 'measured'> = endpoints.measure(),
): Promise<Client> {
  return createClient(measured(await end.transportFor(user)), {
    userAgent: `${agent}/${KUBERNETES_VERSION}`,
  });
}

async function startComponent(component: Component): Promise<void> {
  components.push(component);
  end.state(component.name, 'starting');
  await component.start();
  end.state(component.name, 'running');
}

end.run(
  async () => {
    releaseMemoryWhenQuiet({ clock: realClock, log, trims: false });
    const { real, simulatedNodes, clusterId, clusterCIDR, dnsServiceIP } = end.data;
    const context = { clock: realClock, identity };
    if (!real) {
      if (simulatedNodes === 0) return;
      const api = await clientFor(identities.simulatedNodes, 'simulated-nodes');
      await startComponent(
        createSimulatedNodes({
          ...context,
          api,
          log: log.with({ component: 'simulated-nodes' }),
          names: simulatedNodeNames(simulatedNodes),
          kubeletVersion: KUBERNETES_VERSION,
        }),
      );
      return;
    }
    const [ofNode, ofProxy, ofDns] = [endpoints.measure(), endpoints.measure(), endpoints.measure()];
    const [nodeApi, proxyApi, dnsApi, gatewayApi] = await Promise.all([
      clientFor(nodeIdentity(real.nodeName), 'kubelet', ofNode),
      clientFor(identities.proxy, 'kube-proxy', ofProxy),
      clientFor(identities.dns, 'coredns', ofDns),
      clientFor(identities.gateway, 'gateway', ofProxy),
    ]);
    realNode = await createRealNode({
      ...context,
      ...ofNode.context,
      api: nodeApi,
      log: log.with({ component: 'kubelet' }),
      data: real,
    });
    await Promise.all([
      startComponent(realNode.component),
      startComponent(
        createServiceProxy({
          ...context,
          ...ofProxy.context,
          api: proxyApi,
          log: log.with({ component: 'kube-proxy' }),
          nodeName: real.nodeName,
          clusterId,
          podCIDRs: clusterCIDR.split(','),
        }),
      ),
      startComponent(
        createLoadBalancerSpeaker({
          ...context,
          metrics: ofProxy.context.metrics,
          api: proxyApi,
          log: log.with({ component: 'load-balancer-speaker' }),
          nodeName: real.nodeName,
        }),
      ),
      startComponent(
        createGateway({
          ...context,
          metrics: ofProxy.context.metrics,
          api: gatewayApi,
          log: log.with({ component: 'gateway' }),
          nodeName: real.nodeName,
          address: real.addresses[0] ?? '',
          listenOn: ['0.0.0.0', '::'],
          dir: join(real.dir, 'gateway'),
        }),
      ),
      startComponent(
        createClusterDns({
          ...context,
          ...ofDns.context,
          api: dnsApi,
          log: log.with({ component: 'dns' }),
          clusterDomain: 'cluster.local',
          listen: real.gateways.map((address) => ({ address, port: DNS_PORT })),
          publish: { serviceIP: dnsServiceIP },
        }),
      ),
    ]);
    await endpoints.show({
      name: 'kube-proxy',
      port: 10_249,
      api: proxyApi,
      metrics: ofProxy.context.metrics,
    });
    await endpoints.show({ name: 'coredns', port: 9153, api: dnsApi, metrics: ofDns.context.metrics });
  },
  async (reason) => {
    if (reason === STOP_CONTAINERS) await realNode?.stopContainers();
    await endpoints.close();
    await Promise.all(components.toReversed().map((component) => component.stop()));
    await realNode?.leave();
  },
);
