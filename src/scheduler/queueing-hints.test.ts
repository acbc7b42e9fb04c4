import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Node, Pod } from '#api/types.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { ClusterEvent } from './plugin.ts';
import { defaultPlugins } from './plugins/list.ts';
import { SchedulingQueue } from './queue.ts';
import { node, pod } from './testing/snapshot.ts';

const HOST = 'kubernetes.io/hostname';
const term = { labelSelector: { matchLabels: { app: 'web' } }, topologyKey: HOST };
const required = { requiredDuringSchedulingIgnoredDuringExecution: [term] };
const ports = [{ name: 'c', image: 'c:1', ports: [{ containerPort: 80, hostPort: 80 }] }];
const tainted = node('x', { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } });
const web = pod('w', { on: 'x', labels: { app: 'web' }, cpu: '1' });
const other = pod('o', { on: 'x', labels: { app: 'db' } });
const spread: Partial<NonNullable<Pod['spec']>> = {
  topologySpreadConstraints: [{ ...term, maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule' }],
};

interface Case {
  readonly name: string;
  readonly refusedBy: string;
  readonly incoming: Pod;
  readonly event: readonly [kind: ClusterEvent, object?: Node | Pod, before?: Node | Pod];
  readonly helps: boolean;
}

const cases: readonly Case[] = [
  {
    name: 'a node with the label',
    refusedBy: 'NodeAffinity',
    incoming: pod('p', { spec: { nodeSelector: { a: 'b' } } }),
    event: ['node-added', node('x', { labels: { a: 'b' } })],
    helps: true,
  },
  {
    name: 'a node without it',
    refusedBy: 'NodeAffinity',
    incoming: pod('p', { spec: { nodeSelector: { a: 'b' } } }),
    event: ['node-added', node('x')],
    helps: false,
  },
  {
    name: 'a node that had it before',
    refusedBy: 'NodeAffinity',
    incoming: pod('p', { spec: { nodeSelector: { a: 'b' } } }),
    event: ['node-updated', node('x', { labels: { a: 'b' }, cpu: '9' }), node('x', { labels: { a: 'b' } })],
    helps: false,
  },
  {
    name: 'a taint that goes',
    refusedBy: 'TaintToleration',
    incoming: pod('p'),
    event: ['node-updated', node('x'), tainted],
    helps: true,
  },
  {
    name: 'a tainted node',
    refusedBy: 'TaintToleration',
    incoming: pod('p'),
    event: ['node-added', tainted],
    helps: false,
  },
  {
    name: 'an uncordoned node',
    refusedBy: 'NodeUnschedulable',
    incoming: pod('p'),
    event: ['node-updated', node('x'), node('x', { spec: { unschedulable: true } })],
    helps: true,
  },
  {
    name: 'a cordoned node',
    refusedBy: 'NodeUnschedulable',
    incoming: pod('p'),
    event: ['node-added', node('x', { spec: { unschedulable: true } })],
    helps: false,
  },
  {
    name: 'a pod with the port is gone',
    refusedBy: 'NodePorts',
    incoming: pod('p', { spec: { containers: ports } }),
    event: ['pod-deleted', pod('q', { on: 'x', spec: { containers: ports } })],
    helps: true,
  },
  {
    name: 'a pod without it is gone',
    refusedBy: 'NodePorts',
    incoming: pod('p', { spec: { containers: ports } }),
    event: ['pod-deleted', other],
    helps: false,
  },
  {
    name: 'a large node',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['node-added', node('x')],
    helps: true,
  },
  {
    name: 'a small node',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '20' }),
    event: ['node-added', node('x')],
    helps: false,
  },
  {
    name: 'a node that grows',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['node-updated', node('x'), node('x', { cpu: '1' })],
    helps: true,
  },
  {
    name: 'a node that takes more pods',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['node-updated', node('x'), node('x', { pods: '1' })],
    helps: true,
  },
  {
    name: 'a node with other labels',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['node-updated', node('x', { labels: { a: 'b' } }), node('x')],
    helps: false,
  },
  {
    name: 'a pod that requests less',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['pod-updated', other, web],
    helps: true,
  },
  {
    name: 'a pod with other labels',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p', { cpu: '2' }),
    event: ['pod-updated', other, other],
    helps: false,
  },
  {
    name: 'company',
    refusedBy: 'InterPodAffinity',
    incoming: pod('p', { spec: { affinity: { podAffinity: required } } }),
    event: ['pod-added', web],
    helps: true,
  },
  {
    name: 'strangers',
    refusedBy: 'InterPodAffinity',
    incoming: pod('p', { spec: { affinity: { podAffinity: required } } }),
    event: ['pod-added', other],
    helps: false,
  },
  {
    name: 'a pod that kept it away',
    refusedBy: 'InterPodAffinity',
    incoming: pod('p', { labels: { app: 'web' } }),
    event: ['pod-deleted', pod('q', { on: 'x', spec: { affinity: { podAntiAffinity: required } } })],
    helps: true,
  },
  {
    name: 'a counted pod',
    refusedBy: 'PodTopologySpread',
    incoming: pod('p', { spec: spread }),
    event: ['pod-deleted', web],
    helps: true,
  },
  {
    name: 'one that is not',
    refusedBy: 'PodTopologySpread',
    incoming: pod('p', { spec: spread }),
    event: ['pod-deleted', other],
    helps: false,
  },
  {
    name: 'one of another namespace',
    refusedBy: 'PodTopologySpread',
    incoming: pod('p', { spec: spread }),
    event: ['pod-deleted', pod('q', { namespace: 'other', labels: { app: 'web' } })],
    helps: false,
  },
  {
    name: 'the named node',
    refusedBy: 'NodeName',
    incoming: pod('p', { on: 'x' }),
    event: ['node-added', node('x')],
    helps: true,
  },
  {
    name: 'something of which nothing is known',
    refusedBy: 'NodeResourcesFit',
    incoming: pod('p'),
    event: ['node-updated'],
    helps: true,
  },
];

describe('a change wakes a refused pod only where it may help', () => {
  for (const { name, refusedBy, incoming, event, helps } of cases)
    test(`${refusedBy}: ${name}`, async () => {
      const clock = new FakeClock();
      const queue = new SchedulingQueue({ clock, plugins: defaultPlugins, onReady: () => {} });
      queue.set(incoming);
      queue.pop();
      queue.failed(incoming.metadata!.uid!, new Set([refusedBy]));
      queue.event(...event);
      await clock.advance(2_000);
      assert.equal(queue.activeSize, helps ? 1 : 0);
      queue.stop();
    });
});
