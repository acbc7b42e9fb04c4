import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Node, Pod } from '#api/types.ts';
import { seededRandom } from '#stdx/random.ts';
import { schedule, failureMessage } from '#scheduler/schedule.ts';
import { node, pod, podInfo, world } from '#scheduler/testing/snapshot.ts';
import type { Profile } from '#scheduler/schedule.ts';
import { extendersFrom } from './extenders.ts';
import { profilesFrom } from './profiles.ts';

const COMMON = { percentage: 0, features: new Set<string>(), ignoredResources: new Set<string>() };
const profileOf = (profile: object): Profile => profilesFrom(JSON.stringify([profile]), COMMON)[0]!;
const gatedProfileOf = (profile: object): Profile =>
  profilesFrom(JSON.stringify([profile]), { ...COMMON, features: new Set(['GangScheduling']) })[0]!;
const pluginOf = (profile: Profile, name: string): Profile['plugins'][number] | undefined =>
  profile.plugins.find((plugin) => plugin.name === name);

interface Where {
  readonly profile: object;
  readonly incoming: Pod;
  readonly nodes: readonly Node[];
  readonly pods?: readonly Pod[];
}

function decide({ profile, incoming, nodes, pods = [] }: Where): string {
  const decision = schedule({
    pod: podInfo(incoming),
    snapshot: world({ nodes, pods, defaultSelector: selectAll }).snapshot,
    profile: profileOf(profile),
    random: seededRandom(1),
  });
  return decision.kind === 'fits' ? decision.node : failureMessage(decision.failure);
}

const selectAll = () => ({ namespace: 'default', key: 'all', matches: () => true });
const only = (name: string, weight = 1): object => ({
  score: { disabled: [{ name: '*' }], enabled: [{ name, weight }] },
});
const config = (name: string, args: object): object => ({ name, args });

test('plugins at single points', () => {
  const some = profileOf({
    plugins: {
      multiPoint: { disabled: [{ name: '*' }] },
      preFilter: { enabled: [{ name: 'NodePorts' }] },
      filter: { enabled: [{ name: 'NodePorts' }, { name: 'NodeName' }] },
      score: { enabled: [{ name: 'ImageLocality', weight: 7 }] },
      preScore: { enabled: [{ name: 'ImageLocality' }] },
    },
  });
  assert.deepEqual(
    some.plugins.map(({ name, weight }) => [name, weight]),
    [
      ['NodePorts', 0],
      ['NodeName', 0],
      ['SchedulingGates', 0],
      ['ImageLocality', 7],
    ],
  );
  assert.equal(some.preemption, false);
  const unscored = profileOf({ plugins: { score: { disabled: [{ name: 'NodeAffinity' }] } } });
  assert.equal(pluginOf(unscored, 'NodeAffinity')?.score, undefined);
  assert.ok(pluginOf(unscored, 'NodeAffinity')?.filter);
  const plain = profileOf({});
  assert.equal(pluginOf(plain, 'TaintToleration')?.weight, 3);
  assert.equal(plain.preemption, undefined);
  const off = profileOf({ plugins: { postFilter: { disabled: [{ name: 'DefaultPreemption' }] } } });
  assert.equal(off.preemption, false);
});

