/** The kinds of pods of upstream's scheduler_perf, and the nodes for them: of bench/scheduler.ts and bench/scheduler-api.ts. */
import type { Node, Pod, PodSpec } from '#api/types.ts';

const ZONE = 'topology.kubernetes.io/zone';
const HOST = 'kubernetes.io/hostname';
const POD_LIMIT = 110;

export interface Kind {
  readonly name: string;
  /** What the issue asks for at 5,000 nodes, and upstream's gate. */
  readonly goal?: number;
  readonly upstream?: number;
  readonly spec: (index: number) => Partial<PodSpec>;
  /** Pods of a Service, which are spread by default. */
  readonly ofService?: boolean;
  /** At most this many pods per node before the oldest leave. */
  readonly perNode?: number;
  readonly namespace?: (index: number) => string;
  /** Nodes are full of pods of lower priority. */
  readonly preempts?: boolean;
  /** No node takes them. */
  readonly unschedulable?: boolean;
  readonly devices?: boolean;
}

const term = (topologyKey: string, app = 'bench') => ({
  labelSelector: { matchLabels: { app } },
  topologyKey,
});
const required = (one: object) => ({ requiredDuringSchedulingIgnoredDuringExecution: [one] as never });
const preferred = (one: object) => ({
  preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: one }] as never,
});
const plain = (): Partial<PodSpec> => ({});
export const KINDS: readonly Kind[] = [
  { name: 'basic', goal: 2_000, upstream: 680, spec: plain },
  { name: 'of a Service', spec: plain, ofService: true },
  {
    name: 'node affinity',
    goal: 1_000,
    upstream: 220,
    spec: () => ({
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: ZONE, operator: 'In', values: ['zone-0'] }] }],
          },
        },
      },
    }),
  },
  {
    name: 'preferred affinity',
    goal: 500,
    upstream: 90,
    spec: () => ({ affinity: { podAffinity: preferred(term(HOST)) } }),
  },
  {
    name: 'preferred anti-affinity',
    goal: 500,
    upstream: 90,
    spec: () => ({ affinity: { podAntiAffinity: preferred(term(HOST)) } }),
  },
  {
    name: 'required anti-affinity',
    goal: 400,
    upstream: 60,
    perNode: 0.5,
    spec: () => ({ affinity: { podAntiAffinity: required(term(HOST)) } }),
  },
  {
    name: 'required affinity',
    goal: 300,
    upstream: 35,
    spec: () => ({ affinity: { podAffinity: required(term(ZONE)) } }),
  },
  {
    name: 'anti-affinity by namespace selector',
    goal: 150,
    upstream: 24,
    perNode: 0.5,
    namespace: (index) => `ns-${index % 10}`,
    spec: () => ({
      affinity: {
        podAntiAffinity: required({ ...term(HOST), namespaceSelector: { matchLabels: { team: 'dev' } } }),
      },
    }),
  },
  {
    name: 'topology spread',
    goal: 700,
    spec: () => ({
      topologySpreadConstraints: [
        {
          maxSkew: 5,
          topologyKey: ZONE,
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 'bench' } },
        },
      ],
    }),
  },
  {
    name: 'preemption',
    goal: 800,
    upstream: 570,
    preempts: true,
    spec: () => ({ priority: 10, containers: [containerOf('9', '1Gi')] }),
  },
  {
    name: 'unschedulable',
    goal: 1_500,
    upstream: 590,
    unschedulable: true,
    spec: () => ({ containers: [containerOf('900', '1Gi')] }),
  },
  {
    name: 'devices (DRA)',
    upstream: 80,
    goal: 160,
    devices: true,
    spec: () => ({ resourceClaims: [{ name: 'gpu', resourceClaimName: 'c' }] }),
  },
];

export function containerOf(cpu: string, memory: string): PodSpec['containers'][number] {
  return { name: 'main', image: 'registry.example/app:1', resources: { requests: { cpu, memory } } };
}

export function nodeOf(index: number, cpu: string): Node {
  const allocatable = { cpu, memory: '256Gi', 'ephemeral-storage': '1Ti', pods: String(POD_LIMIT) };
  const name = `node-${index}`;
  const labels = {
    [HOST]: name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    [ZONE]: `zone-${index % 3}`,
  };
  return { metadata: { name, labels }, status: { allocatable, capacity: allocatable } };
}

export function podOf(index: number, { spec, namespace }: Kind): Pod {
  return {
    metadata: {
      name: `pod-${index}`,
      namespace: namespace?.(index) ?? 'default',
      uid: `uid-${index}`,
      labels: { app: 'bench' },
    },
    spec: { containers: [containerOf('100m', '256Mi')], ...spec(index) },
  };
}
