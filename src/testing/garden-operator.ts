/**
 * An operator as people write them, on the official JavaScript client alone: for each Garden a Deployment, applied on the server's side and owned
 * by it; its status; an event; a finalizer for what lies outside the cluster. Of several instances the holder of a Lease works. For tests.
 */
import {
  ApiException,
  AppsV1Api,
  CoordinationV1Api,
  CoreV1Api,
  CustomObjectsApi,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  V1MicroTime,
  type Informer,
  type KubeConfig,
  type KubernetesListObject,
  type KubernetesObject,
  type ObjectCache,
  type V1Deployment,
  type V1Lease,
} from '@kubernetes/client-node';

export const GARDENS = { group: 'plots.example', version: 'v1', plural: 'gardens' };
export const FINALIZER = 'plots.example/fence';
const LEASE_NAME = 'garden-operator';
/** As short as whole seconds allow. */
const LEASE_SECONDS = 2;
const RETRY_MS = 250;

export interface Garden extends KubernetesObject {
  spec?: { replicas?: number; color?: string };
  status?: { replicas?: number; selector?: string; phase?: string; visits?: number };
}

export interface GardenOperator {
  readonly identity: string;
  readonly isLeader: boolean;
  /** How often a write met a newer version and was tried again. */
  readonly conflicts: number;
  /** How often an informer lost the server and began anew. */
  readonly reconnects: number;
  start(): Promise<void>;
  /** The lease is let lapse, as by a crash. */
  stop(): Promise<void>;
}

type Watched<T extends KubernetesObject> = Informer<T> & ObjectCache<T>;

export function codeOf(error: unknown): number | undefined {
  return error instanceof ApiException ? error.code : undefined;
}

/** fences: what lies outside the cluster; an entry for each garden. */
export function gardenOperator(
  config: KubeConfig,
  {
    identity,
    namespace,
    fences,
  }: { readonly identity: string; readonly namespace: string; readonly fences: Set<string> },
): GardenOperator {
  return new Operator(config, { identity, namespace, fences });
}

class Operator implements GardenOperator {
  readonly identity: string;
  isLeader = false;
  conflicts = 0;
  reconnects = 0;
  readonly #namespace: string;
  readonly #fences: Set<string>;
  readonly #custom: CustomObjectsApi;
  readonly #apps: AppsV1Api;
  readonly #core: CoreV1Api;
  readonly #leases: CoordinationV1Api;
  readonly #gardens: Watched<Garden>;
  readonly #deployments: Watched<V1Deployment>;
  readonly #stopped = new AbortController();
  readonly #dirty = new Set<string>();
  #loops: Promise<void>[] = [];
  #observed: { readonly renewTime: string; readonly atMs: number } | undefined;

