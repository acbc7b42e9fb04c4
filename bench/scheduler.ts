/**
 * Pure scheduling decisions per second on this machine: no API, no informers; each decision is followed by what the component does to its
 * cache. `node bench/scheduler.ts [--nodes 1000,5000] [--seconds N]`
 */
import { parseArgs } from 'node:util';
import type { Node, Pod, PodSpec } from '#api/types.ts';
import { SchedulerCache } from '#scheduler/cache.ts';
import { defaultPlugins } from '#scheduler/plugins/list.ts';
import { podInfo } from '#scheduler/pod-info.ts';
import { schedule } from '#scheduler/schedule.ts';
import type { Snapshot } from '#scheduler/snapshot.ts';
import { noResourceClaims, storage } from '#scheduler/testing/snapshot.ts';
import { seededRandom } from '#stdx/random.ts';

const ZONE = 'topology.kubernetes.io/zone';
const POD_LIMIT = 60;
const { values: args } = parseArgs({
  options: { nodes: { type: 'string', default: '1000,5000' }, seconds: { type: 'string', default: '3' } },
});

interface Kind {
  readonly name: string;
  readonly spec: Partial<PodSpec>;
  readonly defaultSelector: boolean;
}

const term = (topologyKey: string) => ({
  labelSelector: { matchLabels: { app: 'bench' } },
  topologyKey,
});
const kinds: readonly Kind[] = [
  { name: 'plain', spec: {}, defaultSelector: false },
  { name: 'of a Service', spec: {}, defaultSelector: true },
  { name: 'node selector', spec: { nodeSelector: { disk: 'ssd' } }, defaultSelector: false },
  {
    name: 'spread over zones',
    spec: {
      topologySpreadConstraints: [
        {
          maxSkew: 5,
          topologyKey: ZONE,
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 'bench' } },
        },
      ],
    },
    defaultSelector: false,
  },
  {
    name: 'one per host',
    spec: {
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [term('kubernetes.io/hostname')],
        },
      },
    },
    defaultSelector: false,
  },
  {
    name: 'prefers company',
    spec: {
      affinity: {
        podAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 10, podAffinityTerm: term(ZONE) }],
        },
      },
    },
    defaultSelector: false,
  },
];

function nodeOf(index: number): Node {
  const allocatable = { cpu: '64', memory: '256Gi', 'ephemeral-storage': '1Ti', pods: String(POD_LIMIT) };
  const name = `node-${index}`;
  const labels = {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    [ZONE]: `zone-${index % 3}`,
    disk: index % 2 === 0 ? 'ssd' : 'hdd',
  };
  return { metadata: { name, labels }, status: { allocatable, capacity: allocatable } };
}

function podOf(index: number, spec: Partial<PodSpec>): Pod {
  return {
    metadata: { name: `pod-${index}`, namespace: 'default', uid: `uid-${index}`, labels: { app: 'bench' } },
    spec: {
      containers: [
        {
          name: 'main',
          image: 'registry.example/app:1',
          resources: { requests: { cpu: '100m', memory: '256Mi' } },
        },
      ],
      ...spec,
    },
  };
}

/** Parsing of the pod is part of it: in life, each pod is new. */
function measure(nodeCount: number, kind: Kind): number {
  const cache = new SchedulerCache();
  for (let index = 0; index < nodeCount; index += 1) cache.setNode(nodeOf(index));
  const matcher = {
    namespace: 'default',
    key: 'app=bench',
    matches: (labels: Readonly<Record<string, string>>) => labels['app'] === 'bench',
  };
  const snapshot: Snapshot = {
    get nodes() {
      return cache.nodes();
    },
    byName: cache.byName,
    withAffinity: cache.withAffinity,
    withRequiredAntiAffinity: cache.withRequiredAntiAffinity,
    imageNodes: cache.imageNodes,
    namespaceLabels: () => ({}),
    defaultSelector: () => (kind.defaultSelector ? matcher : undefined),
    volumes: storage({}),
    resourceClaims: noResourceClaims,
    nominated: () => [],
  };
  const profile = { schedulerName: 'bench', plugins: defaultPlugins };
  const random = seededRandom(1);
  const placed: string[] = [];
  const start = performance.now();
  let startIndex = 0;
  let decisions = 0;
  while (performance.now() - start < Number(args.seconds) * 1000) {
    const info = podInfo(podOf(decisions, kind.spec));
    const decision = schedule({ pod: info, snapshot, profile, random, startIndex });
    decisions += 1;
    if (decision.kind === 'fits') {
      startIndex += decision.evaluated;
      cache.assume(info, decision.node);
      placed.push(info.uid);
    }
    // Half full: as many leave as come.
    if (placed.length > (kind.name === 'one per host' ? nodeCount / 2 : (nodeCount * POD_LIMIT) / 2))
      cache.removePod(placed.shift() ?? '');
  }
  return Math.round((decisions / (performance.now() - start)) * 1000);
}

const rows = kinds.map((kind) => ({
  pods: kind.name,
  ...Object.fromEntries(
    args.nodes.split(',').map((count) => [`${count} nodes`, measure(Number(count), kind)]),
  ),
}));
console.log('decisions per second');
console.table(rows);
