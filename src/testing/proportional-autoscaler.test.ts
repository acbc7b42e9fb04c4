/** The controller as its own service account on a real API server: scales follow Nodes, and bad parameters are reported. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { after, before, describe, it } from 'node:test';
import type { Deployment } from '#api/types.ts';
import { configMaps, deployments, endpointSlices, events, nodes, statefulSets } from '#client/refs.ts';
import { nodeIdentity } from '#cmd/all-in-one/identities.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { createChosenDns } from '#dns/chosen-dns.ts';
import { createClusterDns, type ClusterDns } from '#dns/cluster-dns.ts';
import type { Component } from '#runtime/component.ts';
import { silentLogger } from '#stdx/log.ts';
import { ProportionalScales } from '#addons/proportional-autoscaler/metrics.ts';
import { proportionalAutoscalerController } from '#addons/proportional-autoscaler/proportional-autoscaler-controller.ts';

const TEMPLATE = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', image: 'i' }] },
};
const spec = { selector: { matchLabels: { app: 'web' } }, template: TEMPLATE };

describe('the proportional autoscaler', () => {
  let world: TestWorld;
  const scales = new ProportionalScales();
  before(async () => {
    world = await startTestWorld([proportionalAutoscalerController({ scales })]);
    await world.namespace('shop');
    await createNode('n1', '3900m');
  });
  after(() => world?.stop());

  async function createNode(name: string, cpu: string, labels: Record<string, string> = {}): Promise<void> {
    await world.node(name, (node) => {
      node.metadata!.labels = labels;
      Object.assign((node as { status?: object }).status!, { allocatable: { cpu } });
    });
  }
  const create = (name: string, data: Record<string, string>, annotations: Record<string, string>) =>
    world.api.create(configMaps, {
      metadata: {
        name,
        namespace: 'shop',
        labels: { 'proportional-autoscaler.capstan.dev/enabled': 'true' },
        annotations,
      },
      data,
    });
  const target = (text: string) => ({ 'proportional-autoscaler.capstan.dev/target': text });
  const replicasOf = async (name: string, namespace = 'shop'): Promise<number | undefined> =>
    (await world.api.get(deployments, { name, namespace })).spec?.replicas;
  const eventsOf = async (name: string): Promise<string[]> =>
    (await world.api.list(events, { fieldSelector: `involvedObject.name=${name}` })).items.map(
      ({ reason, message }) => `${reason}: ${message}`,
    );
  const reported = (name: string, words: RegExp): Promise<unknown> =>
    world.until(`${name}: ${words}`, async () => (await eventsOf(name)).some((one) => words.test(one)));

  it('scales each target with the nodes, up and down', async () => {
    await world.api.create(deployments, { metadata: { name: 'web', namespace: 'shop' }, spec });
    await world.api.create(statefulSets, {
      metadata: { name: 'db', namespace: 'shop' },
      spec: { ...spec, serviceName: 'db' },
    });
    const linear = JSON.stringify({ coresPerReplica: 2, min: 1, max: 4 });
    await create('web', { linear }, target('Deployment/web, statefulsets/db'));
    await world.until('2 of 3.9 cores', async () => (await replicasOf('web')) === 2);
    await createNode('n2', '2');
    await world.until('3 of 5.9 cores', async () => (await replicasOf('web')) === 3);
    await world.until(
      '3 of the other',
      async () => (await world.api.get(statefulSets, { name: 'db', namespace: 'shop' })).spec?.replicas === 3,
    );
    await reported(
      'web',
      /^ScaledTarget: Scaled deployment\/web from 2 to 3 replicas: 2 of 2 nodes and 6 of 6 cores/,
    );
    assert.match(scales.render().join('\n'), /_replicas\{configmap="shop\/web"\} 3\n/);
    await world.api.patch(nodes, { name: 'n1' }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    await world.until('1 of 2 cores', async () => (await replicasOf('web')) === 1);
    await world.api.patch(nodes, { name: 'n1' }, { type: 'merge', patch: { spec: { unschedulable: null } } });
    await world.until('3 again', async () => (await replicasOf('web')) === 3);
  });

  it('restores a scale that somebody changed', async () => {
    await world.api.patch(
      deployments,
      { name: 'web', namespace: 'shop' },
      { type: 'merge', patch: { spec: { replicas: 9 } } },
    );
    await world.until('3 again', async () => (await replicasOf('web')) === 3);
  });

  it('counts only nodes with the labels', async () => {
    await createNode('edge', '64', { role: 'edge' });
    await world.api.create(deployments, {
      metadata: { name: 'relay', namespace: 'shop' },
      spec,
    } as Deployment);
    await create(
      'relay',
      { ladder: '{"coresToReplicas":[[0,1],[64,7],[70,9]]}' },
      { ...target('deployment/relay'), 'proportional-autoscaler.capstan.dev/nodelabels': 'role=edge' },
    );
    await world.until('7 of 64 cores', async () => (await replicasOf('relay')) === 7);
  });

  it('reports what is wrong, and goes on with the others', async () => {
    await create('bad', { linear: '{"nodesPerReplica":-1}' }, target('deployment/web'));
    await reported('bad', /^ScalingFailed: linear.nodesPerReplica is -1; it should not be negative/);
    await create('lost', { linear: '{"nodesPerReplica":1}' }, target('deployment/nowhere'));
    await reported('lost', /deployment\/nowhere cannot be scaled: .*not found/);
    await create('strange', { linear: '{"nodesPerReplica":1}' }, target('daemonset/web'));
    await reported('strange', /has "daemonset\/web"; it should be KIND\/NAME/);
    await create('aimless', { linear: '{"nodesPerReplica":1}' }, {});
    await reported('aimless', /it has no annotation proportional-autoscaler\.capstan\.dev\/target/);
    await world.api.delete(nodes, { name: 'n2' });
    await world.until('4 of 67.9 cores', async () => (await replicasOf('web')) === 4);
    assert.equal((await eventsOf('bad')).length, 1);
  });

  it("the cluster's DNS has parameters by default, and never one replica with two nodes", async () => {
    const labels = { 'k8s-app': 'kube-dns' };
    await world.api.create(deployments, {
      metadata: { name: 'coredns', namespace: 'kube-system', labels },
      spec: { ...spec, replicas: 1 },
    });
    await world.until('two', async () => (await replicasOf('coredns', 'kube-system')) === 2);
    const { data } = await world.api.get(configMaps, { name: 'dns-autoscaler', namespace: 'kube-system' });
    assert.deepEqual(JSON.parse(data!['linear']!), {
      coresPerReplica: 256,
      nodesPerReplica: 16,
      preventSinglePointFailure: true,
      includeUnschedulableNodes: true,
    });
    await world.api.delete(nodes, { name: 'edge' });
    await world.until(
      'one node, one replica',
      async () => (await replicasOf('coredns', 'kube-system')) === 1,
    );
  });
});

/** Servers of nodes are real, on loopback behind the addresses of their Nodes; the control plane's is an EndpointSlice as it writes it. */
describe('the DNS of machines', () => {
  let world: TestWorld;
  const servers = new Map<string, Component>();
  /** By HOST:PORT. */
  const listening = new Map<string, ClusterDns>();
  /** Addresses that another program has. */
  const taken = new Set<string>();
  before(async () => {
    const probe = ({ host, port }: { host: string; port: number }): Promise<boolean> =>
      Promise.resolve(listening.has(`${host}:${port}`));
    world = await startTestWorld([proportionalAutoscalerController({ probe })]);
    await createMachine('m1', '10.9.0.10');
    await world.api.create(endpointSlices, {
      metadata: {
        name: 'kube-dns-10-9-0-10-53',
        namespace: 'kube-system',
        labels: {
          'kubernetes.io/service-name': 'kube-dns',
          'endpointslice.kubernetes.io/managed-by': 'cluster-dns.capstan.dev',
        },
      },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.9.0.10'] }],
      ports: [{ name: 'dns', port: 53, protocol: 'UDP' }],
    });
  });
  after(async () => {
    for (const server of servers.values()) await server.stop();
    await world?.stop();
  });

  async function createMachine(name: string, address: string, zone = ''): Promise<void> {
    await world.node(name, (node) => {
      node.metadata!.labels = zone === '' ? {} : { 'topology.kubernetes.io/zone': zone };
      const addresses = [{ type: 'InternalIP', address }];
      Object.assign((node as { status?: object }).status!, { allocatable: { cpu: '4' }, addresses });
    });
  }
  async function createWorker(name: string, address: string, zone = ''): Promise<void> {
    await createMachine(name, address, zone);
    const context = {
      api: world.test.clientAs(nodeIdentity(name)),
      clock: world.clock,
      log: silentLogger,
      identity: name,
    };
    const server = createChosenDns({
      ...context,
      nodeName: name,
      port: 53,
      create: ({ listen }) => {
        const at = `${listen[0]!.address}:${listen[0]!.port}`;
        const dns = createClusterDns({
          ...context,
          listen: [{ address: '127.0.0.1', port: 0 }],
          upstream: [],
        });
        return {
          name: dns.name,
          addresses: listen,
          start: async () => {
            if (taken.has(at)) throw new Error('listen EADDRINUSE');
            await dns.start();
            listening.set(at, dns);
          },
          stop: async () => {
            listening.delete(at);
            await dns.stop();
          },
        };
      },
    });
    servers.set(name, server);
    await server.start();
  }
  const endpoints = async (): Promise<string> => {
    const slice = await world.find(endpointSlices, { name: 'kube-dns-nodes', namespace: 'kube-system' });
    return (slice?.endpoints ?? []).map(({ addresses, nodeName }) => `${nodeName} ${addresses[0]}`).join();
  };
  const become = (wanted: string): Promise<unknown> =>
    world.until(`endpoints ${wanted || 'none'}`, async () => (await endpoints()) === wanted);
  const setParameters = (linear: object): Promise<unknown> =>
    world.api.patch(
      configMaps,
      { name: 'dns-autoscaler', namespace: 'kube-system' },
      { type: 'merge', patch: { data: { linear: JSON.stringify(linear) } } },
    );

  it('a second node serves as soon as there is one, and answers', async () => {
    await world.until('parameters', () =>
      world.find(configMaps, { name: 'dns-autoscaler', namespace: 'kube-system' }),
    );
    assert.equal(await endpoints(), '');
    await createWorker('w1', '10.9.0.11');
    await become('w1 10.9.0.11');
    const resolver = new Resolver({ timeout: 2_000, tries: 1 });
    resolver.setServers([`127.0.0.1:${listening.get('10.9.0.11:53')!.addresses[0]!.port}`]);
    assert.deepEqual(await resolver.resolve4('kubernetes.default.svc.cluster.local'), ['10.96.0.1']);
    const { ports } = await world.api.get(endpointSlices, {
      name: 'kube-dns-nodes',
      namespace: 'kube-system',
    });
    assert.deepEqual(
      ports?.map((one) => `${one.protocol} ${one.port}`),
      ['UDP 53', 'TCP 53'],
    );
  });

  it('follows the number of nodes, over zones, and goes back', async () => {
    await createWorker('w2', '10.9.0.12', 'a');
    await createWorker('w3', '10.9.0.13', 'b');
    await setParameters({ nodesPerReplica: 1, includeUnschedulableNodes: true });
    await become('w1 10.9.0.11,w2 10.9.0.12,w3 10.9.0.13');
    await setParameters({ nodesPerReplica: 2, preventSinglePointFailure: true });
    await world.until('one is left', async () => (await endpoints()).split(',').length === 1);
    await world.pass(15_000);
    const standby = (await world.api.list(nodes)).items.filter(
      ({ metadata }) => metadata.annotations?.['dns.capstan.dev/serving'] === 'standby',
    );
    assert.equal(standby.length, 2);
    await setParameters({ nodesPerReplica: 1 });
    await become('w1 10.9.0.11,w2 10.9.0.12,w3 10.9.0.13');
  });

  it('a server that ends is left out, and another takes its place', async () => {
    await setParameters({ nodesPerReplica: 2, preventSinglePointFailure: true });
    await world.until('one is left', async () => (await endpoints()).split(',').length === 1);
    const [name = ''] = (await endpoints()).split(' ');
    await servers.get(name)!.stop();
    servers.delete(name);
    await world.until('another serves', async () => {
      const now = await endpoints();
      return now !== '' && !now.includes(`${name} `);
    });
  });

  it('where another program has the port, another Node is chosen', async () => {
    taken.add('10.9.0.14:53');
    await createWorker('a-taken', '10.9.0.14');
    await setParameters({ nodesPerReplica: 1, includeUnschedulableNodes: true });
    await world.until('it failed', async () => {
      const { metadata } = await world.api.get(nodes, { name: 'a-taken' });
      return (
        metadata.annotations?.['dns.capstan.dev/serving'] === 'failed' &&
        !metadata.labels?.['dns.capstan.dev/server']
      );
    });
    await createWorker('w5', '10.9.0.15');
    await world.until('another serves', async () => (await endpoints()).includes('w5 '));
  });

  it('a Node that names an address of another machine is not believed', async () => {
    const chosen = (await endpoints()).split(' ')[0]!;
    await servers.get(chosen)!.stop();
    servers.delete(chosen);
    await createMachine('liar', '10.9.0.66');
    await world.api.patch(
      nodes,
      { name: 'liar' },
      {
        type: 'merge',
        patch: { metadata: { annotations: { 'dns.capstan.dev/serving': '10.9.0.13:53' } } },
      },
    );
    await setParameters({ nodesPerReplica: 1 });
    await world.until(
      'it is chosen',
      async () => (await world.api.get(nodes, { name: 'liar' })).metadata.labels?.['dns.capstan.dev/server'],
    );
    await world.pass(15_000);
    assert.ok(!(await endpoints()).includes('liar'));
  });
});
