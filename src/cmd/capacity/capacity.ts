/** `capstan capacity`: what fits on a cluster's nodes, what is wasted, what breaks first, and how many nodes a Deployment needs. Changes nothing. */
import { readFile } from 'node:fs/promises';
import type { Deployment, Pod } from '#api/types.ts';
import { nodesFor } from '#capacity/questions.ts';
import { growthFrom } from '#capacity/growth-from-groups.ts';
import { parseNodeGroups, type NodeGroups } from '#capacity/node-groups.ts';
import { decideScaleUp } from '#capacity/scale-up.ts';
import { podLike } from '#capacity/template-node.ts';
import { deploymentOf, isControlPlane, isWaiting, reportCapacity, samplesOf } from '#capacity/report.ts';
import type { Client } from '#client/client.ts';
import { deployments } from '#client/refs.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseYamlDocuments } from '#machinery/yaml.ts';
import {
  followForSimulation,
  type NodeUse,
  type Simulation,
  type SimulationSource,
} from '#scheduler/simulation.ts';
import { realClock } from '#stdx/clock.ts';
import { realRandom } from '#stdx/random.ts';
import { errorMessage } from '#stdx/log.ts';
import { connectCluster, type ConnectFlags } from '../doctor/connect.ts';
import { renderPlan, renderReport, renderScaleUp, scaleUpFacts, type Plan } from './render.ts';

export interface CapacityFlags extends ConnectFlags {
  /** NAMESPACE/NAME of a Deployment in the cluster. */
  readonly deployment?: string;
  /** Of a manifest with one Deployment that is not in the cluster yet. */
  readonly file?: string;
  readonly replicas?: number;
  /** File of node groups: which of them have to grow. */
  readonly groups?: string;
  /** Name of the Node that added ones are like. */
  readonly like?: string;
  readonly json?: boolean;
}

const SYNC_TIMEOUT_MS = 60_000;

/** Its exit code: 0 all fits, 1 pods fit nowhere or more Nodes are needed. */
export async function runCapacity(flags: CapacityFlags, print: (line: string) => void): Promise<number> {
  checkFlags(flags);
  const cluster = connectCluster(flags);
  try {
    return await askCapacity(cluster.api, { flags, print });
  } finally {
    await cluster.close();
  }
}

function checkFlags({ deployment, file, replicas, like, groups }: CapacityFlags): void {
  if (groups !== undefined && like !== undefined)
    throw new UserError('--groups and --like are given; it should be one of them.');
  if (deployment !== undefined && file !== undefined)
    throw new UserError('--deployment and --file are given; it should be one of them.');
  if (deployment === undefined && file === undefined && (replicas ?? like) !== undefined)
    throw new UserError('--replicas and --like are about a Deployment: give --deployment or --file too.');
}

/** The same with a connection of the caller's. */
export async function askCapacity(
  api: Client,
  { flags, print }: { readonly flags: CapacityFlags; readonly print: (line: string) => void },
): Promise<number> {
  const wanted = await wantedBy(api, flags);
  const source = await followForSimulation(api, {
    clock: realClock,
    signal: AbortSignal.timeout(SYNC_TIMEOUT_MS),
  }).catch((error: unknown) => {
    throw new UserError(`Cannot read the cluster: ${errorMessage(error)}.`);
  });
  if (flags.groups !== undefined)
    return askGroups(await readGroups(flags.groups), { wanted, source, flags, print });
  const result = wanted
    ? plan(wanted, { source, flags })
    : reportCapacity(source.begin(), { pods: source.pods.list(), budgets: source.budgets.list() });
  if (flags.json) print(JSON.stringify(result, undefined, 2));
  else for (const line of 'like' in result ? renderPlan(result) : renderReport(result)) print(line);
  if ('like' in result) return result.left || result.addedNodes > 0 ? 1 : 0;
  return result.pending.length > 0 ? 1 : 0;
}

async function readGroups(file: string): Promise<NodeGroups> {
  try {
    return parseNodeGroups(await readFile(file, 'utf8'));
  } catch (error) {
    throw new UserError(`--groups ${file}: ${errorMessage(error)}.`);
  }
}

