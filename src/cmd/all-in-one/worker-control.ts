/** The control thread of all-in-one: scheduler and controllers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '#client/create.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { createLogger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { realClock } from '#stdx/clock.ts';
import { startControllerManager } from '../controller-manager/compose.ts';
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
}

const end = workerEnd<ControlData>();
const log = createLogger({ format: 'json' }).with({ thread: 'control' });
const components: Component[] = [];
const readPki = (file: string): string => readFileSync(join(end.data.pkiDir, file), 'utf8');

end.run(
  async () => {
    releaseMemoryWhenQuiet({ clock: realClock, log, trims: false });
    const clientFor = async (
      user: Parameters<typeof end.transportFor>[0],
      agent: string,
    ): Promise<ComponentContext['api']> =>
      createClient(await end.transportFor(user), { userAgent: `${agent}/${KUBERNETES_VERSION}` });
    const [schedulerApi, managerApi] = await Promise.all([
      clientFor(identities.scheduler, 'kube-scheduler'),
      clientFor(identities.controllerManager, 'kube-controller-manager'),
    ]);
    const context = { clock: realClock, identity: end.data.identity };
    const scheduler = createScheduler({
      ...context,
      api: schedulerApi,
      log: log.with({ component: 'kube-scheduler' }),
    });
    const manager = await startControllerManager({
      ...context,
      api: managerApi,
      log: log.with({ component: 'kube-controller-manager' }),
      ...end.data,
      caPem: () => readPki('ca.crt'),
      signer: () => ({ certificate: readPki('ca.crt'), key: readPki('ca.key') }),
      settings: { features: end.data.features },
      apiFor: (account) => clientFor(controllerIdentity(account), account),
    });
    components.push(manager, scheduler);
    await Promise.all(
      components.map(async (component) => {
        end.state(component.name, 'starting');
        await component.start();
        end.state(component.name, 'running');
      }),
    );
  },
  async () => {
    await Promise.all(components.map((component) => component.stop()));
  },
);
