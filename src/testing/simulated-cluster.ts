/** A whole cluster inside the test's process: API server on a loopback port, scheduler, controllers and simulated nodes; for foreign clients. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiServerSettings } from '#cmd/apiserver/settings.ts';
import { startControllerManager, type ControllerManagerSettings } from '#cmd/controller-manager/compose.ts';
import { controllerIdentity, identities } from '#cmd/all-in-one/identities.ts';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { writeKubeconfig } from '#deploy/pki/kubeconfig.ts';
import { createSimulatedNodes, simulatedNodeNames } from '#node/simulated/simulated-nodes.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { freePort } from './cluster.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

export interface SimulatedCluster extends TestApi {
  /** 'https://127.0.0.1:PORT' */
  readonly url: string;
  /** An administrator's (group kubeadm:cluster-admins, by RBAC). */
  readonly kubeconfig: string;
  /** A directory of the cluster's, removed by stop(). */
  readonly dir: string;
}

export interface SimulatedClusterOptions {
  /** Default 2; 0 = the API server alone, without nodes, scheduler and controllers. */
  readonly nodes?: number;
  /** Where the Service kubernetes leads. Default 127.0.0.1, for which there are no endpoints. */
  readonly advertiseAddress?: string;
  readonly log?: Logger;
  /** What flags of the API server would set. */
  readonly settings?: ApiServerSettings;
  /** What flags of the controller manager would set. */
  readonly controllers?: ControllerManagerSettings['controllers'];
}

export async function startSimulatedCluster({
  nodes = 2,
  log = silentLogger,
  advertiseAddress = '127.0.0.1',
  settings,
  controllers,
}: SimulatedClusterOptions = {}): Promise<SimulatedCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-simulated-'));
  const port = await freePort();
  const testApi = await startTestApi({ port, log, advertiseAddress, ...(settings ? { settings } : {}) });
  const url = `https://127.0.0.1:${port}`;
  const kubeconfig = join(dir, 'admin.kubeconfig');
  const { pki } = testApi;
  await writeKubeconfig(kubeconfig, {
    server: url,
    caPem: pki.ca.certificatePem,
    clusterName: 'capstan',
    userName: 'kubernetes-admin',
    credentials: { certificate: pki.clients.admin },
  });
  const components = nodes === 0 ? [] : await componentsOf(testApi, { nodes, log, controllers });
  await Promise.all(components.map((component) => component.start()));
  return {
    ...testApi,
    url,
    kubeconfig,
    dir,
    async stop() {
      for (const component of components.toReversed()) await component.stop();
      await testApi.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function componentsOf(
  { clientAs, pki }: TestApi,
  {
    nodes,
    log,
    controllers,
  }: Pick<SimulatedClusterOptions, 'controllers'> & { readonly nodes: number; readonly log: Logger },
): Promise<Component[]> {
  const context = (user: Parameters<TestApi['clientAs']>[0]): ComponentContext => ({
    api: clientAs(user),
    clock: realClock,
    log,
    identity: 'test',
  });
  return [
    createSimulatedNodes({
      ...context(identities.simulatedNodes),
      names: simulatedNodeNames(nodes),
      kubeletVersion: KUBERNETES_VERSION,
    }),
    createScheduler({ ...context(identities.scheduler), leaderElect: false }),
    await startControllerManager({
      ...context(identities.controllerManager),
      clusterCIDR: '10.244.0.0/16',
      caPem: pki.ca.certificatePem,
      signer: { certificate: pki.ca.certificatePem, key: pki.ca.keyPem },
      settings: { leaderElect: false, controllers },
      apiFor: (account) => Promise.resolve(clientAs(controllerIdentity(account))),
    }),
  ];
}