  constructor(
    config: KubeConfig,
    {
      identity,
      namespace,
      fences,
    }: { readonly identity: string; readonly namespace: string; readonly fences: Set<string> },
  ) {
    this.identity = identity;
    this.#namespace = namespace;
    this.#fences = fences;
    this.#custom = config.makeApiClient(CustomObjectsApi);
    this.#apps = config.makeApiClient(AppsV1Api);
    this.#core = config.makeApiClient(CoreV1Api);
    this.#leases = config.makeApiClient(CoordinationV1Api);
    this.#gardens = makeInformer<Garden>(
      config,
      `/apis/plots.example/v1/namespaces/${namespace}/gardens`,
      async () =>
        (await this.#custom.listNamespacedCustomObject({
          ...GARDENS,
          namespace,
        })) as KubernetesListObject<Garden>,
    );
    this.#deployments = makeInformer<V1Deployment>(
      config,
      `/apis/apps/v1/namespaces/${namespace}/deployments`,
      () => this.#apps.listNamespacedDeployment({ namespace, labelSelector: 'garden' }),
      'garden',
    );
  }

  async start(): Promise<void> {
    await Promise.all([
      this.#follow(this.#gardens, ({ metadata }) => metadata?.name),
      this.#follow(this.#deployments, ({ metadata }) => metadata?.labels?.['garden']),
    ]);
    this.#loops = [this.#elect(), this.#work()];
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all([this.#gardens.stop(), this.#deployments.stop(), ...this.#loops]);
    this.isLeader = false;
  }

  async #follow<T extends KubernetesObject>(
    informer: Watched<T>,
    nameOf: (object: T) => string | undefined,
  ): Promise<void> {
    const mark = (object: T): void => {
      this.#dirty.add(nameOf(object) ?? '');
    };
    for (const verb of ['add', 'update', 'delete'] as const) informer.on(verb, mark);
    const begin = async (): Promise<void> => {
      while (!this.#stopped.signal.aborted) {
        try {
          return await informer.start();
        } catch {
          await this.#pause();
        }
      }
    };
    informer.on('error', () => {
      this.reconnects++;
      void this.#pause().then(begin);
    });
    await begin();
  }

  #pause(): Promise<void> {
    return new Promise((done) => setTimeout(done, this.#stopped.signal.aborted ? 0 : RETRY_MS));
  }

  // --------------------------------------------------------------------------------------------------------------- leading

  async #elect(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      try {
        this.isLeader = await this.#holdLease();
      } catch (error) {
        // Who cannot renew does not lead.
        if (codeOf(error) !== 409) this.isLeader = false;
      }
      await this.#pause();
    }
  }

  async #holdLease(): Promise<boolean> {
    const namespace = this.#namespace;
    const mine = {
      holderIdentity: this.identity,
      leaseDurationSeconds: LEASE_SECONDS,
      renewTime: new V1MicroTime(),
    };
    let lease: V1Lease;
    try {
      lease = await this.#leases.readNamespacedLease({ namespace, name: LEASE_NAME });
    } catch (error) {
      if (codeOf(error) !== 404) throw error;
      await this.#leases.createNamespacedLease({
        namespace,
        body: {
          metadata: { name: LEASE_NAME },
          spec: { ...mine, acquireTime: new V1MicroTime(), leaseTransitions: 0 },
        },
      });
      return true;
    }
    const { spec = {} } = lease;
    if (spec.holderIdentity !== this.identity && !this.#hasLapsed(String(spec.renewTime))) return false;
    const taken =
      spec.holderIdentity === this.identity
        ? {}
        : { acquireTime: new V1MicroTime(), leaseTransitions: (spec.leaseTransitions ?? 0) + 1 };
    await this.#leases.replaceNamespacedLease({
      namespace,
      name: LEASE_NAME,
      body: { ...lease, spec: { ...spec, ...mine, ...taken } },
    });
    return true;
  }

  /** By one's own clock, since one last saw it move. */
  #hasLapsed(renewTime: string): boolean {
    if (this.#observed?.renewTime !== renewTime) this.#observed = { renewTime, atMs: performance.now() };
    return performance.now() - this.#observed.atMs > LEASE_SECONDS * 1000;
  }

  // --------------------------------------------------------------------------------------------------------------- working

  async #work(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      if (this.isLeader) for (const name of this.#dirty) await this.#try(name);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  async #try(name: string): Promise<void> {
    this.#dirty.delete(name);
    try {
      await this.#reconcile(name);
    } catch (error) {
      if (codeOf(error) === 409) this.conflicts++;
      if (codeOf(error) === 404) return;
      this.#dirty.add(name);
      if (codeOf(error) !== 409) await this.#pause();
    }
  }

  async #reconcile(name: string): Promise<void> {
    const at = { ...GARDENS, namespace: this.#namespace, name };
    const garden = (await this.#custom.getNamespacedCustomObject(at)) as Garden;
    if (garden.metadata?.deletionTimestamp) return this.#takeLeave(garden, at);
    if (!garden.metadata?.finalizers?.includes(FINALIZER)) {
      await this.#custom.replaceNamespacedCustomObject({
        ...at,
        body: {
          ...garden,
          metadata: { ...garden.metadata, finalizers: [...(garden.metadata?.finalizers ?? []), FINALIZER] },
        },
      });
      return;
    }
    this.#fences.add(name);
    const deployment = await this.#apply(garden, name);
    const ready = deployment.status?.readyReplicas ?? 0;
    const status = {
      ...garden.status,
      replicas: ready,
      selector: `garden=${name}`,
      phase: ready === garden.spec?.replicas ? 'Blooming' : 'Growing',
    };
    if (JSON.stringify(status) === JSON.stringify(garden.status)) return;
    await this.#custom.replaceNamespacedCustomObjectStatus({ ...at, body: { ...garden, status } });
    if (status.phase !== garden.status?.phase) await this.#tell(garden, status.phase);
  }

  #apply({ metadata, spec }: Garden, name: string): Promise<V1Deployment> {
    const labels = { garden: name };
    return this.#apps.patchNamespacedDeployment(
      {
        namespace: this.#namespace,
        name,
        fieldManager: 'garden-operator',
        force: true,
        body: {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: {
            name,
            labels,
            ownerReferences: [
              {
                apiVersion: 'plots.example/v1',
                kind: 'Garden',
                name,
                uid: metadata!.uid!,
                controller: true,
                blockOwnerDeletion: true,
              },
            ],
          },
          spec: {
            replicas: spec?.replicas,
            selector: { matchLabels: labels },
            template: {
              metadata: { labels },
              spec: { containers: [{ name: 'plant', image: `plant:${spec?.color}` }] },
            },
          },
        },
      },
      setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply),
    );
  }

  async #takeLeave(
    { metadata }: Garden,
    at: typeof GARDENS & { readonly namespace: string; readonly name: string },
  ): Promise<void> {
    const index = metadata?.finalizers?.indexOf(FINALIZER) ?? -1;
    if (index < 0) return;
    this.#fences.delete(at.name);
    const path = `/metadata/finalizers/${index}`;
    await this.#custom.patchNamespacedCustomObject(
      {
        ...at,
        body: [
          { op: 'test', path, value: FINALIZER },
          { op: 'remove', path },
        ],
      },
      setHeaderOptions('Content-Type', PatchStrategy.JsonPatch),
    );
  }

  async #tell({ metadata }: Garden, phase: string): Promise<void> {
    const namespace = this.#namespace;
    await this.#core.createNamespacedEvent({
      namespace,
      body: {
        metadata: { generateName: `${metadata!.name}.` },
        type: 'Normal',
        reason: phase,
        message: `The garden is ${phase.toLowerCase()}`,
        reportingComponent: 'garden-operator',
        reportingInstance: this.identity,
        action: 'Reconcile',
        eventTime: new V1MicroTime(),
        involvedObject: {
          apiVersion: 'plots.example/v1',
          kind: 'Garden',
          name: metadata!.name!,
          namespace,
          uid: metadata!.uid!,
        },
      },
    });
  }
}
