/** The control thread of all-in-one: scheduler and controllers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '#client/create.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { RESOURCES_PATH } from '#scheduler/resource-metrics.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { createLogger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { realClock } from '#stdx/clock.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { startControllerManager } from '../controller-manager/compose.ts';
import { ThreadEndpoints } from './endpoints.ts';
import { controllerIdentity, identities } from './identities.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { workerEnd } from './worker-link.ts';

export interface ControlData {
  /** Held by leases; the same at every start, so that a program that was killed leads again at once. */
  readonly identity: string;
  readonly clusterCIDR: string;
  /** DIR/pki: the cluster's CA is read there, also after its rotation. */
  readonly pkiDir: string;
  /** Signs tokens in secrets. */
  readonly serviceAccountKeyPem: string;
  /** Feature gates that are on. */
  readonly features: ReadonlySet<string>;
  /** Whether the components open ports for health and metrics. */
  readonly endpoints: boolean;
}

const end = workerEnd<ControlData>();
const log = createLogger({ format: 'json' }).with({ thread: 'control' });
const components: Component[] = [];
const endpoints = new ThreadEndpoints(end.data.endpoints, log);
const readPki = (file: string): string => readFileSync(join(end.data.pkiDir, file), 'utf8');

end.run(
  async () => {
    releaseMemoryWhenQuiet({ clock: realClock, log, trims: false });
    const [ofScheduler, ofManager] = [endpoints.measure(), endpoints.measure()];
    const clientFor = async (
      user: Parameters<typeof end.transportFor>[0],
      { agent, measured }: { readonly agent: string } & Pick<typeof ofManager, 'measured'>,
    ): Promise<ComponentContext['api']> =>
      createClient(measured(await end.transportFor(user)), { userAgent: `${agent}/${KUBERNETES_VERSION}` });
    const [schedulerApi, managerApi] = await Promise.all([
      clientFor(identities.scheduler, { ...ofScheduler, agent: 'kube-scheduler' }),
      clientFor(identities.controllerManager, { ...ofManager, agent: 'kube-controller-manager' }),
    ]);
    const context = { clock: realClock, identity: end.data.identity };
    const resourceMetrics = new MetricsRegistry();
    const scheduler = createScheduler({
      ...context,
      ...ofScheduler.context,
      resourceMetrics,
      features: end.data.features,
      api: schedulerApi,
      log: log.with({ component: 'kube-scheduler' }),
    });
    const manager = await startControllerManager({
      ...context,
      ...ofManager.context,
      api: managerApi,
      log: log.with({ component: 'kube-controller-manager' }),
      ...end.data,
      caPem: () => readPki('ca.crt'),
      signer: () => ({ certificate: readPki('ca.crt'), key: readPki('ca.key') }),
      settings: { features: end.data.features },
      apiFor: (account) => clientFor(controllerIdentity(account), { ...ofManager, agent: account }),
    });
    components.push(manager, scheduler);
    await Promise.all(
      components.map(async (component) => {
        end.state(component.name, 'starting');
        await component.start();
        end.state(component.name, 'running');
      }),
    );
    await endpoints.show({
      name: 'kube-scheduler',
      port: 10_259,
      api: schedulerApi,
      metrics: ofScheduler.context.metrics,
      moreMetrics: { [RESOURCES_PATH]: resourceMetrics },
    });
    await endpoints.show({
      name: 'kube-controller-manager',
      port: 10_257,
      api: managerApi,
      metrics: ofManager.context.metrics,
    });
  },
  async () => {
    await endpoints.close();
    await Promise.all(components.map((component) => component.stop()));
  },
);
