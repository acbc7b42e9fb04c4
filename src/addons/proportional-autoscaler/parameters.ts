/**
 * The ConfigMap of a cluster-proportional-autoscaler, as upstream's reads it: one entry, `linear` or `ladder`, with JSON. Reads it, and computes replicas from
 * the size of the cluster. Follows kubernetes-sigs/cluster-proportional-autoscaler.
 */
import { ConfigError, decodeLeniently } from '#machinery/config/read.ts';
import { flag, integer, listOf, objectSchema, real } from '#machinery/config/schema.ts';
import { parseJson } from '#machinery/json.ts';
import { errorMessage } from '#stdx/log.ts';

/** Nodes and the whole cores that they offer; schedulable: Ready and not cordoned. */
export interface ClusterSize {
  readonly nodes: number;
  readonly cores: number;
  readonly schedulableNodes: number;
  readonly schedulableCores: number;
}

interface Parameters {
  readonly mode: 'linear' | 'ladder';
  /** 'unknown field "linear.foo"': ignored, as upstream does. */
  readonly unknown: readonly string[];
  replicasFor(size: ClusterSize): number;
}

interface Linear {
  readonly coresPerReplica?: number;
  readonly nodesPerReplica?: number;
  readonly min?: number;
  readonly max?: number;
  readonly preventSinglePointFailure?: boolean;
  readonly includeUnschedulableNodes?: boolean;
}

/** Of at least so many nodes or cores: so many replicas. */
type Step = readonly number[];

interface Ladder {
  readonly coresToReplicas?: readonly Step[];
  readonly nodesToReplicas?: readonly Step[];
  readonly includeUnschedulableNodes?: boolean;
}

const LINEAR = objectSchema('linear', {
  coresPerReplica: real,
  nodesPerReplica: real,
  min: integer,
  max: integer,
  preventSinglePointFailure: flag,
  includeUnschedulableNodes: flag,
});
const LADDER = objectSchema('ladder', {
  coresToReplicas: listOf(listOf(integer)),
  nodesToReplicas: listOf(listOf(integer)),
  includeUnschedulableNodes: flag,
});

/** Throws ConfigError, a sentence that says what is wrong. */
export function parseParameters(data: Readonly<Record<string, string>> = {}): Parameters {
  const modes = Object.keys(data);
  const [mode] = modes;
  if (modes.length !== 1 || (mode !== 'linear' && mode !== 'ladder'))
    throw new ConfigError(
      `its data has ${modes.length === 0 ? 'no entry' : modes.join(' and ')}; it should have one entry, linear or ladder`,
    );
  const value = parseEntry(mode, data[mode] ?? '');
  return mode === 'linear' ? linear(value) : ladder(value);
}

function parseEntry(mode: string, json: string): unknown {
  try {
    return parseJson(json);
  } catch (error) {
    throw new ConfigError(`${mode} is not valid JSON: ${errorMessage(error)}`, { cause: error });
  }
}

function linear(value: unknown): Parameters {
  const { object, unknown } = decodeLeniently<Linear>(value, LINEAR);
  const { coresPerReplica = 0, nodesPerReplica = 0, min = 0, max = 0 } = object;
  for (const [name, number] of Object.entries({ coresPerReplica, nodesPerReplica, min, max }))
    if (number < 0) throw new ConfigError(`linear.${name} is ${number}; it should not be negative`);
  if (coresPerReplica === 0 && nodesPerReplica === 0)
    throw new ConfigError('linear has neither coresPerReplica nor nodesPerReplica; one should be above 0');
  const least = min === 0 ? 1 : min;
  if (max !== 0 && max < least)
    throw new ConfigError(`linear.max is ${max}; it should be at least min, which is ${least}`);
  const share = (amount: number, perReplica: number): number => {
    if (perReplica === 0) return 1;
    const wanted = Math.ceil(amount / perReplica);
    return Math.max(least, max === 0 ? wanted : Math.min(max, wanted));
  };
  return {
    mode: 'linear',
    unknown,
    replicasFor(size) {
      const { nodes, cores } = counted(size, object.includeUnschedulableNodes);
      const byNodes = share(nodes, nodesPerReplica);
      // Above max too, as upstream does.
      const apart = object.preventSinglePointFailure === true && nodes > 1 ? Math.max(2, byNodes) : byNodes;
      return Math.max(share(cores, coresPerReplica), apart);
    },
  };
}

function ladder(value: unknown): Parameters {
  const { object, unknown } = decodeLeniently<Ladder>(value, LADDER);
  const coresToReplicas = parseSteps('coresToReplicas', object.coresToReplicas);
  const nodesToReplicas = parseSteps('nodesToReplicas', object.nodesToReplicas);
  if (coresToReplicas.length === 0 && nodesToReplicas.length === 0)
    throw new ConfigError('ladder has neither coresToReplicas nor nodesToReplicas; one should have steps');
  return {
    mode: 'ladder',
    unknown,
    replicasFor(size) {
      const { nodes, cores } = counted(size, object.includeUnschedulableNodes);
      return Math.max(climb(coresToReplicas, cores), climb(nodesToReplicas, nodes));
    },
  };
}

interface LadderStep {
  readonly from: number;
  readonly replicas: number;
}

function parseSteps(name: string, steps: readonly Step[] = []): readonly LadderStep[] {
  return steps
    .map((step) => {
      const [from = -1, replicas = -1] = step;
      if (step.length !== 2 || from < 0 || replicas < 0)
        throw new ConfigError(
          `ladder.${name} has the step ${JSON.stringify(step)}; it should be two numbers that are not negative: [from, replicas]`,
        );
      return { from, replicas };
    })
    .toSorted((left, right) => left.from - right.from);
}

/** Below the first step the first counts. */
function climb(steps: readonly LadderStep[], amount: number): number {
  const reached = steps.findLast(({ from }) => from <= amount) ?? steps[0];
  return reached?.replicas ?? 0;
}

function counted(
  { nodes, cores, schedulableNodes, schedulableCores }: ClusterSize,
  includesUnschedulable = false,
): { readonly nodes: number; readonly cores: number } {
  return includesUnschedulable ? { nodes, cores } : { nodes: schedulableNodes, cores: schedulableCores };
}