describe('arguments change decisions', () => {
  const busy = pod('a', { on: 'x', cpu: '2', memory: '4Gi' });
  const small = pod('p', { cpu: '1', memory: '1Gi' });
  const nodes = [node('x'), node('y')];
  const cases: readonly (Where & { readonly name: string; readonly expect: string })[] = [
    {
      name: 'LeastAllocated',
      profile: { plugins: only('NodeResourcesFit') },
      incoming: small,
      nodes,
      pods: [busy],
      expect: 'y',
    },
    {
      name: 'MostAllocated',
      profile: {
        plugins: only('NodeResourcesFit'),
        pluginConfig: [
          config('NodeResourcesFit', {
            apiVersion: 'kubescheduler.config.k8s.io/v1',
            kind: 'NodeResourcesFitArgs',
            scoringStrategy: { type: 'MostAllocated' },
          }),
        ],
      },
      incoming: small,
      nodes,
      pods: [busy],
      expect: 'x',
    },
    {
      name: 'RequestedToCapacityRatio',
      profile: {
        plugins: only('NodeResourcesFit'),
        pluginConfig: [
          config('NodeResourcesFit', {
            scoringStrategy: {
              type: 'RequestedToCapacityRatio',
              resources: [{ name: 'cpu', weight: 3 }],
              requestedToCapacityRatio: {
                shape: [
                  { utilization: 0, score: 0 },
                  { utilization: 100, score: 10 },
                ],
              },
            },
          }),
        ],
      },
      incoming: small,
      nodes,
      pods: [busy],
      expect: 'x',
    },
    {
      name: 'ignored resources',
      profile: {
        pluginConfig: [config('NodeResourcesFit', { ignoredResourceGroups: ['example.com'] })],
      },
      incoming: pod('p', {
        spec: {
          containers: [{ name: 'm', image: 'm:1', resources: { requests: { 'example.com/x': '1' } } }],
        },
      }),
      nodes: [node('x')],
      expect: 'x',
    },
    {
      name: 'added affinity',
      profile: {
        pluginConfig: [
          config('NodeAffinity', {
            addedAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [{ matchExpressions: [{ key: 'a', operator: 'Exists' }] }],
              },
            },
          }),
        ],
      },
      incoming: pod('p'),
      nodes: [node('x')],
      expect: "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity.",
    },
    {
      name: 'default constraints',
      profile: {
        pluginConfig: [
          config('PodTopologySpread', {
            defaultingType: 'List',
            defaultConstraints: [
              { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule' },
            ],
          }),
        ],
      },
      incoming: pod('p'),
      nodes: [node('x'), node('y', { pods: '0' })],
      pods: [pod('a', { on: 'x' })],
      expect:
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints.",
    },
  ];
  for (const { name, expect, ...where } of cases) test(name, () => assert.equal(decide(where), expect));

  test('of the profile, and of DynamicResources', () => {
    const { preemption, bindTimeoutMs } = profileOf({
      pluginConfig: [
        config('DefaultPreemption', { minCandidateNodesPercentage: 20 }),
        config('VolumeBinding', { bindTimeoutSeconds: 30 }),
        config('DynamicResources', { filterTimeout: '1s', bindingTimeout: '2m' }),
        config('InterPodAffinity', { hardPodAffinityWeight: 0 }),
        config('NodeResourcesBalancedAllocation', { resources: [{ name: 'cpu', weight: 1 }] }),
      ],
    });
    assert.deepEqual(preemption, { minCandidateNodesPercentage: 20, minCandidateNodesAbsolute: 100 });
    assert.equal(bindTimeoutMs, 30_000);
  });
});