/** For the Deployment that is asked about, else for the pods that wait. */
function askGroups(
  config: NodeGroups,
  {
    wanted,
    source,
    flags,
    print,
  }: {
    readonly wanted: Wanted | undefined;
    readonly source: SimulationSource;
    readonly flags: CapacityFlags;
    readonly print: (line: string) => void;
  },
): number {
  const { pod, count } = wanted ? plannedPods(wanted, { source, flags }) : {};
  const pods = pod
    ? Array.from({ length: count! }, (_, index) => podLike(pod, `planned-${index}`))
    : source.pods.list().filter(isWaiting);
  const simulation = source.begin();
  const decision = decideScaleUp(simulation, {
    ...growthFrom(config, simulation),
    pods,
    random: realRandom,
  });
  if (flags.json) print(JSON.stringify(scaleUpFacts(decision), undefined, 2));
  else for (const line of renderScaleUp(decision)) print(line);
  return decision.notHelped.length + decision.increases.length > 0 ? 1 : 0;
}

interface Wanted {
  readonly deployment: Deployment;
  /** It is in the cluster, and some of its pods may run. */
  readonly isLive: boolean;
}

async function wantedBy(api: Client, { deployment, file }: CapacityFlags): Promise<Wanted | undefined> {
  if (file !== undefined) return { deployment: await readDeployment(file), isLive: false };
  if (deployment === undefined) return undefined;
  const [namespace, name, ...more] = deployment.split('/');
  if (!namespace || !name || more.length > 0)
    throw new UserError(`--deployment is ${deployment}; it should be NAMESPACE/NAME.`);
  try {
    return { deployment: await api.get(deployments, { namespace, name }), isLive: true };
  } catch (error) {
    if (isStatusError(error, 'NotFound')) throw new UserError(`There is no Deployment ${deployment}.`);
    throw error;
  }
}

async function readDeployment(file: string): Promise<Deployment> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new UserError(`Cannot read --file: ${errorMessage(error)}.`);
  });
  const found = parseYamlDocuments(text)
    .map(({ value }) => value as Deployment | null)
    .filter((value) => value?.kind === 'Deployment' && value.apiVersion === 'apps/v1');
  const [deployment] = found;
  if (!deployment?.spec?.template.spec || found.length > 1)
    throw new UserError(
      `${file} has ${found.length} Deployments of apps/v1; it should have one, with a pod template.`,
    );
  return deployment;
}

function plan(
  { deployment, isLive }: Wanted,
  { source, flags }: { readonly source: SimulationSource; readonly flags: CapacityFlags },
): Plan & { readonly like: string } {
  const simulation = source.begin();
  const like = nodeToAdd(simulation, flags.like);
  const { key, pod, count } = plannedPods({ deployment, isLive }, { source, flags });
  return {
    deployment: key,
    count,
    like: like.node.metadata?.name ?? '',
    ...nodesFor(simulation, { pod, count, like }),
  };
}

interface PlannedPods {
  /** 'namespace/name' of the Deployment. */
  readonly key: string;
  /** What each is like. */
  readonly pod: Pod;
  readonly count: number;
}

function plannedPods(
  { deployment, isLive }: Wanted,
  { source, flags }: { readonly source: SimulationSource; readonly flags: CapacityFlags },
): PlannedPods {
  const { namespace = 'default', name = '' } = deployment.metadata ?? {};
  const key = `${namespace}/${name}`;
  const all = isLive ? source.pods.list() : [];
  const running = all.filter((pod) => deploymentOf(pod) === key && pod.spec?.nodeName && !isPodTerminal(pod));
  const replicas = flags.replicas ?? deployment.spec?.replicas ?? 1;
  const count = Math.max(0, replicas - running.length);
  // A pod has what admission added to the template.
  const pod = samplesOf(all).get(key) ?? podOf(deployment, namespace);
  return { key, pod, count };
}

function podOf({ metadata, spec }: Deployment, namespace: string): Pod {
  const template = spec?.template;
  return {
    metadata: { ...template?.metadata, name: metadata?.name ?? '', namespace },
    ...(template?.spec ? { spec: template.spec } : {}),
  };
}

/** The named one, else one of the commonest size among workers. */
function nodeToAdd(simulation: Simulation, name: string | undefined): NodeUse {
  const names = simulation.nodeNames;
  if (name !== undefined && !names.includes(name))
    throw new UserError(`--like is ${name}, which is no Node.`);
  if (name !== undefined) return simulation.use(name);
  const all = names.map((one) => simulation.use(one));
  const workers = all.filter(({ node }) => !isControlPlane(node) && !node.spec?.unschedulable);
  const sizes = Map.groupBy(
    workers.length > 0 ? workers : all,
    ({ allocatable: { milliCPU, memoryBytes } }) => [milliCPU, memoryBytes].join(' '),
  );
  const commonest = [...sizes.values()].toSorted((one, other) => other.length - one.length)[0]?.[0];
  if (!commonest) throw new UserError('The cluster has no Node: there is nothing to be like.');
  return commonest;
}
