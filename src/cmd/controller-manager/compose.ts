/** The controller manager: all controllers, each acting as its own service account, led by one instance at a time. */
import type { Client } from '#client/client.ts';
import type { KeySource } from '#controllers/certificates/certificatesigningrequest-signing-controller.ts';
import type { RootCA } from '#controllers/core/root-ca-certificate-publisher-controller.ts';
import { gatewayController } from '#addons/gateway/gateway-controller.ts';
import { hierarchicalQuotaController } from '#addons/hierarchy/hierarchical-quota-controller.ts';
import { hierarchyController } from '#addons/hierarchy/hierarchy-controller.ts';
import { loadBalancerController } from '#addons/load-balancer/load-balancer-controller.ts';
import { localPathProvisionerController } from '#addons/local-path/local-path-provisioner-controller.ts';
import { networkPolicyDefinitionsController } from '#addons/network-policy/network-policy-definitions-controller.ts';
import { nodeRemediationController } from '#addons/node-remediation/node-remediation-controller.ts';
import { ProportionalScales } from '#addons/proportional-autoscaler/metrics.ts';
import { proportionalAutoscalerController } from '#addons/proportional-autoscaler/proportional-autoscaler-controller.ts';
import { persistentVolumeClaims, persistentVolumes, resourceClaims } from '#client/refs.ts';
import { controllers } from '#controllers/list.ts';
import { persistentVolumeBinderController } from '#controllers/volume/persistentvolume-binder-controller.ts';
import { ClaimCreations, resourceClaimLines } from '#controllers/resource/resource-claim-metrics.ts';
import { volumeLines } from '#controllers/volume/volume-metrics.ts';
import type { ComponentContext } from '#runtime/component.ts';
import type { ControllerDefinition } from '#runtime/controller.ts';
import {
  createControllerManager,
  selectControllers,
  type ControllerManager,
  type ControllerManagerOptions,
} from '#runtime/run-controllers.ts';

import { ReadinessMetrics, readinessController, type ReadinessSources } from './readiness-controller.ts';

/** Settings from flags. `controllers` is passed to the controllers' definitions, `leaderElect` to the election. */
export interface ControllerManagerSettings {
  readonly controllers?: Partial<Parameters<typeof controllers>[0]> | undefined;
  /** Default true; false: one instance only. */
  readonly leaderElect?: ControllerManagerOptions['leaderElect'] | false;
  /** Which to run, in the syntax of kube-controller-manager --controllers. Default: all. An unknown name is refused. */
  readonly names?: readonly string[];
  /** Feature gates that are on. Default: none, and the controllers that need one do not run, named or not. */
  readonly features?: ReadonlySet<string>;
  /** Parallel keys of controllers, by their names. Default: as each defines. */
  readonly workers?: Readonly<Record<string, number>>;
}

export interface ControllerManagerSetup extends ComponentContext {
  /** 'a.b.c.d/n', or one of each family with a comma between. */
  readonly clusterCIDR: string;
  /** The cluster's CA, published to pods. PEM. */
  readonly caPem: RootCA;
  /** What certificate requests are signed with. Absent: none are signed. */
  readonly signer?: KeySource;
  /** What tokens in secrets are signed with, PEM. Absent: none are made. */
  readonly serviceAccountKeyPem?: string | undefined;
  readonly settings?: ControllerManagerSettings;
  /** What the cluster's own scorecard sees beside the API. */
  readonly readiness?: ReadinessSources | undefined;
  /**
   * The client of a controller's service account in kube-system; this component closes it. Writes through it are fenced; mayWrite is for those that the client makes
   * by itself.
   */
  readonly apiFor: (serviceAccount: string, mayWrite: () => boolean) => Promise<Client>;
}

/**
 * Created, not started: the caller calls start(). `identity` holds the lease. An instance that starts with its predecessor's identity (after a kill -9, say)
 * leads at once; with a new identity it waits until the old lease has expired. So an identity must be the same for each start of one instance, and
 * never shared by two that run at the same time.
 */
export async function startControllerManager(setup: ControllerManagerSetup): Promise<ControllerManager> {
  const { api, clock, log, identity, clusterCIDR, caPem, signer, apiFor, settings = {} } = setup;
  const claimCreations = new ClaimCreations();
  const scales = new ProportionalScales();
  const readiness = new ReadinessMetrics();
  setup.metrics?.add(claimCreations.counter, scales);
  setup.metrics?.collect(() => (manager.isLeader ? readiness.render() : []));
  const known = [
    ...controllers({
      clusterCIDR,
      rootCA: caPem,
      ...(signer === undefined ? {} : { clusterSigner: signer }),
      serviceAccountKey: setup.serviceAccountKeyPem,
      claimCreations,
      ...settings.controllers,
    }),
    localPathProvisionerController,
    proportionalAutoscalerController({ scales }),
    loadBalancerController,
    nodeRemediationController,
    gatewayController,
    networkPolicyDefinitionsController,
    hierarchyController,
    hierarchicalQuotaController,
    readinessController({ ...setup.readiness, metrics: readiness }),
  ];
  const wanted = settings.names ? selectControllers(known, { names: settings.names }) : known;
  const definitions = withFeatures(wanted, settings.features);
  const accounts = [...new Set(definitions.map(({ serviceAccount, name }) => serviceAccount ?? name))];
  const mayWrite = (): boolean => manager.mayWrite;
  const clients = new Map(
    await Promise.all(accounts.map(async (account) => [account, await apiFor(account, mayWrite)] as const)),
  );
  const manager: ControllerManager = createControllerManager(withWorkers(definitions, settings.workers), {
    api,
    clock,
    log,
    identity,
    metrics: setup.metrics,
    ...(settings.leaderElect === false ? {} : { leaderElect: settings.leaderElect ?? {} }),
    clientFor: ({ serviceAccount, name }) => clients.get(serviceAccount ?? name)!,
  });
  if (definitions.includes(persistentVolumeBinderController))
    setup.metrics?.collect(() => (manager.isLeader ? volumeMetrics(api) : []));
  if (definitions.some(({ name }) => name === 'resourceclaim-controller'))
    setup.metrics?.collect(() =>
      manager.isLeader ? resourceClaimLines(api.informer(resourceClaims).list()) : [],
    );
  return {
    name: manager.name,
    get isLeader() {
      return manager.isLeader;
    },
    get mayWrite() {
      return manager.mayWrite;
    },
    start: () => manager.start(),
    async stop() {
      await manager.stop();
      await Promise.all([...clients.values()].map((client) => client.close()));
    },
  };
}

/** Those whose gate is on, with the parts of each whose gates are on. */
function withFeatures(
  definitions: readonly ControllerDefinition[],
  features: ReadonlySet<string> = new Set(),
): ControllerDefinition[] {
  return definitions
    .filter(({ featureGate }) => featureGate === undefined || features.has(featureGate))
    .map((definition) => {
      const { seesOwnWrites, ...rest } = definition;
      return seesOwnWrites && !features.has(seesOwnWrites.featureGate) ? rest : definition;
    });
}

function withWorkers(
  definitions: readonly ControllerDefinition[],
  workers: Readonly<Record<string, number>> = {},
): ControllerDefinition[] {
  return definitions.map((definition) => {
    const given = workers[definition.name];
    return given === undefined ? definition : { ...definition, workers: given };
  });
}

/** From the caches that the volume binder keeps. */
function volumeMetrics(api: Client): string[] {
  return volumeLines({
    volumes: api.informer(persistentVolumes).list(),
    claims: api.informer(persistentVolumeClaims).list(),
  });
}
