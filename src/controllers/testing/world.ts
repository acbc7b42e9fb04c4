/**
 * Shared by controller tests: a real API server in this process, controllers with their own service accounts, a fake clock,
 * and functions that play scheduler and kubelet.
 */
import assert from 'node:assert/strict';
import type { Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger, createLogger } from '#stdx/log.ts';
import type { Client, ObjectName, ResourceRef } from '#client/client.ts';
import { namespaces, nodes, pods, serviceAccounts } from '#client/refs.ts';
import type { ControllerDefinition } from '#runtime/controller.ts';
import { createControllerManager, type ControllerManager } from '#runtime/run-controllers.ts';
import { startTestApi, type TestApi, type TestApiOptions } from '#testing/start-test-api.ts';

const STEP_MS = 20;
/** Real time; only reached when a state never occurs. */
const PATIENCE_MS = 20_000;
const AUTHENTICATED = 'system:authenticated';

type Truthy<T> = Exclude<T, false | null | undefined | 0 | ''>;

export interface TestWorld {
  readonly api: Client;
  readonly clock: FakeClock;
  readonly test: TestApi;
  /** Advances the clock until the check returns a truthy value, and returns that. An exception counts as "not yet". */
  until<T>(what: string, check: () => Promise<T> | T): Promise<Truthy<T>>;
  /** Lets all work happen for this much of the clock's time. */
  pass(ms: number): Promise<void>;
  namespace(name: string): Promise<void>;
  node(name: string, change?: (node: KubeObject) => void): Promise<void>;
  /** The object, or undefined when there is none. */
  find<T extends KubeObject>(ref: ResourceRef<T>, name: ObjectName): Promise<T | undefined>;
  /** Reports a status as the kubelet does. */
  setPod(
    pod: Pod,
    status: {
      readonly phase?: string;
      readonly ready?: boolean;
      readonly podIP?: string;
      readonly reason?: string;
      readonly exitCode?: number;
      readonly extra?: object;
    },
  ): Promise<Pod>;
  /** The kubelet's final deletion of a terminating pod. */
  finishPod(pod: Pod): Promise<void>;
  /** Assigns a pending pod to a node, as a scheduler does. */
  bind(pod: Pod, nodeName: string): Promise<void>;
  stop(): Promise<void>;
}

/** Additional options of the API server. */
export async function startTestWorld(
  definitions: readonly ControllerDefinition[],
  more: Pick<TestApiOptions, 'store' | 'settings' | 'serving' | 'serviceCIDR'> = {},
): Promise<TestWorld> {
  const clock = new FakeClock();
  const log = process.env['CAPSTAN_TEST_LOG'] ? createLogger({ level: 'debug' }) : silentLogger;
  const test = await startTestApi({ ...more, clock });
  const { api } = test;
  const shared = test.clientAs({ name: 'system:kube-controller-manager', groups: [AUTHENTICATED] });
  const own = new Map(
    definitions.map((definition) => {
      const name = `system:serviceaccount:kube-system:${definition.serviceAccount ?? definition.name}`;
      return [
        definition.name,
        test.clientAs({
          name,
          groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', AUTHENTICATED],
        }),
      ];
    }),
  );
  const manager: ControllerManager = createControllerManager(definitions, {
    api: shared,
    clock,
    log,
    identity: 'test',
    clientFor: ({ name }) => own.get(name)!,
  });
  const world = new World({ api, clock, test, manager });
  await world.run(manager.start());
  return world;
}

class World implements TestWorld {
  readonly api: Client;
  readonly clock: FakeClock;
  readonly test: TestApi;
  readonly #manager: ControllerManager;

  constructor({
    api,
    clock,
    test,
    manager,
  }: {
    readonly api: Client;
    readonly clock: FakeClock;
    readonly test: TestApi;
    readonly manager: ControllerManager;
  }) {
    this.api = api;
    this.clock = clock;
    this.test = test;
    this.#manager = manager;
  }

