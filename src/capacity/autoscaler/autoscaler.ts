/**
 * One loop of the cluster autoscaler after the other, for as long as an instance leads. Each begins with what the provider and the API server say now.
 *
 *   observe ─► repair ─► a simulation with machines on their way ─► scale-up ─┬─ groups grew: over
 *                                                                            '─ none did ─► unneeded Nodes ─► scale-down, unless it cools down
 *   status, metrics: at the end of each loop
 */
import type { ConfigMap, DaemonSet, Pod, ReplicaSet, ReplicationController } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { resourceAmounts } from '#scheduler/resources.ts';
import type { Simulation } from '#scheduler/simulation.ts';
import { errorMessage } from '#stdx/log.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import { nodeLike } from '../template-node.ts';
import { ClusterState, type Findings } from './cluster-state.ts';
import type { AutoscalerContext } from './context.ts';
import { TemplateSource, type GroupTemplates } from './group-templates.ts';
import type { LoopFunction } from './metrics.ts';
import { isBeingDeleted } from './node-facts.ts';
import { NodeDeletions, takeBackMarks } from './node-deletions.ts';
import { observe } from './observe.ts';
import { sortPending, type PendingPods } from './pending-pods.ts';
import { parsePriorities, PRIORITY_CONFIG_MAP, PRIORITY_FIELD, type Priorities } from './priorities.ts';
import { repair } from './repair.ts';
import { countReasons, ScaleDownPlanner, type ScaleDownPlan } from './scale-down-plan.ts';
import { scaleUp } from './scale-up-step.ts';
import { SoftTaints } from './soft-taints.ts';
import { renderUnread, StatusReport, writeStatus } from './status.ts';

/** Further objects that it reads. */
export interface AutoscalerInformers {
  readonly daemonSets: Informer<DaemonSet>;
  readonly replicaSets: Informer<ReplicaSet>;
  readonly replicationControllers: Informer<ReplicationController>;
  /** Of the priority expander. */
  readonly priorities: Informer<ConfigMap>;
}

interface AutoscalerOptions extends Omit<AutoscalerContext, 'state' | 'statusConfigMap'> {
  readonly informers: AutoscalerInformers;
  readonly random?: Random | undefined;
}

export class Autoscaler {
  readonly #context: AutoscalerContext;
  readonly #informers: AutoscalerInformers;
  readonly #random: Random;
  readonly #planner: ScaleDownPlanner;
  readonly #deletions: NodeDeletions;
  readonly #templates = new TemplateSource();
  readonly #status = new StatusReport();
  readonly #softTaints: SoftTaints;
  readonly #replacing = new Set<string>();
  #statusConfigMap: Pick<ConfigMap, 'apiVersion' | 'kind' | 'metadata'>;
  #lastScaleUpMs = -Infinity;
  #begun = false;
  #priorityProblem: string | undefined;

