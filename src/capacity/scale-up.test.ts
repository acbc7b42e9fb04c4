/** Decisions about node groups for pods that fit nowhere, and the groups' configuration. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Node, Pod } from '#api/types.ts';
import { Simulation } from '#scheduler/simulation.ts';
import { node, noResourceClaims, pod, storage, type PodOptions } from '#scheduler/testing/snapshot.ts';
import { seededRandom } from '#stdx/random.ts';
import { growthFrom } from './growth-from-groups.ts';
import { parseNodeGroups } from './node-groups.ts';
import { decideScaleUp, type ScaleUp } from './scale-up.ts';

const ZONE = 'topology.kubernetes.io/zone';

interface Group {
  readonly name: string;
  readonly cpu?: string;
  readonly zone?: string;
  readonly maxSize?: number;
  readonly price?: number;
  readonly priority?: number;
}

function config(groups: readonly Group[], more: object = {}): string {
  return JSON.stringify({
    apiVersion: 'capacity.capstan.dev/v1alpha1',
    kind: 'NodeGroups',
    groups: groups.map(({ name, cpu = '4', zone = 'z', maxSize = 10, ...rest }) => ({
      name,
      selector: `pool=${name}`,
      maxSize,
      template: { labels: { pool: name, [ZONE]: zone }, allocatable: { cpu, memory: '8Gi', pods: '110' } },
      ...rest,
    })),
    ...more,
  });
}

function decide(
  groups: string,
  {
    pods,
    nodes = [],
    running = [],
  }: { readonly pods: readonly Pod[]; readonly nodes?: readonly Node[]; readonly running?: readonly Pod[] },
): ScaleUp {
  const facts = {
    namespaceLabels: () => ({}),
    defaultSelector: () => undefined,
    resourceClaims: noResourceClaims,
    volumes: storage({}),
  };
  const simulation = new Simulation({ nodes, pods: running }, facts);
  const growth = growthFrom(parseNodeGroups(groups), simulation);
  return decideScaleUp(simulation, { ...growth, pods, random: seededRandom(1) });
}

function pods(count: number, options: PodOptions): Pod[] {
  return Array.from({ length: count }, (_, index) => pod(`p${index}`, options));
}

function sizes({ increases }: ScaleUp): Record<string, string> {
  return Object.fromEntries(increases.map(({ group, from, to }) => [group, `${from}->${to}`]));
}

it('leaves pods to the scheduler that fit already', () => {
  const nodes = [node('a', { cpu: '2', labels: { pool: 'small' } })];
  const decision = decide(config([{ name: 'small', cpu: '2' }]), { nodes, pods: pods(3, { cpu: '1' }) });
  assert.equal(decision.fitting.length, 2);
  assert.deepEqual(sizes(decision), { small: '1->2' });
});

it('packs pods of several sizes onto as few nodes as it takes', () => {
  const mixed = [...pods(4, { cpu: '1' }), ...pods(2, { cpu: '3' })];
  const decision = decide(config([{ name: 'g' }]), { pods: mixed });
  assert.deepEqual(sizes(decision), { g: '0->3' });
  assert.equal(decision.helped.length, 6);
});

it('chooses by least waste, price and priority', () => {
  const groups = [
    { name: 'small', cpu: '2', price: 1, priority: 1 },
    { name: 'large', cpu: '16', price: 5, priority: 10 },
  ];
  const by = (expander: string): unknown =>
    sizes(decide(config(groups, { expanders: [expander] }), { pods: pods(4, { cpu: '2', memory: '4Gi' }) }));
  assert.deepEqual(by('least-waste'), { small: '0->4' });
  assert.deepEqual(by('price'), { small: '0->4' });
  assert.deepEqual(by('priority'), { large: '0->2' });
});

it('asks the next expander where one does not decide', () => {
  const groups = [
    { name: 'dear', price: 2, priority: 1 },
    { name: 'cheap', price: 1, priority: 1 },
  ];
  const text = config(groups, { expanders: ['priority', 'price'] });
  assert.deepEqual(sizes(decide(text, { pods: pods(1, { cpu: '1' }) })), { cheap: '0->1' });
});

it('balances similar groups over zones, and others not', () => {
  const groups = [
    { name: 'a', zone: 'a' },
    { name: 'b', zone: 'b' },
    { name: 'c', zone: 'c', cpu: '5' },
  ];
  const nodes = [node('a1', { cpu: '4', labels: { pool: 'a', [ZONE]: 'a' } })];
  const running = [pod('full', { on: 'a1', cpu: '4' })];
  const text = config(groups.slice(0, 2), { balanceSimilarGroups: true });
  // Its Node has the label of its name, which is left out of the comparison.
  assert.deepEqual(sizes(decide(text, { nodes, running, pods: pods(5, { cpu: '4' }) })), {
    a: '1->3',
    b: '0->3',
  });
  const unlike = config([groups[0]!, groups[2]!], { balanceSimilarGroups: true });
  assert.deepEqual(sizes(decide(unlike, { pods: pods(2, { cpu: '4' }) })), { a: '0->2' });
});

it('goes on with other groups when one is as large as it may be', () => {
  const groups = [
    { name: 'cheap', price: 1, maxSize: 2 },
    { name: 'dear', price: 9 },
  ];
  const decision = decide(config(groups, { expanders: ['price'] }), { pods: pods(3, { cpu: '4' }) });
  assert.deepEqual(sizes(decision), { cheap: '0->2', dear: '0->1' });
});

it('keeps to the limits and says which', () => {
  const full = decide(config([{ name: 'g', maxSize: 1 }]), { pods: pods(2, { cpu: '4' }) });
  assert.deepEqual(sizes(full), { g: '0->1' });
  assert.deepEqual([...full.notHelped[0]!.reasons], [['g', 'max node group size reached']]);
  const limited = decide(config([{ name: 'g' }], { maxNodesTotal: 1 }), {
    nodes: [node('other', { cpu: '1' })],
    pods: pods(1, { cpu: '4' }),
  });
  assert.deepEqual([...limited.notHelped[0]!.reasons], [['g', 'max cluster size reached']]);
});

it('adds nothing for pods that would not fit on a new node either', () => {
  const choosy = pod('choosy', { spec: { nodeSelector: { disk: 'ssd' } } });
  const decision = decide(config([{ name: 'a' }, { name: 'b', cpu: '1' }]), {
    pods: [pod('huge', { cpu: '64' }), choosy],
  });
  assert.deepEqual(decision.increases, []);
  assert.deepEqual(
    decision.notHelped.map((one) => [one.pod.metadata?.name, one.reasons.get('a')]),
    [
      ['huge', 'Insufficient cpu'],
      ['choosy', "node(s) didn't match Pod's node affinity/selector"],
    ],
  );
});

it('refuses configurations that say nothing clear', () => {
  const bad = (text: string, message: RegExp): void => assert.throws(() => parseNodeGroups(text), message);
  bad(config([]), /groups has 0 entries; it should have between 1 and 500/);
  bad(config([{ name: 'a' }, { name: 'a' }]), /groups\[1\]\.name a is there twice/);
  bad(config([{ name: 'a', maxSize: -1 }]), /groups\[0\]\.maxSize is -1; it should be a number of Nodes/);
  bad(
    config([{ name: 'a' }], { expanders: ['cheapest'] }),
    /expanders has cheapest; they should be of least-waste/,
  );
  bad(config([{ name: 'a' }], { expanders: ['price'] }), /groups\[0\]\.price is missing/);
  bad(config([{ name: 'a', cpu: 'lots' }]), /allocatable\.cpu is lots; it should be a quantity/);
});