  async until<T>(what: string, check: () => Promise<T> | T): Promise<Truthy<T>> {
    const endMs = performance.now() + PATIENCE_MS;
    let last: unknown;
    while (performance.now() < endMs) {
      try {
        const answer = await check();
        if (answer) return answer as Truthy<T>;
        last = answer;
      } catch (error) {
        last = error;
      }
      await this.clock.advance(STEP_MS);
    }
    return assert.fail(
      `never came true: ${what} (${last instanceof Error ? last.message : JSON.stringify(last)})`,
    );
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= STEP_MS) await this.clock.advance(STEP_MS);
  }

  /** Awaits a promise while advancing the clock. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let over = false;
    const ended = promise.finally(() => {
      over = true;
    });
    ended.catch(() => {});
    while (!over) await this.clock.advance(STEP_MS);
    return ended;
  }

  async namespace(name: string): Promise<void> {
    await this.api.create(namespaces, { metadata: { name } });
    // Pods are rejected without it; where the serviceaccount controller runs, it may exist already.
    await this.api
      .create(serviceAccounts, { metadata: { name: 'default', namespace: name } })
      .catch((error: unknown) => {
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      });
  }

  async node(name: string, change: (node: KubeObject) => void = () => {}): Promise<void> {
    const condition = {
      type: 'Ready',
      status: 'True',
      reason: 'KubeletReady',
      lastHeartbeatTime: formatTime(this.clock.now()),
      lastTransitionTime: formatTime(this.clock.now()),
    };
    const node = {
      metadata: { name, labels: { 'kubernetes.io/hostname': name } },
      spec: {},
      status: { capacity: { cpu: '4', memory: '8Gi', pods: '110' }, conditions: [condition] },
    };
    change(node);
    const created = await this.api.create(nodes, node);
    if (!created.spec?.taints?.length) return;
    // Admission adds the not-ready taint; the lifecycle controller may not run in this test.
    const spec = {
      ...created.spec,
      taints: created.spec.taints.filter(({ key }) => key !== 'node.kubernetes.io/not-ready'),
    };
    await this.api.update(nodes, { ...created, spec });
  }

  async find<T extends KubeObject>(ref: ResourceRef<T>, name: ObjectName): Promise<T | undefined> {
    try {
      return await this.api.get(ref, name);
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async setPod(
    pod: Pod,
    {
      phase = 'Running',
      ready = phase === 'Running',
      podIP,
      reason,
      exitCode,
      extra = {},
    }: Parameters<TestWorld['setPod']>[1],
  ): Promise<Pod> {
    const current = await this.api.get(pods, {
      name: pod.metadata!.name!,
      namespace: pod.metadata!.namespace,
    });
    const now = formatTime(this.clock.now());
    const state =
      exitCode === undefined
        ? { running: { startedAt: now } }
        : { terminated: { exitCode, finishedAt: now } };
    const containerStatuses = (current.spec?.containers ?? []).map(({ name, image = '' }) => ({
      name,
      image,
      imageID: image,
      ready,
      restartCount: 0,
      state,
    }));
    const conditions = [
      ...(current.status?.conditions ?? []).filter(({ type }) => type !== 'Ready'),
      { type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: now },
    ];
    const status = {
      ...current.status,
      phase,
      conditions,
      containerStatuses,
      startTime: now,
      ...(podIP ? { podIP, podIPs: [{ ip: podIP }] } : {}),
      ...(reason ? { reason } : {}),
      ...extra,
    };
    return this.api.updateStatus(pods, { ...current, status });
  }

  async finishPod(pod: Pod): Promise<void> {
    await this.api.delete(
      pods,
      { name: pod.metadata!.name!, namespace: pod.metadata!.namespace },
      { gracePeriodSeconds: 0 },
    );
  }

  async bind(pod: Pod, nodeName: string): Promise<void> {
    const { name = '', namespace } = pod.metadata!;
    const body = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name, namespace: namespace! },
      target: { kind: 'Node', name: nodeName },
    };
    await this.api.createSubresource(pods, { name, namespace }, { subresource: 'binding', body });
  }

  async stop(): Promise<void> {
    await this.run(this.#manager.stop());
    await this.run(this.test.stop());
  }
}
