/**
 * A cluster for tests of the autoscaler, on a clock that stands still: a real API server, the real scheduler and controllers of nodes, simulated nodes, and the autoscaler as its own service account. What the provider says
 * and does can be made wrong.
 */
import assert from 'node:assert/strict';
import type { Pod, PodSpec } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { events, namespaces, nodes, pods, priorityClasses, replicaSets } from '#client/refs.ts';
import { controllerIdentity, identities } from '#cmd/all-in-one/identities.ts';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { createSimulatedProvider } from '#cmd/cluster-autoscaler/simulated-provider.ts';
import { nodeLifecycleController } from '#controllers/core/node-lifecycle-controller.ts';
import { podGarbageCollectorController } from '#controllers/core/pod-garbage-collector-controller.ts';
import { disruptionController } from '#controllers/policy/disruption-controller.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { isStatusError } from '#machinery/errors.ts';
import { createSimulatedNodes } from '#node/simulated/simulated-nodes.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { seededRandom } from '#stdx/random.ts';
import { parseNodeGroups } from '#capacity/node-groups.ts';
import { createClusterAutoscaler } from '#capacity/autoscaler/component.ts';
import type { Instance, NodeProvider } from '#capacity/autoscaler/provider.ts';
import { DEFAULT_SETTINGS, type AutoscalerSettings } from '#capacity/autoscaler/settings.ts';

const NAMESPACE = 'shop';

export interface Group {
  readonly name: string;
  readonly minSize?: number;
  readonly maxSize?: number;
  readonly cpu?: string;
  readonly price?: number;
  readonly zone?: string;
}

/** Each is asked at each call; unset: the provider is as good as its word. */
interface Faults {
  /** Every call rejects. */
  isDown?: boolean;
  /** No call is answered. */
  isSlow?: boolean;
  /** Added to the target that it tells, by group. */
  targetError?: number;
  /** Instances are not told of. */
  hidesInstances?: boolean;
  /** increase() makes instances that never become Nodes. */
  makesGhosts?: boolean;
  /** increase() makes instances that report this error. */
  makesFailures?: string;
  /** deleteNodes() resolves, and does nothing. */
  onlySaysDeleted?: boolean;
}

interface ScalingWorld {
  readonly world: TestWorld;
  readonly faults: Faults;
  readonly metrics: MetricsRegistry;
  /** Calls that change something, as they came. */
  readonly calls: string[];
  nodeNames(): Promise<readonly string[]>;
  eventsOf(name: string): Promise<readonly string[]>;
  /** A Node that is no machine of the provider. */
  createFixed(name: string, cpu: string): Promise<void>;
  createPod(name: string, spec: PodOptions): Promise<Pod>;
  deletePod(name: string): Promise<void>;
  podsOn(): Promise<Readonly<Record<string, string | undefined>>>;
  status(): Promise<string>;
  pass(ms: number): Promise<void>;
  until(what: string, check: () => Promise<unknown>): Promise<void>;
  /** Another autoscaler follows this one. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

interface PodOptions {
  readonly cpu: string;
  readonly priority?: number;
  readonly spec?: Partial<PodSpec>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: a ReplicaSet's; false: nobody makes it again. */
  readonly isReplicated?: boolean;
}

interface WorldOptions {
  readonly groups: readonly Group[];
  readonly settings?: Partial<AutoscalerSettings>;
}

const STEP_MS = 1_000;
const PATIENCE_MS = 30_000;

