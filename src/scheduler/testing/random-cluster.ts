/** Random nodes and pods with most of what decides where a pod may go. */
import type { Node, Pod, PodSpec } from '#api/types.ts';
import type { Random } from '#stdx/random.ts';
import { node, pod } from './snapshot.ts';

const ZONE = 'topology.kubernetes.io/zone';
const HOST = 'kubernetes.io/hostname';

const below = (random: Random, most: number): number => Math.floor(random() * most);
const chance = (random: Random, share: number): boolean => random() < share;
const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)]!;
const some = <T>(random: Random, share: number, make: () => T): T | undefined =>
  chance(random, share) ? make() : undefined;

export function randomNode(random: Random, index: number): Node {
  const labels = {
    ...(chance(random, 0.85) ? { [ZONE]: `z${below(random, 3)}` } : {}),
    disk: pick(random, ['ssd', 'hdd']),
  };
  const taints = ['a', 'b'].flatMap(
    (key) =>
      some(random, 0.2, () => ({
        key,
        effect: pick(random, ['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
      })) ?? [],
  );
  return node(`n${index}`, {
    labels,
    cpu: String(1 + below(random, 4)),
    memory: `${1 + below(random, 4)}Gi`,
    pods: String(2 + below(random, 5)),
    spec: { taints, ...(chance(random, 0.1) ? { unschedulable: true } : {}) },
  });
}

const term = (random: Random) => ({
  labelSelector: { matchLabels: { app: pick(random, ['web', 'db']) } },
  topologyKey: pick(random, [ZONE, HOST]),
});

function randomSpec(random: Random): Partial<PodSpec> {
  const weighted = () => ({ weight: 1 + below(random, 50), podAffinityTerm: term(random) });
  const kind = (share: number) => ({
    ...(chance(random, share) ? { requiredDuringSchedulingIgnoredDuringExecution: [term(random)] } : {}),
    ...(chance(random, share)
      ? { preferredDuringSchedulingIgnoredDuringExecution: [weighted(), weighted()] }
      : {}),
  });
  const expression = () => ({
    matchExpressions: [
      {
        key: pick(random, ['disk', ZONE]),
        operator: pick(random, ['In', 'NotIn', 'Exists']),
        values: [pick(random, ['ssd', 'z0', 'z1'])],
      },
    ],
  });
  const valid = (one: ReturnType<typeof expression>) => ({
    matchExpressions: one.matchExpressions.map(({ operator, values, key }) =>
      operator === 'Exists' ? { key, operator } : { key, operator, values },
    ),
  });
  return {
    containers: [
      {
        name: 'main',
        image: 'main:1',
        resources: {
          requests: {
            ...(chance(random, 0.7) ? { cpu: `${100 * (1 + below(random, 12))}m` } : {}),
            ...(chance(random, 0.7) ? { memory: `${128 * (1 + below(random, 10))}Mi` } : {}),
          },
        },
        ...(chance(random, 0.15)
          ? { ports: [{ containerPort: 80, hostPort: 8000 + below(random, 2) }] }
          : {}),
      },
    ],
    tolerations: ['a', 'b'].flatMap((key) => some(random, 0.4, () => ({ key, operator: 'Exists' })) ?? []),
    ...(chance(random, 0.1) ? { nodeSelector: { disk: 'ssd' } } : {}),
    affinity: {
      podAffinity: kind(0.15),
      podAntiAffinity: kind(0.15),
      nodeAffinity: {
        ...(chance(random, 0.15)
          ? { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [valid(expression())] } }
          : {}),
        ...(chance(random, 0.3)
          ? {
              preferredDuringSchedulingIgnoredDuringExecution: [
                { weight: 1 + below(random, 100), preference: valid(expression()) },
              ],
            }
          : {}),
      },
    },
    topologySpreadConstraints: [ZONE, HOST].flatMap(
      (topologyKey) =>
        some(random, 0.25, () => ({
          topologyKey,
          maxSkew: 1 + below(random, 2),
          whenUnsatisfiable: pick(random, ['DoNotSchedule', 'ScheduleAnyway']),
          labelSelector: { matchLabels: { app: pick(random, ['web', 'db']) } },
        })) ?? [],
    ),
  };
}

export function randomPod(random: Random, index: number): Pod {
  return pod(`p${index}`, {
    labels: { app: pick(random, ['web', 'db', 'other']) },
    namespace: chance(random, 0.85) ? 'default' : 'other',
    spec: randomSpec(random),
  });
}
