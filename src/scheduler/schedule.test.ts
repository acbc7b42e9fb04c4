/** Table tests of scheduling decisions: one plugin at a time in small clusters, then properties over random ones. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Pod } from '#api/types.ts';
import { seededRandom } from '#stdx/random.ts';
import { findPreemption } from './preemption.ts';
import { failureMessage, nodesToFind, schedule, type Decision } from './schedule.ts';
import { defaultPlugins } from './plugins/list.ts';
import { insufficient } from './plugins/node-resources-fit.ts';
import { matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';
import { node, pod, podInfo, world, type WorldOptions } from './testing/snapshot.ts';

const profile = { schedulerName: 'default-scheduler', plugins: defaultPlugins };

function decide(incoming: Pod, options: WorldOptions): Decision {
  return schedule({
    pod: podInfo(incoming),
    snapshot: world(options).snapshot,
    profile,
    random: seededRandom(1),
  });
}

function outcome(incoming: Pod, options: WorldOptions): string {
  const decision = decide(incoming, options);
  return decision.kind === 'fits' ? decision.node : failureMessage(decision.failure);
}

const ZONE = 'topology.kubernetes.io/zone';
const antiAffinity = (labels: Record<string, string>, topologyKey = 'kubernetes.io/hostname') => ({
  podAntiAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: { matchLabels: labels }, topologyKey }],
  },
});

describe('node selection', () => {
  const cases: readonly {
    readonly name: string;
    readonly pod: Pod;
    readonly world: WorldOptions;
    readonly expect: string;
  }[] = [
    {
      name: 'nowhere without nodes',
      pod: pod('a'),
      world: { nodes: [] },
      expect: 'no nodes available to schedule pods',
    },
    {
      name: 'where there is room',
      pod: pod('a', { cpu: '2' }),
      world: { nodes: [node('small', { cpu: '1' }), node('big')] },
      expect: 'big',
    },
    {
      name: 'nowhere when all is short, with every reason counted',
      pod: pod('a', { cpu: '8', memory: '16Gi' }),
      world: { nodes: [node('x'), node('y')] },
      expect: '0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory.',
    },
    {
      name: 'not on a full node',
      pod: pod('a'),
      world: { nodes: [node('x', { pods: '1' })], pods: [pod('b', { on: 'x' })] },
      expect: '0/1 nodes are available: 1 Too many pods.',
    },
    {
      name: 'not on a node that has not reported its status',
      pod: pod('a'),
      world: { nodes: [{ metadata: { name: 'new' } }] },
      expect: '0/1 nodes are available: 1 Too many pods.',
    },
    {
      name: 'to the emptier node',
      pod: pod('a', { cpu: '1', memory: '1Gi' }),
      world: {
        nodes: [node('busy'), node('idle')],
        pods: [pod('b', { on: 'busy', cpu: '2', memory: '4Gi' })],
      },
      expect: 'idle',
    },
    {
      name: 'not on a cordoned node',
      pod: pod('a'),
      world: { nodes: [node('x', { spec: { unschedulable: true } })] },
      expect: '0/1 nodes are available: 1 node(s) were unschedulable.',
    },
    {
      name: 'not past a taint',
      pod: pod('a'),
      world: { nodes: [node('x', { spec: { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] } })] },
      expect: '0/1 nodes are available: 1 node(s) had untolerated taint(s).',
    },
    {
      name: 'past a taint it tolerates',
      pod: pod('a', { spec: { tolerations: [{ key: 'k', operator: 'Exists' }] } }),
      world: { nodes: [node('x', { spec: { taints: [{ key: 'k', effect: 'NoExecute' }] } })] },
      expect: 'x',
    },
    {
      name: 'away from a taint that only prefers it',
      pod: pod('a'),
      world: {
        nodes: [node('x', { spec: { taints: [{ key: 'k', effect: 'PreferNoSchedule' }] } }), node('y')],
      },
      expect: 'y',
    },
    {
      name: 'by node selector',
      pod: pod('a', { spec: { nodeSelector: { disk: 'ssd' } } }),
      world: { nodes: [node('x'), node('y', { labels: { disk: 'ssd' } })] },
      expect: 'y',
    },
    {
      name: 'nowhere by node selector',
      pod: pod('a', { spec: { nodeSelector: { disk: 'ssd' } } }),
      world: { nodes: [node('x')] },
      expect: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    },
    {
      name: 'to its pinned node (a DaemonSet pod)',
      world: { nodes: [node('x'), node('y')] },
      expect: 'y',
      pod: pod('a', {
        spec: {
          affinity: {
            nodeAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [
                  { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['y'] }] },
                ],
              },
            },
          },
        },
      }),
    },
    {
      name: 'to the preferred node',
      world: { nodes: [node('x'), node('y', { labels: { gen: '7' } })] },
      expect: 'y',
      pod: pod('a', {
        spec: {
          affinity: {
            nodeAffinity: {
              preferredDuringSchedulingIgnoredDuringExecution: [
                {
                  weight: 50,
                  preference: { matchExpressions: [{ key: 'gen', operator: 'Gt', values: ['6'] }] },
                },
              ],
            },
          },
        },
      }),
    },
    {
      name: 'not where its host port is taken',
      expect: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
      pod: pod('a', { spec: { containers: [{ name: 'm', ports: [{ containerPort: 80, hostPort: 80 }] }] } }),
      world: {
        nodes: [node('x')],
        pods: [
          pod('b', {
            on: 'x',
            spec: {
              containers: [{ name: 'm', ports: [{ containerPort: 80, hostPort: 80, hostIP: '127.0.0.1' }] }],
            },
          }),
        ],
      },
    },
    {
      name: 'away from its own kind',
      expect: 'y',
      pod: pod('a', { labels: { app: 'w' }, spec: { affinity: antiAffinity({ app: 'w' }) } }),
      world: { nodes: [node('x'), node('y')], pods: [pod('b', { on: 'x', labels: { app: 'w' } })] },
    },
    {
      name: 'away from those that refuse it',
      expect: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.",
      pod: pod('a', { labels: { app: 'w' } }),
      world: {
        nodes: [node('x')],
        pods: [pod('b', { on: 'x', spec: { affinity: antiAffinity({ app: 'w' }) } })],
      },
    },
    {
      name: 'near what it needs, in the zone',
      expect: 'y2',
      pod: pod('a', {
        spec: {
          affinity: {
            podAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [
                { labelSelector: { matchLabels: { app: 'db' } }, topologyKey: ZONE },
              ],
            },
          },
        },
      }),
      world: {
        nodes: [
          node('x', { labels: { [ZONE]: 'a' } }),
          node('y2', { labels: { [ZONE]: 'b' } }),
          node('y1', { labels: { [ZONE]: 'b' }, pods: '1' }),
        ],
        pods: [pod('db', { on: 'y1', labels: { app: 'db' } })],
      },
    },
    {
      name: 'anywhere, as the first of a kind that wants to be together',
      expect: 'x',
      world: { nodes: [node('x')] },
      pod: pod('a', {
        labels: { app: 'w' },
        spec: {
          affinity: {
            podAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [
                { labelSelector: { matchLabels: { app: 'w' } }, topologyKey: 'kubernetes.io/hostname' },
              ],
            },
          },
        },
      }),
    },
    {
      name: 'spread over zones',
      expect: 'y',
      pod: pod('a', {
        labels: { app: 'w' },
        spec: {
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: ZONE,
              whenUnsatisfiable: 'DoNotSchedule',
              labelSelector: { matchLabels: { app: 'w' } },
            },
          ],
        },
      }),
      world: {
        nodes: [node('x', { labels: { [ZONE]: 'a' } }), node('y', { labels: { [ZONE]: 'b' } })],
        pods: [pod('b', { on: 'x', labels: { app: 'w' } })],
      },
    },
    {
      name: 'nowhere when spreading would be broken',
      expect:
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).",
      pod: pod('a', {
        labels: { app: 'w' },
        spec: {
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: ZONE,
              whenUnsatisfiable: 'DoNotSchedule',
              labelSelector: { matchLabels: { app: 'w' } },
            },
          ],
        },
      }),
      world: { nodes: [node('x')] },
    },
    {
      name: 'spread by default over the nodes',
      expect: 'y',
      pod: pod('a', { labels: { app: 'w' } }),
      world: {
        nodes: [node('x'), node('y')],
        pods: [pod('b', { on: 'x', labels: { app: 'w' } })],
        defaultSelector: () => ({
          namespace: 'default',
          key: 'app=w',
          matches: (labels) => labels['app'] === 'w',
        }),
      },
    },
    {
      name: 'where its image is',
      expect: 'y',
      pod: pod('a', { spec: { containers: [{ name: 'm', image: 'big:1' }] } }),
      world: { nodes: [node('x'), node('y', { images: [{ names: ['big:1'], sizeBytes: 1_500_000_000 }] })] },
    },
    {
      name: 'nowhere while its claim is not bound',
      expect: '0/1 nodes are available: persistentvolumeclaim "data" not found.',
      world: { nodes: [node('x')] },
      pod: pod('a', { spec: { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'data' } }] } }),
    },
    {
      name: 'not where a more important pod was promised the room',
      expect: '0/1 nodes are available: 1 Insufficient cpu.',
      pod: pod('a', { cpu: '2' }),
      world: { nodes: [node('x')], nominated: () => [podInfo(pod('vip', { cpu: '3', priority: 10 }))] },
    },
    {
      name: 'nowhere when it is pinned to a node that is not there',
      world: { nodes: [node('x'), node('y')] },
      expect: "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
      pod: pod('a', {
        spec: {
          affinity: {
            nodeAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [
                  { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['z'] }] },
                ],
              },
            },
          },
        },
      }),
    },
    {
      name: 'nowhere when its pinned node is full, and the others are out of the question',
      world: { nodes: [node('x'), node('y', { pods: '0' }), node('z')] },
      expect: "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
      pod: pod('a', {
        spec: {
          affinity: {
            nodeAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [
                  { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['y'] }] },
                ],
              },
            },
          },
        },
      }),
    },
    {
      name: 'nowhere when it is pinned to two nodes at once',
      world: { nodes: [node('x'), node('y')] },
      expect: '0/2 nodes are available: pod affinity terms conflict.',
      pod: pod('a', {
        spec: {
          affinity: {
            nodeAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [
                  {
                    matchFields: [
                      { key: 'metadata.name', operator: 'In', values: ['x'] },
                      { key: 'metadata.name', operator: 'In', values: ['y'] },
                    ],
                  },
                ],
              },
            },
          },
        },
      }),
    },
    {
      name: 'not beside a promised pod that refuses it',
      expect: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.",
      pod: pod('a', { labels: { app: 'w' }, spec: { affinity: antiAffinity({ app: 'other' }) } }),
      world: {
        nodes: [node('x')],
        nominated: () => [
          podInfo(pod('vip', { priority: 10, spec: { affinity: antiAffinity({ app: 'w' }) } })),
        ],
      },
    },
    {
      name: 'not for the sake of a promised pod, which may never come',
      expect: "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
      pod: pod('a', {
        spec: {
          affinity: {
            podAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [
                { labelSelector: { matchLabels: { app: 'db' } }, topologyKey: 'kubernetes.io/hostname' },
              ],
            },
          },
        },
      }),
      world: {
        nodes: [node('x')],
        nominated: () => [podInfo(pod('db', { priority: 10, labels: { app: 'db' } }))],
      },
    },
    {
      name: 'nowhere when the largest step of its start does not fit',
      expect: '0/1 nodes are available: 1 Insufficient cpu.',
      world: { nodes: [node('x')] },
      pod: pod('a', {
        cpu: '1',
        spec: {
          initContainers: [
            { name: 'side', restartPolicy: 'Always', resources: { requests: { cpu: '2' } } },
            { name: 'init', resources: { requests: { cpu: '2500m' } } },
          ],
        },
      }),
    },
    {
      name: 'with what its runtime class adds',
      expect: '0/1 nodes are available: 1 Insufficient memory.',
      world: { nodes: [node('x')] },
      pod: pod('a', { memory: '8Gi', spec: { overhead: { memory: '1' } } }),
    },
    {
      name: 'by what the pod as a whole asks for',
      expect: 'x',
      world: { nodes: [node('x')] },
      pod: pod('a', { cpu: '6', spec: { resources: { requests: { cpu: '3' } } } }),
    },
    {
      name: 'where only a less important pod was promised the room',
      expect: 'x',
      pod: pod('a', { cpu: '2', priority: 20 }),
      world: { nodes: [node('x')], nominated: () => [podInfo(pod('later', { cpu: '3', priority: 10 }))] },
    },
  ];
  for (const one of cases) it(one.name, () => assert.equal(outcome(one.pod, one.world), one.expect));

  it('selects the nominated node, whatever the scores of others', () => {
    const { snapshot } = world({
      nodes: [node('busy'), node('idle')],
      pods: [pod('b', { on: 'busy', cpu: '2' })],
    });
    const decision = schedule({
      pod: podInfo(pod('a', { cpu: '1' })),
      snapshot,
      profile,
      random: seededRandom(1),
      nominatedNode: 'busy',
    });
    assert.equal(decision.kind === 'fits' && decision.node, 'busy');
  });

  it('counts the larger of the old and the new request while a pod is resized', () => {
    const resized = pod('a', { cpu: '1' });
    resized.status = {
      phase: 'Running',
      containerStatuses: [
        {
          name: 'main',
          image: '',
          imageID: '',
          ready: true,
          restartCount: 0,
          resources: { requests: { cpu: '3' } },
        },
      ],
    };
    assert.equal(podInfo(resized).requests.milliCPU, 3000);
  });

  it('evaluates only a sample of many nodes', () => {
    assert.deepEqual(
      [50, 100, 1000, 5000, 20_000].map((count) => nodesToFind(count, 0)),
      [50, 100, 420, 500, 1000],
    );
    assert.equal(nodesToFind(5000, 100), 5000);
  });
});

describe('preemption', () => {
  const preempt = (
    incoming: Pod,
    options: WorldOptions,
    budgets: Parameters<typeof findPreemption>[0]['budgets'] = [],
  ): string => {
    const decision = decide(incoming, options);
    assert.equal(decision.kind, 'none');
    if (decision.kind !== 'none') return '';
    const found = findPreemption({
      cycle: decision.cycle,
      failure: decision.failure,
      budgets,
      random: () => 0,
    });
    return 'message' in found
      ? found.message
      : `${found.node}: ${found.victims.map((victim) => victim.pod.metadata?.name).join(',')}`;
  };

  it('evicts the fewest pods of the lowest priority', () => {
    const pods = [
      pod('low', { on: 'x', cpu: '3', priority: 1 }),
      pod('lower', { on: 'y', cpu: '3', priority: 0 }),
      pod('tiny', { on: 'y', cpu: '500m', priority: 0 }),
    ];
    assert.equal(
      preempt(pod('vip', { cpu: '2', priority: 100 }), { nodes: [node('x'), node('y')], pods }),
      'y: lower',
    );
  });

  it('does not help where the pod does not fit on the empty node', () => {
    const options = {
      nodes: [node('x', { labels: { disk: 'hdd' } })],
      pods: [pod('low', { on: 'x', cpu: '4' })],
    };
    assert.equal(
      preempt(pod('vip', { priority: 100, spec: { nodeSelector: { disk: 'ssd' } } }), options),
      '0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
    );
  });

  it('finds no pods of lower priority', () => {
    assert.equal(
      preempt(pod('a', { cpu: '2' }), { nodes: [node('x')], pods: [pod('b', { on: 'x', cpu: '4' })] }),
      '0/1 nodes are available: 1 No preemption victims found for incoming pod.',
    );
  });

  it('avoids violating disruption budgets where it can', () => {
    const pods = [
      pod('guarded', { on: 'x', cpu: '4', labels: { app: 'g' } }),
      pod('free', { on: 'y', cpu: '4' }),
    ];
    const budgets = [
      {
        metadata: { name: 'g', namespace: 'default' },
        spec: { selector: { matchLabels: { app: 'g' } } },
        status: { disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 1 },
      },
    ];
    assert.equal(
      preempt(pod('vip', { cpu: '2', priority: 100 }), { nodes: [node('x'), node('y')], pods }, budgets),
      'y: free',
    );
  });

  it('reports what rejects the pod even without all pods of lower priority', () => {
    const options = {
      nodes: [node('x', { cpu: '2' }), node('y'), node('z', { spec: { unschedulable: true } })],
      pods: [pod('low', { on: 'y', cpu: '1' }), pod('same', { on: 'y', cpu: '3', priority: 100 })],
    };
    assert.equal(
      preempt(pod('vip', { cpu: '2500m', priority: 100 }), options),
      '0/3 nodes are available: 1 Insufficient cpu, 2 Preemption is not helpful for scheduling.',
    );
  });

  it('is not helpful where a preFilter rejected the pod for all nodes', () => {
    assert.equal(
      preempt(
        pod('vip', {
          priority: 100,
          spec: { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'data' } }] },
        }),
        { nodes: [node('x')], pods: [pod('low', { on: 'x' })] },
      ),
      '0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
    );
  });

  it('is skipped for preemptionPolicy Never and while earlier victims are terminating', () => {
    const options = { nodes: [node('x')], pods: [pod('low', { on: 'x', cpu: '4' })] };
    assert.equal(
      preempt(pod('polite', { cpu: '2', priority: 9, spec: { preemptionPolicy: 'Never' } }), options),
      'not eligible due to preemptionPolicy=Never.',
    );
    const ending = pod('low', { on: 'x', cpu: '4' });
    ending.metadata = { ...ending.metadata, deletionTimestamp: '2026-01-01T00:00:30Z' };
    ending.status = {
      phase: 'Running',
      conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler' }],
    };
    const decision = decide(pod('vip', { cpu: '2', priority: 9 }), { nodes: [node('x')], pods: [ending] });
    assert.ok(decision.kind === 'none');
    const found = findPreemption({
      cycle: decision.cycle,
      failure: decision.failure,
      budgets: [],
      random: () => 0,
      nominatedNode: 'x',
    });
    assert.equal(
      'message' in found && found.message,
      'not eligible due to a terminating pod on the nominated node.',
    );
  });

  it('makes room for affinity and topology spread too', () => {
    const pods = [
      pod('foe', { on: 'x', labels: { app: 'foe' } }),
      pod('same', { on: 'y', labels: { app: 'foe' }, priority: 100 }),
    ];
    assert.equal(
      preempt(pod('vip', { priority: 100, spec: { affinity: antiAffinity({ app: 'foe' }) } }), {
        nodes: [node('x'), node('y')],
        pods,
      }),
      'x: foe',
    );
    const spread = [
      {
        maxSkew: 1,
        topologyKey: 'kubernetes.io/hostname',
        whenUnsatisfiable: 'DoNotSchedule',
        labelSelector: { matchLabels: { app: 'w' } },
      },
    ];
    assert.equal(
      preempt(
        pod('vip', {
          cpu: '3',
          labels: { app: 'w' },
          priority: 100,
          spec: { topologySpreadConstraints: spread },
        }),
        {
          nodes: [node('x'), node('y')],
          pods: [
            pod('w1', { on: 'x', labels: { app: 'w' }, priority: 100 }),
            pod('big', { on: 'y', cpu: '4' }),
          ],
        },
      ),
      'y: big',
    );
  });

  it('leaves the snapshot unchanged', () => {
    const { snapshot, cache } = world({ nodes: [node('x')], pods: [pod('low', { on: 'x', cpu: '4' })] });
    const decision = schedule({
      pod: podInfo(pod('vip', { cpu: '2', priority: 9 })),
      snapshot,
      profile,
      random: seededRandom(1),
    });
    assert.equal(decision.kind, 'none');
    if (decision.kind === 'none')
      findPreemption({ cycle: decision.cycle, failure: decision.failure, budgets: [], random: () => 0 });
    assert.equal(cache.node('x')?.pods.size, 1);
    assert.equal(cache.node('x')?.requested.milliCPU, 4000);
  });
});

describe('in random clusters', () => {
  const arbitraryNode = fc.record({
    cpu: fc.integer({ min: 1, max: 8 }),
    pods: fc.integer({ min: 1, max: 6 }),
    disk: fc.constantFrom('ssd', 'hdd'),
  });
  const arbitraryPod = fc.record({
    milliCPU: fc.integer({ min: 0, max: 5000 }),
    disk: fc.option(fc.constantFrom('ssd', 'hdd'), { nil: undefined }),
  });

  it('no node is over-committed, every filter holds, and every pod that trivially fits is scheduled', () => {
    fc.assert(
      fc.property(
        fc.array(arbitraryNode, { minLength: 1, maxLength: 8 }),
        fc.array(arbitraryPod, { maxLength: 40 }),
        fc.integer(),
        (nodes, pods, seed) => {
          const { cache, snapshot } = world({
            nodes: nodes.map((one, index) =>
              node(`n${index}`, { cpu: String(one.cpu), pods: String(one.pods), labels: { disk: one.disk } }),
            ),
          });
          const random = seededRandom(seed);
          for (const [index, one] of pods.entries()) {
            const info = podInfo(
              pod(`p${index}`, {
                cpu: `${one.milliCPU}m`,
                ...(one.disk ? { spec: { nodeSelector: { disk: one.disk } } } : {}),
              }),
            );
            const decision = schedule({ pod: info, snapshot, profile, random });
            if (decision.kind === 'fits') {
              const target = cache.node(decision.node);
              assert.ok(
                target && matchesRequiredNodeAffinity(info.pod.spec, target) && !insufficient(info, target),
                'the chosen node passes the filters',
              );
              cache.assume(info, decision.node);
            } else
              assert.ok(
                snapshot.nodes.every(
                  (other) => !matchesRequiredNodeAffinity(info.pod.spec, other) || insufficient(info, other),
                ),
                'a node would have fit',
              );
          }
          for (const info of snapshot.nodes) {
            assert.ok(info.pods.size <= info.podLimit);
            assert.ok(info.requested.milliCPU <= info.allocatable.milliCPU);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
