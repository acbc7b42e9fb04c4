/**
 * Keeps the replicas of workloads in proportion to the cluster: a ConfigMap of the cluster-proportional-autoscaler names the parameters, its annotation the
 * workloads. Every ten seconds, and when a Node or a ConfigMap changes. It writes scales, and the ConfigMap of the cluster's DNS once.
 *
 *   Nodes ─► cluster size ─┐
 *   ConfigMap ─► parameters ┴► replicas ─► scale of each target that has another number
 */
import type { ConfigMap, Node } from '#api/types.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { DNS_SERVER_ANNOTATION } from '#component-helpers/machine-dns.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseLabelSelector } from '#machinery/labels.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import { clusterSize, isSchedulable } from './cluster-size.ts';
import { parseParameters, type ClusterSize } from './parameters.ts';
import type { ProportionalScales } from './metrics.ts';
import { findMachineDns, takesConnections, type DnsProbe } from './machine-dns.ts';
import { findDnsDeployment, openTarget, parseTargets, type TargetName } from './targets.ts';

/** On ConfigMaps that this controller acts on; that of the DNS needs none. */
const LABEL = 'proportional-autoscaler.capstan.dev/enabled';
/** Upstream's --target and --nodelabels. */
const TARGET = 'proportional-autoscaler.capstan.dev/target';
const NODE_LABELS = 'proportional-autoscaler.capstan.dev/nodelabels';
const DNS_AUTOSCALER = { name: 'dns-autoscaler', namespace: 'kube-system' };
const POLL_MS = 10_000;
/** Other ConfigMaps are left alone, with a line in the log. */
const MAXIMUM_CONFIG_MAPS = 1_000;

const LABELLED = { labelSelector: `${LABEL}=true` };
const OF_DNS = { namespace: DNS_AUTOSCALER.namespace, fieldSelector: `metadata.name=${DNS_AUTOSCALER.name}` };

/** As Kubernetes' documentation installs it for a cluster's DNS. */
const DNS_PARAMETERS = {
  coresPerReplica: 256,
  nodesPerReplica: 16,
  preventSinglePointFailure: true,
  includeUnschedulableNodes: true,
};

interface ProportionalAutoscalerOptions {
  readonly scales?: ProportionalScales | undefined;
  /** Default: a TCP connection. */
  readonly probe?: DnsProbe | undefined;
}

export function proportionalAutoscalerController({
  scales,
  probe = takesConnections,
}: ProportionalAutoscalerOptions = {}): ControllerDefinition {
  const keys = (): string[] => [''];
  return defineController({
    name: 'proportional-autoscaler-controller',
    serviceAccount: 'proportional-autoscaler',
    eventSource: 'proportional-autoscaler',
    watches: [
      watch(configMaps, { select: LABELLED, keys }),
      watch(configMaps, { select: OF_DNS, keys }),
      watch(nodes, { keys, changed: (node, previous) => footprint(node) !== footprint(previous) }),
    ],
    workers: 1,
    resyncEveryMs: POLL_MS,
    reconcile: (context) => scaleAll({ context, scales, probe }),
  });
}

function footprint(node: Stored<Node>): string {
  const { labels, annotations } = node.metadata;
  const dns = annotations?.[DNS_SERVER_ANNOTATION];
  return JSON.stringify([isSchedulable(node), node.status?.allocatable?.['cpu'], labels, dns]);
}

async function scaleAll(scaling: Scaling): Promise<void> {
  const { context, scales, probe } = scaling;
  await ensureDnsAutoscaler(context, probe);
  const found = new Map(
    [LABELLED, OF_DNS]
      .flatMap((select) => context.shared.informer(configMaps, select).list())
      .map((configMap) => [objectKey(configMap), configMap]),
  );
  const all = [...found.values()].toSorted((left, right) => (objectKey(left) < objectKey(right) ? -1 : 1));
  scales?.keep(new Set(found.keys()));
  if (all.length > MAXIMUM_CONFIG_MAPS)
    context.log.warn('too many ConfigMaps of the proportional autoscaler: the others are left alone', {
      found: all.length,
      maximum: MAXIMUM_CONFIG_MAPS,
    });
  for (const configMap of all.slice(0, MAXIMUM_CONFIG_MAPS)) {
    context.signal.throwIfAborted();
    const problem = await scaleBy(configMap, scaling).then(
      () => undefined,
      (error: unknown) => errorMessage(error),
    );
    reportOnce(context, configMap, problem);
  }
}

interface Scaling {
  readonly context: ReconcileContext;
  readonly scales: ProportionalScales | undefined;
  readonly probe: DnsProbe;
}