  constructor({ informers, random = realRandom, ...options }: AutoscalerOptions) {
    const { settings } = options;
    this.#informers = informers;
    this.#random = random;
    this.#statusConfigMap = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: settings.statusConfigMapName, namespace: settings.namespace },
    };
    this.#context = {
      ...options,
      state: new ClusterState(settings),
      statusConfigMap: () => this.#statusConfigMap,
    };
    this.#planner = new ScaleDownPlanner(settings);
    this.#deletions = new NodeDeletions(this.#context);
    this.#softTaints = new SoftTaints(this.#context);
    options.metrics.limits({
      maxNodes: settings.maxNodesTotal,
      cores: settings.cores,
      memoryBytes: settings.memoryBytes,
    });
  }

  /** Never rejects: what fails is logged, counted and told in the status, and tried again in the next loop. */
  async runOnce(): Promise<void> {
    const { clock, metrics, log, signal } = this.#context;
    const startMs = clock.monotonic();
    metrics.activity('main', clock.now());
    try {
      await this.#loop();
    } catch (error) {
      if (signal.aborted) return;
      metrics.failed('cloudProviderError');
      log.warn('error in the loop of the cluster autoscaler', { error: errorMessage(error) });
      await this.#writeStatus(renderUnread({ nowMs: clock.now(), message: errorMessage(error) }));
    }
    metrics.took('main', clock.monotonic() - startMs);
  }

  /** Resolves when no deletion goes on any more; after the context's signal was aborted. */
  ended(): Promise<void> {
    return this.#deletions.ended();
  }

  async #loop(): Promise<void> {
    const { state, provider, settings, source, clock, metrics, signal } = this.#context;
    if (!this.#begun) await takeBackMarks(this.#context);
    this.#begun = true;
    const findings = await this.#timed('updateClusterState', async () => {
      const nodes = source.nodes.list();
      return state.update(await observe(provider, { nodes, settings, nowMs: clock.now() }));
    });
    signal.throwIfAborted();
    metrics.activity('autoscaling', clock.now());
    this.#measureCluster();
    if (await this.#repair(findings)) return this.#report({ isScaleUpNeeded: false, plan: NOTHING });
    if (!this.#isSafe()) return this.#report({ isScaleUpNeeded: false, plan: NOTHING });
    const pending = sortPending(source.pods.list(), { ...settings, nowMs: clock.now() });
    metrics.pending(pending.unschedulable.length);
    const { simulation, templates } = await this.#simulate(pending);
    const { grew, isScaleUpNeeded } = await this.#scaleUp({ simulation, templates, pending });
    const plan = grew ? NOTHING : await this.#scaleDown(simulation);
    await this.#report({ isScaleUpNeeded, plan });
  }

  async #repair(findings: Findings): Promise<boolean> {
    const { state } = this.#context;
    await this.#deletions.takeBackLate(
      (group) => (state.group(group)?.options ?? this.#context.settings.groupDefaults).maxNodeProvisionMs,
    );
    const changed = await repair(this.#context, { findings, replacing: this.#replacing });
    for (const group of this.#replacing) {
      const found = state.group(group);
      if (!found || found.target >= found.minSize) this.#replacing.delete(group);
    }
    return changed;
  }

  /** Where too much is broken, more machines or fewer would not mend it. */
  #isSafe(): boolean {
    const { state, settings, events, log } = this.#context;
    const { ready, registered, unready } = state.total;
    if (ready.length === 0 && !settings.scaleUpFromZero) {
      log.warn('the cluster has no Node that is Ready: nothing is done');
      return false;
    }
    if (state.isHealthy()) return true;
    log.warn('the cluster is unhealthy: nothing is done', {
      unready: unready.length,
      registered: registered.length,
    });
    events.event(this.#statusConfigMap, {
      type: 'Warning',
      reason: 'ClusterUnhealthy',
      message: 'Cluster is unhealthy',
    });
    return false;
  }

  async #simulate(
    pending: PendingPods,
  ): Promise<{ readonly simulation: Simulation; readonly templates: GroupTemplates }> {
    const { state, source } = this.#context;
    const simulation = source.begin();
    for (const pod of pending.expendable) simulation.removePod(pod);
    const names = new Set(simulation.nodeNames);
    for (const pod of pending.preempting) {
      const promised = pod.status?.nominatedNodeName ?? '';
      if (names.has(promised)) simulation.placeOn(pod, promised);
    }
    const daemonSets = this.#informers.daemonSets.list();
    const templates = await this.#templates.read(this.#context, { simulation, daemonSets });
    for (const { id } of state.groups) {
      const template = templates.get(id);
      if (!template) continue;
      for (let index = 0; index < state.upcoming(id); index += 1) {
        const { node, pods } = nodeLike(template, `upcoming-${id}-${index}`);
        simulation.addNode(node, pods);
      }
    }
    return { simulation, templates };
  }

  async #scaleUp({
    simulation,
    templates,
    pending,
  }: {
    readonly simulation: Simulation;
    readonly templates: GroupTemplates;
    readonly pending: PendingPods;
  }): Promise<{ readonly grew: boolean; readonly isScaleUpNeeded: boolean }> {
    if (pending.unschedulable.length === 0) return { grew: false, isScaleUpNeeded: false };
    const { metrics, clock } = this.#context;
    metrics.activity('scaleUp', clock.now());
    const { increases, notHelped } = await this.#timed('scaleUp', () =>
      scaleUp(this.#context, {
        simulation,
        templates,
        pods: pending.unschedulable.slice(0, MAX_PODS),
        priorities: this.#readPriorities(),
        random: this.#random,
      }),
    );
    if (increases.length > 0) this.#lastScaleUpMs = clock.now();
    return { grew: increases.length > 0, isScaleUpNeeded: notHelped.length > 0 };
  }

  async #scaleDown(simulation: Simulation): Promise<ScaleDownPlan> {
    const { settings, state, source, clock, metrics } = this.#context;
    if (!settings.scaleDownEnabled) return NOTHING;
    const inDeletion = this.#deletions.byGroup();
    const allocatable = new Map(simulation.nodeNames.map((name) => [name, simulation.use(name).allocatable]));
    const spare = this.#spare();
    const plan = await this.#timed('findUnneeded', () =>
      Promise.resolve(
        this.#planner.plan({
          simulation,
          state,
          budgets: source.budgets.list(),
          replicasOf: (pod) => this.#replicasOf(pod),
          inDeletion,
          clock,
        }),
      ),
    );
    const inCooldown = this.#isCoolingDown();
    metrics.scaleDown({
      unneeded: plan.unneeded.length,
      unremovable: countReasons(plan),
      inCooldown,
      deleting: this.#deletions.count,
    });
    await this.#softTaints.update(new Set(plan.unneeded.map(({ name }) => name)));
    if (inCooldown) return plan;
    metrics.activity('scaleDown', clock.now());
    const due = this.#planner.due(plan, {
      ...spare,
      state,
      inDeletion,
      nowMs: clock.now(),
      allocatableOf: (name) => allocatable.get(name) ?? { milliCPU: 0, memoryBytes: 0 },
    });
    await this.#timed('scaleDown', () => this.#delete(due));
    return plan;
  }

  async #delete(due: ScaleDownPlan['unneeded']): Promise<void> {
    const { settings, source } = this.#context;
    for (const { name, group, pods, utilization, isReady, isReplaced } of due) {
      const isFull = this.#deletions.count >= settings.maxScaleDownParallelism;
      const drains = pods.length > 0;
      if (isFull || (drains && this.#deletions.draining >= settings.maxDrainParallelism)) continue;
      const node = source.nodes.get(name);
      if (!node) continue;
      if (isReplaced) this.#replacing.add(group);
      const reason = !isReady ? 'unready' : drains ? 'underutilized' : 'empty';
      await this.#deletions.start({ node, group, pods, utilization, reason });
    }
  }

  #isCoolingDown(): boolean {
    const { settings, clock } = this.#context;
    const nowMs = clock.now();
    return (
      nowMs - this.#lastScaleUpMs < settings.scaleDownDelayAfterAddMs ||
      nowMs - this.#deletions.lastDeletionMs < settings.scaleDownDelayAfterDeleteMs ||
      nowMs - this.#deletions.lastFailureMs < settings.scaleDownDelayAfterFailureMs
    );
  }

  /** What the cluster has beyond the least that it should. */
  #spare(): { readonly spareCores: number; readonly spareMemoryBytes: number } {
    const { settings } = this.#context;
    const { cores, memoryBytes } = this.#sizes();
    return {
      spareCores: cores - settings.cores.min,
      spareMemoryBytes: memoryBytes - settings.memoryBytes.min,
    };
  }

  /** Without Nodes that are deleted. */
  #sizes(): { readonly cores: number; readonly memoryBytes: number } {
    const amounts = this.#context.source.nodes
      .list()
      .filter((node) => !isBeingDeleted(node))
      .map(({ status }) => resourceAmounts(status?.allocatable));
    return {
      cores: amounts.reduce((sum, { milliCPU }) => sum + milliCPU / 1_000, 0),
      memoryBytes: amounts.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    };
  }

  #measureCluster(): void {
    const { state, metrics, settings, clock } = this.#context;
    metrics.cluster({
      isSafe: state.isHealthy(),
      readiness: state.total,
      groups: state.groups,
      ...this.#sizes(),
    });
    if (!settings.emitPerNodeGroupMetrics) return;
    for (const group of state.groups)
      metrics.group(group, {
        isHealthy: state.isGroupHealthy(group.id),
        backoff: state.backoffOf(group.id, clock.now()),
      });
  }

  #replicasOf(pod: Pod): number | undefined {
    const owner = findController(pod);
    const key = `${pod.metadata?.namespace}/${owner?.name}`;
    if (owner?.kind === 'ReplicaSet') return this.#informers.replicaSets.get(key)?.spec?.replicas;
    if (owner?.kind === 'ReplicationController')
      return this.#informers.replicationControllers.get(key)?.spec?.replicas;
    return undefined;
  }

  /** Undefined: there are none, or they are wrong, which is reported once. */
  #readPriorities(): Priorities | undefined {
    const { settings, events, log } = this.#context;
    if (!settings.expanders.includes('priority')) return undefined;
    const config = this.#informers.priorities.get(`${settings.namespace}/${PRIORITY_CONFIG_MAP}`);
    try {
      if (!config) throw new Error(`there is no ConfigMap ${settings.namespace}/${PRIORITY_CONFIG_MAP}`);
      const parsed = parsePriorities(config.data?.[PRIORITY_FIELD] ?? '');
      this.#priorityProblem = undefined;
      return parsed;
    } catch (error) {
      const message = errorMessage(error);
      if (message !== this.#priorityProblem) {
        log.warn('the expander priority has no priorities', { error: message });
        const reason = config ? 'PriorityConfigMapInvalid' : 'PriorityConfigMapNotFound';
        events.event(config ?? this.#statusConfigMap, { type: 'Warning', reason, message });
      }
      this.#priorityProblem = message;
      return undefined;
    }
  }

  async #report({
    isScaleUpNeeded,
    plan,
  }: {
    readonly isScaleUpNeeded: boolean;
    readonly plan: ScaleDownPlan;
  }): Promise<void> {
    const { state, clock } = this.#context;
    const byGroup = Map.groupBy(plan.unneeded, ({ group }) => group);
    const candidates = new Map([...byGroup].map(([group, nodes]) => [group, nodes.length]));
    await this.#writeStatus(this.#status.render({ state, nowMs: clock.now(), isScaleUpNeeded, candidates }));
  }

  async #writeStatus(status: string): Promise<void> {
    const { api, settings, clock, log, metrics } = this.#context;
    if (!settings.writeStatusConfigMap) return;
    const { namespace, statusConfigMapName: name } = settings;
    await writeStatus(api, { namespace, name, status, nowMs: clock.now() }).then(
      (stored) => {
        this.#statusConfigMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: stored.metadata };
      },
      (error: unknown) => {
        metrics.failed('apiCallError');
        log.warn('error writing the status', { error: errorMessage(error) });
      },
    );
  }

  async #timed<T>(of: LoopFunction, work: () => Promise<T>): Promise<T> {
    const { clock, metrics } = this.#context;
    const startMs = clock.monotonic();
    try {
      return await work();
    } finally {
      metrics.took(of, clock.monotonic() - startMs);
    }
  }
}

/** Of one decision, the most important ones: it holds up the renewal of the lease. The next loop sees to the others. */
const MAX_PODS = 2_000;
const NOTHING: ScaleDownPlan = { unneeded: [], unremovable: new Map() };