export async function startScalingWorld({ groups, settings = {} }: WorldOptions): Promise<ScalingWorld> {
  const world = await startTestWorld([
    nodeLifecycleController,
    podGarbageCollectorController,
    disruptionController,
  ]);
  const { clock, test, api } = world;
  const log = process.env['CAPSTAN_TEST_LOG'] ? createLogger({ level: 'debug' }) : silentLogger;
  const metrics = new MetricsRegistry();
  const faults: Faults = {};
  const calls: string[] = [];
  const context = { clock, log, identity: 'test' };
  await world.namespace(NAMESPACE);
  await api.create(namespaces, { metadata: { name: 'kube-node-lease' } }).catch((error: unknown) => {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  });
  const owner = await api.create(replicaSets, {
    metadata: { name: 'web', namespace: NAMESPACE },
    spec: {
      selector: { matchLabels: { none: 'x' } },
      template: { metadata: { labels: { none: 'x' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  const scheduler = createScheduler({
    ...context,
    api: test.clientAs(identities.scheduler),
    leaderElect: false,
    random: seededRandom(1),
  });
  const fixed = createSimulatedNodes({
    ...context,
    api: test.clientAs(identities.simulatedNodes),
    names: [],
    kubeletVersion: KUBERNETES_VERSION,
    canGrow: true,
  });
  const autoscalerApi = test.clientAs(controllerIdentity('cluster-autoscaler'));
  const createAutoscaler = () =>
    createClusterAutoscaler({
      ...context,
      api: autoscalerApi,
      metrics,
      settings: { ...DEFAULT_SETTINGS, ...settings },
      leaderElect: false,
      random: seededRandom(1),
      provider: async () => {
        const config = parseNodeGroups(configOf(groups));
        const simulated = await createSimulatedProvider({
          ...context,
          api: test.clientAs(identities.simulatedNodes),
          config,
          random: seededRandom(7),
        });
        return faulty(simulated, { faults, calls });
      },
    });
  let autoscaler = createAutoscaler();
  const run = async (work: Promise<void>): Promise<void> => {
    let over = false;
    const ended = work.finally(() => (over = true));
    ended.catch(() => {});
    while (!over) await clock.advance(STEP_MS);
    await ended;
  };
  await run(scheduler.start());
  await run(fixed.start());
  await run(autoscaler.start());
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= STEP_MS) await clock.advance(STEP_MS);
  };
  return {
    world,
    faults,
    metrics,
    calls,
    pass,
    async nodeNames() {
      return (await api.list(nodes)).items.map(({ metadata }) => metadata.name);
    },
    async eventsOf(name) {
      const { items } = await api.list(events, { fieldSelector: `involvedObject.name=${name}` });
      return items.map(({ reason, message }) => `${reason}: ${message}`);
    },
    createFixed: (name, cpu) => fixed.add({ name, capacity: { cpu, memory: '8Gi', pods: '110' } }),
    async createPod(name, options) {
      const { cpu, priority, spec = {}, annotations = {}, labels = {}, isReplicated = true } = options;
      if (priority !== undefined) await ensurePriorityClass(api, priority);
      return api.create(pods, {
        metadata: {
          name,
          namespace: NAMESPACE,
          annotations,
          labels,
          ownerReferences: isReplicated
            ? [
                {
                  apiVersion: 'apps/v1',
                  kind: 'ReplicaSet',
                  name: 'web',
                  uid: owner.metadata.uid,
                  controller: true,
                },
              ]
            : [],
        },
        spec: {
          terminationGracePeriodSeconds: 1,
          ...(priority === undefined ? {} : { priorityClassName: `p${priority}` }),
          containers: [{ name: 'c', image: 'i', resources: { requests: { cpu, memory: '10Mi' } } }],
          ...spec,
        },
      });
    },
    deletePod: (name) => api.delete(pods, { name, namespace: NAMESPACE }, { gracePeriodSeconds: 0 }),
    async podsOn() {
      const { items } = await api.list(pods, { namespace: NAMESPACE });
      return Object.fromEntries(items.map(({ metadata, spec }) => [metadata.name, spec?.nodeName]));
    },
    async status() {
      const found = await api.get(
        { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
        { name: 'cluster-autoscaler-status', namespace: 'kube-system' },
      );
      return (found as { readonly data?: { readonly status?: string } }).data?.status ?? '';
    },
    async until(what, check) {
      const endMs = performance.now() + PATIENCE_MS;
      let last: unknown;
      while (performance.now() < endMs) {
        last = await check().catch((error: unknown) => void (last = error));
        if (last) return;
        await clock.advance(STEP_MS);
      }
      assert.fail(`never came true: ${what}`);
    },
    async restart() {
      await run(autoscaler.stop());
      autoscaler = createAutoscaler();
      await run(autoscaler.start());
    },
    async stop() {
      await run(autoscaler.stop());
      await run(fixed.stop());
      await run(scheduler.stop());
      await world.stop();
    },
  };
}

async function ensurePriorityClass(api: Client, value: number): Promise<void> {
  await api.create(priorityClasses, { metadata: { name: `p${value}` }, value }).catch((error: unknown) => {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  });
}

function configOf(groups: readonly Group[]): string {
  return JSON.stringify({
    apiVersion: 'capacity.capstan.dev/v1alpha1',
    kind: 'NodeGroups',
    groups: groups.map(({ name, cpu = '4', maxSize = 10, zone, ...more }) => ({
      name,
      maxSize,
      ...more,
      template: {
        labels: zone ? { 'topology.kubernetes.io/zone': zone } : {},
        allocatable: { cpu, memory: '8Gi', pods: '110' },
      },
    })),
  });
}

interface Wrapping {
  readonly faults: Faults;
  readonly calls: string[];
}

/** The provider with whatever is wrong with it now. */
function faulty(provider: NodeProvider, { faults, calls }: Wrapping): NodeProvider {
  /** Instances that are no Nodes, by group. */
  const ghosts = new Map<string, Instance[]>();
  const ghostsOf = (group: string): Instance[] => ghosts.get(group) ?? [];
  const answer = async <T>(work: () => Promise<T>): Promise<T> => {
    if (faults.isDown) throw new Error('connection refused');
    if (faults.isSlow) await new Promise<never>(() => {});
    return work();
  };
  return {
    name: provider.name,
    refresh: () => answer(() => provider.refresh()),
    groups: () => answer(() => provider.groups()),
    groupOf: (node) => answer(() => provider.groupOf(node)),
    targetSize: (group) =>
      answer(
        async () => (await provider.targetSize(group)) + ghostsOf(group).length + (faults.targetError ?? 0),
      ),
    instances: (group) =>
      answer(async () =>
        faults.hidesInstances ? [] : [...(await provider.instances(group)), ...ghostsOf(group)],
      ),
    template: (group) => answer(() => provider.template(group)),
    increase: (group, delta) =>
      answer(async () => {
        calls.push(`increase ${group} ${delta}`);
        const { makesGhosts, makesFailures } = faults;
        if (!makesGhosts && makesFailures === undefined) return provider.increase(group, delta);
        const made = Array.from({ length: delta }, (_, index): Instance => ({
          id: `ghost://${group}/${calls.length}-${index}`,
          state: 'creating',
          ...(makesFailures === undefined
            ? {}
            : {
                error: { errorClass: 'out-of-resources', code: makesFailures, message: 'no more machines' },
              }),
        }));
        ghosts.set(group, [...ghostsOf(group), ...made]);
      }),
    deleteNodes: (group, gone) =>
      answer(async () => {
        calls.push(`delete ${group} ${gone.map(({ name }) => name).join(' ')}`);
        if (faults.onlySaysDeleted) return;
        const ids = new Set(gone.map(({ providerID }) => providerID));
        const known = new Set(ghostsOf(group).map(({ id }) => id));
        ghosts.set(
          group,
          ghostsOf(group).filter(({ id }) => !ids.has(id)),
        );
        const real = gone.filter(({ providerID }) => !known.has(providerID));
        if (real.length > 0) await provider.deleteNodes(group, real);
      }),
    decreaseTarget: (group, delta) =>
      answer(async () => {
        calls.push(`decrease ${group} ${delta}`);
        if (faults.targetError) faults.targetError += delta;
        else await provider.decreaseTarget(group, delta);
      }),
    price: (group, template) => answer(() => provider.price!(group, template)),
    close: () => provider.close(),
  };
}