describe('refused, with the words of upstream', () => {
  const withArgs = (name: string, args: object): object => ({ pluginConfig: [config(name, args)] });
  const cases: readonly (readonly [what: string, profile: object, says: RegExp])[] = [
    [
      'unknown fields',
      withArgs('NodeAffinity', { affinity: {} }),
      /args: strict decoding error: unknown field "affinity"/,
    ],
    [
      'another kind',
      withArgs('NodeAffinity', { kind: 'VolumeBindingArgs' }),
      /were not of type NodeAffinityArgs/,
    ],
    [
      'a weight',
      withArgs('InterPodAffinity', { hardPodAffinityWeight: 101 }),
      /args\.hardPodAffinityWeight: Invalid value: 101: not in valid range \[0, 100\]/,
    ],
    [
      'a strategy',
      withArgs('NodeResourcesFit', { scoringStrategy: { type: 'Most' } }),
      /scoringStrategy\.type: Unsupported value: "Most": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"/,
    ],
    [
      'no shape',
      withArgs('NodeResourcesFit', { scoringStrategy: { type: 'RequestedToCapacityRatio' } }),
      /requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio/,
    ],
    [
      'a shape',
      withArgs('NodeResourcesFit', {
        scoringStrategy: {
          type: 'RequestedToCapacityRatio',
          requestedToCapacityRatio: { shape: [{ utilization: 5, score: 11 }] },
        },
      }),
      /shape\[0\]\.score: Invalid value: 11: not in valid range \[0, 10\]/,
    ],
    [
      'a group',
      withArgs('NodeResourcesFit', { ignoredResourceGroups: ['a/b'] }),
      /resource group name can't contain '\/'/,
    ],
    [
      'constraints',
      withArgs('PodTopologySpread', {
        defaultConstraints: [{ maxSkew: 1, topologyKey: 'a', whenUnsatisfiable: 'ScheduleAnyway' }],
      }),
      /defaultingType: Invalid value: "System": when \.defaultConstraints are not empty/,
    ],
    [
      'a timeout',
      withArgs('DynamicResources', { bindingTimeout: '10ms' }),
      /bindingTimeout: Invalid value: .*: must be at least 1 second/,
    ],
    ['a gate', withArgs('VolumeBinding', { shape: [] }), /turn on the feature gate StorageCapacityScoring/],
    [
      'no candidates',
      withArgs('DefaultPreemption', { minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0 }),
      /cannot be zero at the same time as minCandidateNodesAbsolute/,
    ],
    [
      'arguments twice',
      { pluginConfig: [config('NodeAffinity', {}), config('NodeAffinity', {})] },
      /pluginConfig\[1\]: Duplicate value: "NodeAffinity"/,
    ],
    ['arguments of nothing', withArgs('NodeName', {}), /has "NodeName", which has no arguments here/],
    [
      'a removed plugin',
      { plugins: { filter: { enabled: [{ name: 'EBSLimits' }] } } },
      /Invalid value: "EBSLimits": was invalid in version "kubescheduler\.config\.k8s\.io\/v1"/,
    ],
    ['a percentage', { percentageOfNodesToScore: 101 }, /not in valid range \[0-100\]/],
    [
      'half of a plugin',
      { plugins: { preBind: { disabled: [{ name: 'VolumeBinding' }] } } },
      /it is only disabled as a whole/,
    ],
  ];
  for (const [what, profile, says] of cases) test(what, () => assert.throws(() => profileOf(profile), says));

  test('extenders', () => {
    const read =
      (...extenders: readonly object[]) =>
      () =>
        extendersFrom(JSON.stringify(extenders));
    const url = { urlPrefix: 'http://127.0.0.1:1' };
    assert.throws(
      read({ ...url, prioritizeVerb: 'p' }),
      /extenders\[0\]\.weight: Invalid value: 0: must have a positive weight/,
    );
    assert.throws(
      read({ ...url, bindVerb: 'b' }, { ...url, bindVerb: 'b' }),
      /only one extender can implement bind/,
    );
    assert.throws(
      read({ ...url, managedResources: [{ name: 'cpu' }] }),
      /is an invalid extended resource name/,
    );
    assert.throws(read({ urlPrefix: 'x' }), /urlPrefix: Invalid value: "x"/);
    assert.equal(read({ ...url, httpTimeout: '100ms' })()[0]?.timeoutMs, 100);
    assert.equal(read(url)()[0]?.timeoutMs, 5_000);
  });
});

test('GangScheduling is there with its gate, and its points are disabled one by one', () => {
  const name = 'GangScheduling';
  assert.equal(pluginOf(profileOf({}), name), undefined);
  assert.throws(() => profileOf({ plugins: { permit: { enabled: [{ name }] } } }), /which is no plugin here/);
  const whole = pluginOf(gatedProfileOf({}), name);
  assert.ok(whole?.preEnqueue && whole.permit);
  const half = pluginOf(gatedProfileOf({ plugins: { permit: { disabled: [{ name }] } } }), name);
  assert.ok(half?.preEnqueue && !half.permit);
  const none = gatedProfileOf({ plugins: { multiPoint: { disabled: [{ name }] } } });
  assert.equal(pluginOf(none, name), undefined);
});
