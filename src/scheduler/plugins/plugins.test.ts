/** Each plugin by itself; together they are tested in ../schedule.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { seededRandom } from '#stdx/random.ts';
import type { SchedulerPlugin } from '../plugin.ts';
import { failureMessage, schedule } from '../schedule.ts';
import { node, pod, podInfo, world, type WorldOptions } from '../testing/snapshot.ts';
import { imageLocality } from './image-locality.ts';
import { interPodAffinity } from './inter-pod-affinity.ts';
import { nodeResourcesBalancedAllocation } from './node-resources-balanced-allocation.ts';
import { nodeDeclaredFeatures } from './node-declared-features.ts';
import { nodeUnschedulable } from './node-unschedulable.ts';
import { podTopologySpread } from './pod-topology-spread.ts';
import { taintToleration } from './taint-toleration.ts';

/** The selected node when only this plugin runs, otherwise why no node is feasible. */
function outcome(plugin: SchedulerPlugin, incoming: Pod, options: WorldOptions): string {
  const decision = schedule({
    pod: podInfo(incoming),
    snapshot: world(options).snapshot,
    profile: { schedulerName: 'default-scheduler', plugins: [plugin] },
    random: seededRandom(1),
  });
  return decision.kind === 'fits' ? decision.node : failureMessage(decision.failure);
}

test('ImageLocality prefers a node that has a large image', () => {
  const images = [{ names: ['big:1'], sizeBytes: 2 * 2 ** 30 }];
  const incoming = pod('p', { spec: { containers: [{ name: 'm', image: 'big:1' }] } });
  for (let seed = 0; seed < 5; seed++)
    assert.equal(outcome(imageLocality, incoming, { nodes: [node('x'), node('y', { images })] }), 'y');
});

test('InterPodAffinity filters by affinity and anti-affinity', () => {
  const term = { labelSelector: { matchLabels: { app: 'a' } }, topologyKey: 'kubernetes.io/hostname' };
  const required = { requiredDuringSchedulingIgnoredDuringExecution: [term] };
  const options = { nodes: [node('x'), node('y')], pods: [pod('a', { on: 'x', labels: { app: 'a' } })] };
  const near = pod('p', { spec: { affinity: { podAffinity: required } } });
  assert.equal(outcome(interPodAffinity(), near, options), 'x');
  const away = pod('p', { spec: { affinity: { podAntiAffinity: required } } });
  assert.equal(outcome(interPodAffinity(), away, options), 'y');
});

test('NodeResourcesBalancedAllocation prefers even use of CPU and memory', () => {
  const options = {
    nodes: [node('x', { cpu: '4', memory: '4Gi' }), node('y', { cpu: '4', memory: '64Gi' })],
  };
  const incoming = pod('p', { cpu: '2', memory: '2Gi' });
  assert.equal(outcome(nodeResourcesBalancedAllocation(), incoming, options), 'x');
});

test('NodeUnschedulable keeps pods off cordoned nodes, unless they tolerate the taint', () => {
  const options = { nodes: [node('x', { spec: { unschedulable: true } })] };
  assert.equal(
    outcome(nodeUnschedulable, pod('p'), options),
    '0/1 nodes are available: 1 node(s) were unschedulable.',
  );
  const tolerations = [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }];
  assert.equal(outcome(nodeUnschedulable, pod('p', { spec: { tolerations } }), options), 'x');
});

test('PodTopologySpread respects maxSkew', () => {
  const constraint = {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'DoNotSchedule',
    labelSelector: { matchLabels: { app: 'a' } },
  };
  const incoming = pod('p', { labels: { app: 'a' }, spec: { topologySpreadConstraints: [constraint] } });
  const options = { nodes: [node('x'), node('y')], pods: [pod('a', { on: 'x', labels: { app: 'a' } })] };
  assert.equal(outcome(podTopologySpread(), incoming, options), 'y');
});

test('TaintToleration filters by NoSchedule taints and prefers nodes without PreferNoSchedule taints', () => {
  const taint = (effect: string): { nodes: ReturnType<typeof node>[] } => ({
    nodes: [node('x', { spec: { taints: [{ key: 'k', effect }] } }), node('y')],
  });
  assert.equal(outcome(taintToleration, pod('p'), taint('NoSchedule')), 'y');
  assert.equal(outcome(taintToleration, pod('p'), taint('PreferNoSchedule')), 'y');
});

test('NodeDeclaredFeatures sends pods that restart all containers to nodes that can', () => {
  const action = 'RestartAllContainers';
  const restartPolicyRules = [{ action, exitCodes: { operator: 'In', values: [42] } }];
  const incoming = pod('p', { spec: { containers: [{ name: 'm', image: 'm:1', restartPolicyRules }] } });
  const declared = node('y');
  declared.status!.declaredFeatures = ['RestartAllContainersOnContainerExits'];
  assert.equal(outcome(nodeDeclaredFeatures, incoming, { nodes: [node('x'), declared] }), 'y');
  assert.equal(
    outcome(nodeDeclaredFeatures, incoming, { nodes: [node('x')] }),
    "0/1 nodes are available: 1 node(s) didn't match Pod's required features.",
  );
  assert.equal(outcome(nodeDeclaredFeatures, pod('q'), { nodes: [node('x')] }), 'x');
});