/** Rejects with a sentence for the user. */
async function scaleBy(configMap: Stored<ConfigMap>, scaling: Scaling): Promise<void> {
  const { context, scales } = scaling;
  const { metadata, data } = configMap;
  const parameters = parseParameters(data);
  const size = clusterSize(selectNodes(context, metadata.annotations?.[NODE_LABELS]));
  const targets = await targetsOf(context, configMap);
  const wanted = parameters.replicasFor(size);
  scales?.set(objectKey(configMap), { size, replicas: wanted });
  const problems = parameters.unknown.map((field) => `${field} is ignored`);
  for (const name of targets)
    await scaleTarget(name, { context, configMap, size, wanted }).catch((error: unknown) =>
      problems.push(`${name.kind}/${name.name} cannot be scaled: ${errorMessage(error)}`),
    );
  if (targets.length === 0) await scaleMachines(wanted, { ...scaling, configMap });
  if (problems.length > 0) throw new Error(problems.join('; '));
}

/** The DNS of machines: no Deployment is there. */
async function scaleMachines(
  wanted: number,
  { context, configMap, probe }: Scaling & { readonly configMap: Stored<ConfigMap> },
): Promise<void> {
  const { api, events, log } = context;
  const dns = await findMachineDns({ api, all: context.informer(nodes).list(), probe });
  if (!dns) return;
  const servers = await dns.scale(wanted);
  if (servers !== dns.servers) {
    const message = `Scaled the DNS of machines from ${dns.servers} to ${servers} servers`;
    log.info('scaled in proportion to the cluster', { configMap: objectKey(configMap), servers });
    events.event(configMap, { type: 'Normal', reason: 'ScaledTarget', message });
  }
  await dns.publish();
  if (servers < wanted)
    throw new Error(`${servers} machines serve DNS, and ${wanted} are asked for: no further Node can`);
}

function selectNodes({ informer }: ReconcileContext, selector: string | undefined): readonly Stored<Node>[] {
  const all = informer(nodes).list();
  if (selector === undefined || selector === '') return all;
  const wanted = parseLabelSelector(selector);
  return all.filter(({ metadata }) => wanted.matches(metadata.labels));
}

async function targetsOf(
  { api }: ReconcileContext,
  { metadata }: Stored<ConfigMap>,
): Promise<readonly TargetName[]> {
  const given = metadata.annotations?.[TARGET];
  const namespace = metadata.namespace!;
  if (given !== undefined) return parseTargets(given, { namespace, annotation: TARGET });
  const isDns = metadata.name === DNS_AUTOSCALER.name && namespace === DNS_AUTOSCALER.namespace;
  if (!isDns) throw new Error(`it has no annotation ${TARGET}, as in deployment/NAME`);
  const name = await findDnsDeployment(api, namespace);
  return name === undefined ? [] : [{ kind: 'deployment', name, namespace }];
}

interface TargetScaling {
  readonly context: ReconcileContext;
  readonly configMap: Stored<ConfigMap>;
  readonly size: ClusterSize;
  readonly wanted: number;
}

async function scaleTarget(
  name: TargetName,
  { context, configMap, size, wanted }: TargetScaling,
): Promise<void> {
  const { api, log, events } = context;
  const target = await openTarget(api, name);
  if (target.replicas === wanted) return;
  await target.scale(wanted);
  const text = `${name.kind}/${name.name} from ${target.replicas} to ${wanted} replicas`;
  log.info('scaled in proportion to the cluster', {
    configMap: objectKey(configMap),
    target: text,
    nodes: size.nodes,
    cores: size.cores,
  });
  events.event(configMap, {
    type: 'Normal',
    reason: 'ScaledTarget',
    message: `Scaled ${text}: ${size.schedulableNodes} of ${size.nodes} nodes and ${size.schedulableCores} of ${size.cores} cores are schedulable`,
  });
}

/** One event and one line in the log for each problem, however often it is met. */
function reportOnce(
  { memory, events, log }: ReconcileContext,
  configMap: Stored<ConfigMap>,
  problem: string | undefined,
): void {
  const key = objectKey(configMap);
  if (memory.get(key) === problem) return;
  if (problem === undefined) return void memory.delete(key);
  memory.set(key, problem);
  log.warn('error in proportional autoscaling', { configMap: key, error: problem });
  events.event(configMap, { type: 'Warning', reason: 'ScalingFailed', message: problem });
}

/** Once for each leader, as the autoscaler's default parameters: an administrator may change it, or delete it until the next start. */
async function ensureDnsAutoscaler(context: ReconcileContext, probe: DnsProbe): Promise<void> {
  const { api, shared, memory } = context;
  if (memory.has('')) return;
  if (shared.informer(configMaps, OF_DNS).list().length === 0) {
    const found =
      (await findDnsDeployment(api, DNS_AUTOSCALER.namespace)) ??
      (await findMachineDns({ api, all: context.informer(nodes).list(), probe }));
    if (found === undefined) return;
    await api
      .create(configMaps, {
        metadata: { ...DNS_AUTOSCALER, labels: { 'app.kubernetes.io/managed-by': 'capstan' } },
        data: { linear: JSON.stringify(DNS_PARAMETERS) },
      })
      .catch((error: unknown) => {
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      });
  }
  memory.set('', true);
}
