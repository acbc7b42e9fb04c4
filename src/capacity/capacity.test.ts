/** What is asked of small clusters: the answers, and that asking changes nothing. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Node, Pod } from '#api/types.ts';
import { Simulation } from '#scheduler/simulation.ts';
import { node, noResourceClaims, pod, storage } from '#scheduler/testing/snapshot.ts';
import { countMore, lossOf, nodesFor, spareNodes } from './questions.ts';
import { reportCapacity } from './report.ts';

const FACTS = {
  namespaceLabels: () => ({}),
  defaultSelector: () => undefined,
  resourceClaims: noResourceClaims,
  volumes: storage({}),
};

function simulate(nodes: readonly Node[], pods: readonly Pod[] = []): Simulation {
  return new Simulation({ nodes, pods }, FACTS);
}

function stateOf(simulation: Simulation): unknown {
  return simulation.nodeNames.toSorted().map((name) => {
    const { requested, pods } = simulation.use(name);
    return {
      name,
      milliCPU: requested.milliCPU,
      pods: pods.map(({ metadata }) => metadata?.name).toSorted(),
    };
  });
}

function owned(one: Pod, kind: string, name: string): Pod {
  const owner = { apiVersion: 'apps/v1', kind, name, uid: name, controller: true };
  return { ...one, metadata: { ...one.metadata, ownerReferences: [owner] } };
}

function replica(name: string, options: Parameters<typeof pod>[1]): Pod {
  return owned(pod(name, { ...options, labels: { 'pod-template-hash': '5d8' } }), 'ReplicaSet', 'web-5d8');
}

it('counts how many more fit', () => {
  const simulation = simulate([node('a'), node('b', { cpu: '1' })], [pod('x', { on: 'a', cpu: '1' })]);
  const before = stateOf(simulation);
  assert.equal(countMore(simulation, { pod: pod('y', { cpu: '1' }), limit: 100 }), 4);
  assert.equal(countMore(simulation, { pod: pod('y', { cpu: '1' }), limit: 2 }), 2);
  assert.deepEqual(stateOf(simulation), before);
});

it('says which pods a failing node leaves without a place, those of DaemonSets left out', () => {
  const simulation = simulate(
    [node('a'), node('b')],
    [
      pod('large', { on: 'a', cpu: '3' }),
      pod('small', { on: 'a', cpu: '500m' }),
      owned(pod('agent', { on: 'a', cpu: '100m' }), 'DaemonSet', 'agent'),
      pod('other', { on: 'b', cpu: '2' }),
    ],
  );
  const before = stateOf(simulation);
  const { homeless } = lossOf(simulation, 'a');
  assert.deepEqual(
    homeless.map((one) => [one.pod.metadata?.name, one.message]),
    [['large', '0/1 nodes are available: 1 Insufficient cpu.']],
  );
  assert.deepEqual(lossOf(simulation, 'b').homeless.length, 1);
  assert.deepEqual(stateOf(simulation), before);
});

it('takes nodes out as long as their pods fit on what is left', () => {
  const simulation = simulate(
    [node('a'), node('b'), node('c')],
    ['a', 'b', 'c'].map((on) => pod(`on-${on}`, { on, cpu: '2' })),
  );
  const before = stateOf(simulation);
  assert.deepEqual(spareNodes(simulation, ['a', 'b', 'c']), ['a']);
  assert.deepEqual(stateOf(simulation), before);
});

it('counts the nodes for more replicas, with what DaemonSets take on each', () => {
  const like = node('a', { cpu: '4' });
  const agent = owned(pod('agent', { on: 'a', cpu: '1' }), 'DaemonSet', 'agent');
  const simulation = simulate([like], [agent, pod('x', { on: 'a', cpu: '2' })]);
  const before = stateOf(simulation);
  const question = { pod: pod('y', { cpu: '1' }), count: 8, like: { node: like, pods: [agent] } };
  assert.deepEqual(nodesFor(simulation, question), { onPresent: 1, onAdded: 7, addedNodes: 3 });
  assert.deepEqual(stateOf(simulation), before);
});

it('says why pods fit on no added node', () => {
  const like = node('a', { labels: { disk: 'hdd' } });
  const simulation = simulate([like]);
  const wanted = pod('y', { spec: { nodeSelector: { disk: 'ssd' } } });
  const needed = nodesFor(simulation, { pod: wanted, count: 3, like: { node: like, pods: [] } });
  assert.deepEqual(needed, {
    onPresent: 0,
    onAdded: 0,
    addedNodes: 0,
    left: { count: 3, reasons: ["node(s) didn't match Pod's node affinity/selector"] },
  });
  assert.deepEqual(simulation.nodeNames, ['a']);
});

it('adds a node for each replica that may not share one', () => {
  const apart = pod('y', {
    labels: { app: 'y' },
    spec: {
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { labelSelector: { matchLabels: { app: 'y' } }, topologyKey: 'kubernetes.io/hostname' },
          ],
        },
      },
    },
  });
  const like = node('a');
  const simulation = simulate([like, node('b')]);
  const needed = nodesFor(simulation, { pod: apart, count: 5, like: { node: like, pods: [] } });
  assert.deepEqual(needed, { onPresent: 2, onAdded: 3, addedNodes: 3 });
});

it('adds nodes like a tainted one without the taints of its moment', () => {
  const like = node('a', {
    spec: {
      unschedulable: true,
      taints: [
        { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' },
        { key: 'node.kubernetes.io/not-ready', effect: 'NoExecute' },
      ],
    },
  });
  const simulation = simulate([like]);
  const question = { pod: pod('y', { cpu: '2' }), count: 3, like: { node: like, pods: [] } };
  assert.deepEqual(nodesFor(simulation, question), { onPresent: 0, onAdded: 3, addedNodes: 2 });
});

it('refuses pods with resource claims by name', () => {
  const simulation = simulate([node('a')]);
  const claiming = pod('y', { spec: { resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu' }] } });
  const found = simulation.place(claiming);
  assert.deepEqual(found.kind === 'none' && found.reasons, ['resource claims are not simulated']);
});

it('reports use, what is stranded, what breaks and what fits', () => {
  const pods = [
    replica('web-1', { on: 'full', cpu: '4', memory: '1Gi' }),
    replica('web-2', { on: 'part', cpu: '2', memory: '1Gi' }),
    pod('waiting', { cpu: '8' }),
  ];
  const report = reportCapacity(simulate([node('full'), node('part')], pods), { pods, budgets: [] });
  assert.deepEqual(report.total.cpu, { requested: 6_000, allocatable: 8_000 });
  assert.deepEqual(
    report.nodes.map(({ name, stranded }) => [name, stranded]),
    [
      ['full', ['memory', 'pods']],
      ['part', []],
    ],
  );
  assert.equal(report.stranded.memory, 7 * 2 ** 30);
  assert.deepEqual(
    report.losses.map((loss) => [loss.node, loss.homeless.length]),
    [
      ['full', 1],
      ['part', 1],
    ],
  );
  assert.deepEqual(report.spare, []);
  assert.equal(report.headroom[0]?.deployment, 'default/web');
  assert.deepEqual(report.pending, [
    { pod: 'default/waiting', message: '0/2 nodes are available: 2 Insufficient cpu.' },
  ]);
});
