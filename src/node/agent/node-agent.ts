/**
 * The node agent (kubelet): registers this node, runs the pods bound to it through the container runtime, and serves the kubelet API.
 * Keeps no state that matters: pods come from the API and containers from the runtime, so a new agent continues where the previous one
 * stopped, and containers keep running in between.
 *
 * API ──pods of this node──► one PodWorker each ──decide, act──► runtime          runtime ──PLEG──► workers ──status──► API
 */
import { mkdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Node, Pod, Taint } from '#api/types.ts';
import { LOCAL_PATH_DIRECTORY } from '#component-helpers/local-path.ts';
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import type { Informer } from '#client/client.ts';
import { nodes, pods, serviceAccounts, services } from '#client/refs.ts';
import { objectKey } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { assert } from '#stdx/assert.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import type { Image } from '../cri/types.ts';
import type { CredentialProviderSettings } from '../images/credential-providers/configuration.ts';
import { CredentialProviders } from '../images/credential-providers/credential-providers.ts';
import type { ImageMounts } from '../images/mount.ts';
import type { PodNetworkPolicies } from '../network-policy/node-pods.ts';
import { AgentMetrics } from './agent-metrics.ts';
import { rejection, resizeRefusal, type Rejection } from './admission.ts';
import { createCgroups } from './cgroups.ts';
import { imagesOfVolumes } from './volumes/image-volumes.ts';
import { parseResolvConf, type DnsOptions } from './config/dns.ts';
import { fromApi, isMirrorPod, isStaticPod, MIRROR_POD } from '#component-helpers/static-pods.ts';
import { podQOS } from '#component-helpers/pod-qos.ts';
import { podRequests } from '#component-helpers/pod-resources.ts';
import type { ImageGarbageThresholds } from '../images/garbage.ts';
import { GarbageCollector } from './garbage-collection.ts';
import { ImagePuller } from './image-puller.ts';
import { LogRotation, type LogRotationLimits } from './log-rotation.ts';
import {
  allocatable,
  capacity,
  diskUsage,
  memoryBytes,
  nodeLimits,
  systemInfo,
  type Reserved,
} from './node/machine-facts.ts';
import { NetworkReadiness, networkNotReady } from './network-readiness.ts';
import { NodeAllocatable } from './node/node-allocatable.ts';
import { nodeReference } from './node/node-reference.ts';
import { NodeRegistration } from './node/node-registration.ts';
import { conditionEvents, nodeStatus } from './node/node-status.ts';
import { PodWorker, type PodWorkerDependencies } from './pod/pod-worker.ts';
import { isFinished, rejectedStatus } from './pod/status.ts';
import { StatusWriter } from './pod/status-writer.ts';
import { ReferencedObjects } from './referenced-objects.ts';
import { Pleg } from './pleg.ts';
import { RuntimeView, type PodDigest } from './runtime-view.ts';
import { deleteMirror } from './static-pods/mirror-pods.ts';
import { StaticPods } from './static-pods/static-pods.ts';
import type { DecodePod } from './static-pods/manifests.ts';
import { createEvictions, type EvictionSettings } from './eviction/create.ts';
import type { EvictionManager } from './eviction/eviction-manager.ts';
import { StorageLimits } from './eviction/storage-limits.ts';
import { evictionThresholds, reservedFor, type Threshold } from './eviction/thresholds.ts';
import { KubeletServer, type KubeletTls, type ShownSettings } from './server/kubelet-server.ts';
import { ClaimManager } from '../dra/claim-manager.ts';
import { prepareContainerDevices } from './container-devices.ts';
import { servePodResources } from '../pod-resources/pod-resources-server.ts';
import type { UnixServer } from '#grpc/server.ts';
import { DeviceManager } from '../devices/device-manager.ts';
import { PluginRegistry } from '../plugins/plugin-registry.ts';
import { CsiVolumes } from '../csi/csi-volumes.ts';
import { ClaimedVolumes } from './volumes/claimed-volumes.ts';
import { LocalPathVolumes } from './volumes/local-path-volumes.ts';
import { PodVolumes } from './volumes/pod-volumes.ts';
import { ServiceAccountTokens } from './volumes/service-account-tokens.ts';

export interface NodeAgentOptions {
  readonly context: ComponentContext;
  readonly nodeName: string;
  readonly cri: CriClient;
  /** '/capstan-<id>': the parent cgroup of all pods' cgroups. */
  readonly cgroupRoot: string;
  /** The agent's own directory: pods' volumes and logs. */
  readonly dir: string;
  /** The file system of the images, whose usage triggers image garbage collection. */
  readonly imageDir: string;
  /** containerd's registry directory; with it registries on loopback use plain HTTP. */
  readonly registryDir?: string | undefined;
  /** Programs that give credentials for pulls, beside pods' pull secrets. */
  readonly credentialProviders?: CredentialProviderSettings | undefined;
  /** Absent: image volumes are refused. */
  readonly imageMounts?: ImageMounts;
  /** At most one of each family. */
  readonly podCIDRs?: readonly string[] | undefined;
  /** Absent: no network policies are enforced here. */
  readonly networkPolicies?: PodNetworkPolicies | undefined;
  /** What keeps pods from having a network, beside what the runtime reports. */
  readonly network?: NetworkReadiness | undefined;
  /** Empty: pods use the machine's resolv.conf. */
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  /** InternalIPs, at most one of each family: the first is the address of the kubelet API, and its family is that of a pod's first address. */
  readonly addresses: readonly string[];
  /** Default 10250; any free port when that is in use. */
  readonly port?: number;
  readonly tls: KubeletTls;
  /** Idle timeout of exec, attach and port-forward streams. */
  readonly streamIdleMs?: number | undefined;
  readonly kubeletVersion: string;
  /** Of the program, for /flagz and /configz. */
  readonly shown?: ShownSettings | undefined;
  /** The certificate that the agent shows the API server now, PEM, for metrics. */
  readonly clientCertificate?: (() => string | undefined) | undefined;
  /** Directory of static pods' manifests, or one file; absent: there are none. Needs decodePod. */
  readonly staticPodPath?: string | undefined;
  readonly decodePod?: DecodePod | undefined;
  /** Of pods' logs; default: log/pods in dir. In /var/log/pods there are links in /var/log/containers too. */
  readonly podLogsDir?: string | undefined;
  readonly maximumPods?: number;
  /** Limits maximumPods by the number of CPUs; 0: it does not. */
  readonly podsPerCore?: number | undefined;
  /** A cloud controller manager sets addresses and providerID, and removes the taint of a new Node. */
  readonly externalCloudProvider?: boolean | undefined;
  readonly providerID?: string | undefined;
  readonly statusMaximumImages?: number | undefined;
  readonly statusUpdateMs?: number | undefined;
  readonly statusReportMs?: number | undefined;
  readonly leaseSeconds?: number | undefined;
  /** Longest delay between restarts of a container. */
  readonly maximumBackoffMs?: number | undefined;
  /** Default: any number. */
  readonly maximumParallelPulls?: number | undefined;
  /** Containers without a seccomp profile have the runtime's. */
  readonly seccompDefault?: boolean | undefined;
  /** Beside the safe ones; a trailing '*' stands for any ending. */
  readonly allowedUnsafeSysctls?: readonly string[] | undefined;
  /** Default /etc/resolv.conf. */
  readonly resolvConf?: string | undefined;
  /** Processes of one pod; default: unlimited. */
  readonly podPidsLimit?: number | undefined;
  /** Reserved resources: not allocatable to pods. */
  readonly reserved?: Reserved | undefined;
  /** Default: upstream's hard thresholds. */
  readonly eviction?: EvictionSettings | undefined;
  readonly logRotation?: LogRotationLimits | undefined;
  readonly imageGarbage?: ImageGarbageThresholds | undefined;
  /** Of the Node, when it is registered. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Of a Node that is new. */
  readonly taints?: readonly Taint[] | undefined;
}

/** Where log agents look, and for one link a container beside it. */
const POD_LOGS_DIR = '/var/log/pods';
const CONTAINER_LOGS_DIR = '/var/log/containers';
const MAXIMUM_PODS = 110;
/** As upstream with an external cloud provider: the taint of a new Node, and the address for the cloud controller manager. */
const UNINITIALIZED: Taint = {
  key: 'node.cloudprovider.kubernetes.io/uninitialized',
  value: 'true',
  effect: 'NoSchedule',
};
const PROVIDED_NODE_IP = 'alpha.kubernetes.io/provided-node-ip';
const RUNTIME_SILENT_MS = 30_000;
/** Upstream's bound of a sync loop without an iteration. */
const SYNC_SILENT_MS = 120_000;

export interface NodeAgent extends Component {
  /** A request for a certificate failed: a metric counts it. */
  renewFailed(of: 'client' | 'serving'): void;
  /** Address of the kubelet API, once started. */
  readonly port: number;
  /** Replaces the kubelet API's serving certificate, or the authorities of its clients. */
  replaceTls(next: Parameters<KubeletServer['replaceTls']>[0]): void;
}

export function createNodeAgent(options: NodeAgentOptions): NodeAgent {
  return new Agent(options);
}

class Agent implements NodeAgent {
  readonly name = 'kubelet';
  readonly #options: NodeAgentOptions;
  readonly #log: Logger;
  readonly #events: StoppableEventRecorder;
  readonly #view: RuntimeView;
  readonly #pleg: Pleg;
  readonly #network: NetworkReadiness;
  readonly #registration: NodeRegistration;
  readonly #metrics: AgentMetrics;
  readonly #server: KubeletServer;
  readonly #garbage: GarbageCollector;
  readonly #localPaths: LocalPathVolumes;
  readonly #plugins: PluginRegistry;
  readonly #devices: DeviceManager;
  readonly #claims: ClaimManager;
  /** Pods that are being given devices, by uid. */
  readonly #equipping = new Map<string, Pod>();
  readonly #csi: CsiVolumes;
  readonly #logs: LogRotation;
  readonly #nodeAllocatable: NodeAllocatable;
  readonly #storageLimits: StorageLimits;
  readonly #evictions: EvictionManager;
  readonly #thresholds: readonly Threshold[];
  readonly #podDependencies: PodWorkerDependencies;
  readonly #objects: ReferencedObjects;
  /** By uid. */
  readonly #workers = new Map<string, PodWorker>();
  /** Pods in the runtime that no longer exist in the API; they are being removed. */
  readonly #orphans = new Set<string>();
  readonly #staticPods: StaticPods | undefined;
  /** Static pods whose predecessor of the same name has not ended yet, by namespace/name. */
  readonly #waiting = new Map<string, Pod>();
  /** UIDs of pods for which the Node is read again before they are rejected. */
  readonly #doubtful = new Set<string>();
  #podResources: UnixServer | undefined;
  #pods: Informer<Pod> | undefined;
  #nodes: Informer<Node> | undefined;
  #allocatable: Record<string, string> = {};
  #runtimeVersion = 'containerd://unknown';
  #images: readonly Image[] = [];
  #unsubscribe: (() => void)[] = [];
  #synced = false;
  #stopped = false;
  #stopping: Promise<void> | undefined;

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    const { context, dir, nodeName } = options;
    this.#metrics = new AgentMetrics(context.clock);
    const cri = this.#metrics.measuredRuntime(options.cri);
    this.#metrics.servingCertificate = () => options.tls.certificatePem;
    this.#metrics.clientCertificate = options.clientCertificate ?? (() => undefined);
    const { api, clock } = context;
    this.#log = context.log;
    const log = this.#log;
    this.#events = createEventRecorder(api, { component: 'kubelet', host: nodeName, clock, log });
    this.#view = new RuntimeView(cri);
    this.#network = options.network ?? new NetworkReadiness();
    this.#network.onChange(() => this.#networkChanged());
    this.#objects = new ReferencedObjects({
      api,
      clock,
      log,
      onChange: (uid) => this.#workers.get(uid)?.wake(),
    });
    const tokens = new ServiceAccountTokens({ api, clock });
    const claimed = new ClaimedVolumes({
      api,
      nodeName,
      nodeLabels: () => this.#nodes?.get(nodeName)?.metadata.labels ?? {},
    });
    this.#localPaths = new LocalPathVolumes({
      api,
      clock,
      log,
      nodeName,
      dir: join(resolve(dir), 'local-path'),
      isUsed: (name) => claimed.isUsed(name),
    });
    this.#plugins = new PluginRegistry({ dir: join(resolve(dir), 'plugins_registry'), clock, log });
    this.#devices = new DeviceManager({
      dir: join(resolve(dir), 'device-plugins'),
      clock,
      log,
      metrics: this.#metrics,
      isActive: (uid) => this.#isActive(uid),
      onChange: () => this.#registration.check(),
    });
    this.#plugins.handle('DevicePlugin', this.#devices);
    this.#claims = new ClaimManager({
      api,
      clock,
      log,
      path: join(resolve(dir), 'dra_manager_state'),
      isKnown: (uid) => !this.#synced || this.#workers.has(uid) || this.#orphans.has(uid),
    });
    this.#plugins.handle('DRAPlugin', this.#claims);
    this.#csi = new CsiVolumes({
      api,
      clock,
      log,
      events: this.#events,
      tokens,
      nodeName,
      node: () => this.#nodes?.get(nodeName),
      podsDir: join(resolve(dir), 'pods'),
      pluginsDir: join(resolve(dir), 'plugins'),
      plugins: this.#plugins,
      onUseChanged: () => this.#registration.check(),
    });
    const images = new ImagePuller({
      cri,
      clock,
      events: this.#events,
      registryDir: options.registryDir,
      credentialProviders: this.#credentialProviders(tokens),
      maximumParallelPulls: options.maximumParallelPulls,
    });
    this.#pleg = new Pleg({
      view: this.#view,
      clock,
      log,
      metrics: this.#metrics,
      onChange: (uid) => this.#workers.get(uid)?.wake(),
      onList: (found) => this.#removeOrphans(found),
    });
    this.#podDependencies = {
      api,
      cri,
      clock,
      log,
      events: this.#events,
      view: this.#view,
      images,
      objects: this.#objects,
      tokens,
      nodeName,
      cgroupRoot: options.cgroupRoot,
      networkPolicies: options.networkPolicies,
      network: this.#network,
      volumes: new PodVolumes({
        dir: join(dir, 'pods'),
        clock,
        objects: this.#objects,
        tokens,
        imageMounts: options.imageMounts,
        claimed,
        localPaths: this.#localPaths,
        csi: this.#csi,
      }),
      statuses: new StatusWriter({ api, clock, log, mirrorOf: (pod) => this.#staticPods?.mirrors.of(pod) }),
      cgroups: this.#metrics.measuredCgroups(createCgroups({ log, podPidsLimit: options.podPidsLimit })),
      hostIPs: options.addresses,
      machineMemoryBytes: memoryBytes(),
      terminations: this.#metrics.terminations,
      metrics: this.#metrics,
      logsDir: options.podLogsDir ?? join(dir, 'log', 'pods'),
      containerLogsDir: options.podLogsDir === POD_LOGS_DIR ? CONTAINER_LOGS_DIR : undefined,
      seccompDefault: options.seccompDefault ?? false,
      maximumBackoffMs: options.maximumBackoffMs,
      seccompDir: join(dir, 'seccomp'),
      claims: this.#claims,
      prepareDevices: (pod, container) =>
        prepareContainerDevices(pod, {
          container,
          devices: this.#devices,
          claims: this.#claims,
          runtimeVersion: this.#runtimeVersion,
        }),
      dns: () => this.#dns(),
      services: () => api.informer(services).list(),
      allocatable: () => this.#allocatable,
      resizeRefusal: (pod) =>
        resizeRefusal({
          pod,
          others: this.#others(pod.metadata?.uid ?? ''),
          node: undefined,
          allocatable: this.#allocatable,
        }),
      allocationChanged: () => this.#balance(),
      expectChange: () => this.#pleg.expectChange(),
    };
    this.#registration = new NodeRegistration({
      api,
      clock,
      log,
      nodeName,
      podCIDRs: options.podCIDRs,
      labels: options.labels ?? {},
      taints: [...(options.taints ?? []), ...(options.externalCloudProvider ? [UNINITIALIZED] : [])],
      annotations: {
        [LOCAL_PATH_DIRECTORY]: this.#localPaths.dir,
        ...(options.externalCloudProvider ? { [PROVIDED_NODE_IP]: options.addresses.join() } : {}),
      },
      providerID: options.providerID,
      leaseSeconds: options.leaseSeconds,
      checkMs: options.statusUpdateMs,
      reportMs: options.statusReportMs,
      measure: async (before) => {
        const status = await this.#measure(before);
        this.#recordConditions(conditionEvents(before, status));
        return status;
      },
    });
    this.#thresholds = evictionThresholds(options.eviction);
    this.#staticPods = this.#followStaticPods();
    this.#garbage = new GarbageCollector({
      ...this.#podDependencies,
      hasEnded: (uid) => this.#workers.get(uid)?.finished ?? false,
      keeps: (uid) => this.#workers.has(uid) || this.#orphans.has(uid),
      images: options.imageGarbage,
      imagesUsed: () => [...this.#workers.values()].flatMap(({ pod }) => imagesOfVolumes(pod)),
    });
    this.#logs = new LogRotation({ cri, clock, log, ...options.logRotation });
    this.#nodeAllocatable = new NodeAllocatable({
      cgroups: this.#podDependencies.cgroups,
      cgroupRoot: options.cgroupRoot,
      clock,
      events: this.#events,
      nodeName,
      limits: () => nodeLimits(options.reserved ?? {}),
    });
    this.#evictions = createEvictions({
      ...this.#podDependencies,
      ...options.eviction,
      dir,
      imageDir: options.imageDir,
      thresholds: this.#thresholds,
      limits: () => nodeLimits(options.reserved ?? {}),
      garbage: this.#garbage,
      workers: () => [...this.#workers.values()],
      onPressure: () => this.#registration.check(),
    });
    this.#storageLimits = new StorageLimits({
      ...this.#podDependencies,
      dedicatedImages: () => this.#evictions.dedicatedImages,
      workers: () => [...this.#workers.values()],
    });
    this.#server = new KubeletServer({
      ...this.#podDependencies,
      tls: options.tls,
      address: options.addresses[0] ?? '',
      port: options.port ?? 10250,
      nodeName,
      version: options.kubeletVersion,
      imageDir: options.imageDir,
      streamIdleMs: options.streamIdleMs,
      shown: options.shown,
      syncProblem: () => this.#syncProblem(),
      moreMetrics: context.metrics && (() => context.metrics!.render()),
      workers: () => [...this.#workers.values()],
    });
  }

  renewFailed(of: 'client' | 'serving'): void {
    this.#metrics.renewFailed(of);
  }

  get port(): number {
    return this.#server.port;
  }

  replaceTls(next: Parameters<KubeletServer['replaceTls']>[0]): void {
    const { certificatePem } = next;
    if (certificatePem !== undefined) this.#metrics.servingCertificate = () => certificatePem;
    this.#server.replaceTls(next);
  }

  async start(): Promise<void> {
    const { context, cri, dir, nodeName } = this.#options;
    await mkdir(dir, { recursive: true });
    const version = await cri.version({});
    this.#runtimeVersion = `${version.runtimeName}://${version.runtimeVersion.replace(/^v/, '')}`;
    await this.#server.start();
    await this.#csi.load();
    await this.#devices.start();
    await this.#claims.load();
    this.#podResources = await servePodResources({
      socketPath: join(resolve(dir), 'pod-resources', 'kubelet.sock'),
      clock: context.clock,
      pods: () => this.#others(''),
      devices: this.#devices,
      claims: this.#claims,
    });
    await this.#startWithoutApi();
    await this.#registration.start();
    const { api } = context;
    this.#pods = api.informer(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
    this.#nodes = api.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` });
    const serviceInformer = api.informer(services);
    await Promise.all([this.#pods.synced(), this.#nodes.synced(), serviceInformer.synced()]);
    if (this.#stopped) return;
    this.#adoptInOrder(this.#pods.list());
    this.#unsubscribe.push(
      this.#pods.subscribe({
        added: (pod) => this.#seen(pod),
        updated: (pod) => this.#seen(pod),
        deleted: (pod) => this.#gone(pod),
      }),
    );
    const observe = (node: Node): void => this.#registration.observe(node);
    this.#unsubscribe.push(this.#nodes.subscribe({ added: observe, updated: observe, deleted: () => {} }));
    this.#synced = true;
    this.#staticPods?.mirrors.wake();
    // Pods that are in the runtime alone are orphans from now on.
    this.#pleg.expectChange();
    this.#garbage.start();
    this.#localPaths.start();
    this.#csi.start();
    this.#claims.start();
    this.#plugins.start();
    this.#log.info('node agent started', {
      node: nodeName,
      port: this.port,
      pods: this.#workers.size,
      runtime: this.#runtimeVersion,
    });
  }

  /** As upstream: static pods run while no API server answers. Containers of other pods run on untouched until the API names their pods. */
  async #startWithoutApi(): Promise<void> {
    // What static pods are admitted by.
    await this.#measure(undefined);
    if (this.#stopped) return;
    await this.#staticPods?.start();
    this.#pleg.start();
    this.#logs.start();
    this.#nodeAllocatable.start();
    this.#storageLimits.start();
    this.#evictions.start();
  }

  /** Containers keep running. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#staticPods?.stop();
    await this.#pleg.stop();
    await this.#garbage.stop();
    await this.#localPaths.stop();
    await this.#plugins.stop();
    this.#podResources?.close();
    this.#devices.stop();
    await this.#claims.stop();
    await this.#csi.stop();
    await this.#logs.stop();
    await this.#nodeAllocatable.stop();
    await this.#storageLimits.stop();
    await this.#evictions.stop();
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop()));
    await this.#server.stop();
    await this.#registration.stop();
    await this.#podDependencies.statuses.stop();
    this.#objects.stop();
    this.#events.stop();
  }

  #networkChanged(): void {
    if (this.#stopped) return;
    this.#registration.check();
    for (const worker of this.#workers.values()) worker.networkChanged();
  }

  /** As upstream's syncloop: the runtime has not been listed for too long. */
  #syncProblem(): string | undefined {
    const silentMs = this.#options.context.clock.monotonic() - this.#pleg.lastSuccessMs;
    return silentMs > SYNC_SILENT_MS ? 'the container runtime has not been listed for 2 minutes' : undefined;
  }

  /** Running pods keep their place; then the oldest first. */
  #adoptInOrder(list: readonly Pod[]): void {
    const age = (pod: Pod): string => pod.metadata?.creationTimestamp ?? '';
    const placed = (pod: Pod): number => (pod.status?.startTime ? 0 : 1);
    for (const pod of [...list].sort((a, b) => placed(a) - placed(b) || (age(a) < age(b) ? -1 : 1)))
      this.#seen(pod);
  }

  #seen(object: Pod): void {
    const pod = fromApi(object);
    if (pod.spec?.nodeName !== this.#options.nodeName || this.#stopped) return;
    if (isMirrorPod(pod)) return this.#mirrorSeen(pod);
    const uid = pod.metadata?.uid ?? '';
    this.#podDependencies.statuses.observe(pod);
    const worker = this.#workers.get(uid);
    if (worker) return worker.update(pod);
    this.#displace(pod);
    const refused = this.#refusal(pod, this.#nodes?.get(this.#options.nodeName) ?? this.#registration.node);
    // The scheduler may have used a label that this agent has not seen yet.
    if (refused?.reason === 'NodeAffinity') void this.#lookAgain(pod);
    else this.#settle(pod, refused);
  }

  #followStaticPods(): StaticPods | undefined {
    const { staticPodPath: path, decodePod: decode, nodeName, context } = this.#options;
    if (path === undefined || !decode) return undefined;
    return new StaticPods({
      ...context,
      path,
      decode,
      nodeName,
      // Not before the mirrors of an earlier start are known.
      node: () => (this.#synced ? (this.#nodes?.get(nodeName) ?? this.#registration.node) : undefined),
      added: (pod) => this.#startStatic(pod),
      removed: (pod) => this.#endStatic(pod),
    });
  }

  /** Without --pod-manifest-path every mirror pod is removed, as that of a deleted manifest. */
  #mirrorSeen(mirror: Pod): void {
    if (!this.#staticPods) return this.#removeMirror(mirror);
    this.#staticPods.mirrors.seen(mirror);
    this.#podDependencies.statuses.observe(mirror);
    this.#workerOfMirror(mirror)?.wake();
  }

  #removeMirror(mirror: Pod): void {
    void deleteMirror(this.#options.context.api, mirror).catch((error: unknown) =>
      this.#log.warn('error removing a mirror pod', { pod: objectKey(mirror), error: errorMessage(error) }),
    );
  }

  #workerOfMirror({ metadata }: Pod): PodWorker | undefined {
    return this.#workers.get(metadata?.annotations?.[MIRROR_POD] ?? '');
  }

  /** One of the same name runs out first: it may hold ports and files that this one needs. */
  #startStatic(pod: Pod): void {
    if (this.#stopped) return;
    const key = objectKey(pod);
    if ([...this.#workers.values()].some((worker) => objectKey(worker.pod) === key))
      this.#waiting.set(key, pod);
    else this.#settle(pod, this.#refusal(pod, this.#nodes?.get(this.#options.nodeName)));
  }

  #endStatic(pod: Pod): void {
    const key = objectKey(pod);
    if (this.#waiting.get(key) === pod) this.#waiting.delete(key);
    this.#workers.get(pod.metadata?.uid ?? '')?.gone();
  }

  async #lookAgain(pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    if (this.#doubtful.has(uid)) return;
    this.#doubtful.add(uid);
    const { context, nodeName } = this.#options;
    const node = await context.api.get(nodes, { name: nodeName }).catch(() => this.#registration.node);
    this.#doubtful.delete(uid);
    const current = this.#pods?.get(objectKey(pod));
    if (this.#stopped || this.#workers.has(uid) || current?.metadata?.uid !== uid) return;
    this.#settle(current, this.#refusal(current, node));
  }

  #settle(pod: Pod, refused: Rejection | undefined): void {
    if (refused) {
      this.#events.event(pod, { type: 'Warning', reason: refused.reason, message: refused.message });
      this.#podDependencies.statuses.set(
        pod,
        rejectedStatus(pod, { ...refused, nowMs: this.#options.context.clock.now() }),
      );
      return;
    }
    if (!isAdmitted(pod) && this.#devices.needsDevices(pod)) return void this.#equip(pod);
    this.#startWorker(pod);
  }

  /** Devices are given at the admission, as upstream: a pod that cannot have them is rejected. */
  async #equip(pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    if (this.#equipping.has(uid)) return;
    this.#equipping.set(uid, pod);
    const problem = await this.#devices.allocate(pod).then(
      () => undefined,
      (error: unknown) => `Allocate failed due to ${errorMessage(error)}, which is unexpected`,
    );
    this.#equipping.delete(uid);
    const current = isStaticPod(pod) ? pod : this.#pods?.get(objectKey(pod));
    if (this.#stopped || this.#workers.has(uid) || current?.metadata?.uid !== uid) return;
    if (problem === undefined) this.#startWorker(current);
    else this.#settle(current, { reason: 'UnexpectedAdmissionError', message: problem });
  }

  /** Before the API is known, every pod may run. */
  #isActive(uid: string): boolean {
    const worker = this.#workers.get(uid);
    return !this.#synced || this.#equipping.has(uid) || this.#orphans.has(uid) || worker?.finished === false;
  }

  #startWorker(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const made = new PodWorker({
      dependencies: this.#podDependencies,
      pod,
      onRemoved: () => this.#removed(uid),
    });
    this.#workers.set(uid, made);
    this.#balance();
    made.wake();
  }

  /** Another pod of the same name: the deletion of the previous one was missed. */
  #displace({ metadata }: Pod): void {
    for (const worker of this.#workers.values()) {
      if (
        worker.pod.metadata?.name === metadata?.name &&
        worker.pod.metadata?.namespace === metadata?.namespace
      )
        worker.gone();
    }
  }

  #refusal(pod: Pod, node: Node | undefined): Rejection | undefined {
    // It was admitted earlier, or is already terminal.
    if (isAdmitted(pod)) return undefined;
    return rejection({
      pod,
      others: this.#others(pod.metadata?.uid ?? ''),
      node,
      allocatable: { ...this.#allocatable, ...this.#devices.nodeDevices().allocatable },
      pressures: this.#evictions.pressures,
      allowedUnsafeSysctls: this.#options.allowedUnsafeSysctls,
    });
  }

  /**
   * The other pods that hold resources of this node. Like upstream, without pods that the API no longer has: they were force-deleted, their processes are being
   * killed, and a pod scheduled in their place must not be rejected.
   */
  #others(uid: string): Pod[] {
    return [
      ...[...this.#workers.values()]
        .filter((worker) => !worker.finished && !worker.isGone && worker.uid !== uid)
        .map((worker) => worker.pod),
      ...[...this.#equipping.values()].filter(({ metadata }) => metadata?.uid !== uid),
    ];
  }

  #gone(pod: Pod): void {
    if (isMirrorPod(pod)) {
      this.#staticPods?.mirrors.gone(pod);
      const worker = this.#workerOfMirror(pod);
      if (worker) this.#podDependencies.statuses.mirrorGone(worker.pod);
      return;
    }
    this.#workers.get(pod.metadata?.uid ?? '')?.gone();
    this.#podDependencies.statuses.forget(pod.metadata?.uid ?? '');
  }

  #removed(uid: string): void {
    const worker = this.#workers.get(uid);
    this.#workers.delete(uid);
    this.#balance();
    void worker?.stop();
    const next = worker && this.#waiting.get(objectKey(worker.pod));
    if (!next) return;
    this.#waiting.delete(objectKey(next));
    this.#startStatic(next);
  }

  /** Updates the CPU shares of the burstable cgroup, and retries deferred resizes. */
  #balance(): void {
    for (const worker of this.#workers.values()) worker.allocationChanged();
    const burstable = [...this.#workers.values()]
      .filter(({ finished }) => !finished)
      .map(({ pod }) => pod)
      .filter((pod) => podQOS(pod) === 'Burstable');
    const milli = burstable.reduce((sum, pod) => sum + (podRequests(pod).get('cpu')?.milliValue() ?? 0), 0);
    void this.#podDependencies.cgroups
      .setBurstableMilliCpu(this.#options.cgroupRoot, milli)
      .catch((error: unknown) =>
        this.#log.debug('error updating the burstable cgroup', { error: errorMessage(error) }),
      );
  }

  /** Pods in the runtime that the API no longer has: stopped and removed by their own workers. */
  #removeOrphans(found: ReadonlyMap<string, PodDigest>): void {
    if (!this.#synced) return;
    for (const { uid, name, namespace } of found.values()) {
      if (this.#workers.has(uid) || this.#orphans.has(uid)) continue;
      this.#orphans.add(uid);
      const pod: Pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { uid, name, namespace },
        spec: { containers: [], terminationGracePeriodSeconds: 1 },
      };
      const worker = new PodWorker({
        dependencies: this.#podDependencies,
        pod,
        onRemoved: () => {
          this.#orphans.delete(uid);
          void worker.stop();
        },
      });
      this.#log.info('removing an orphaned pod', { pod: `${namespace}/${name}` });
      worker.gone();
    }
  }

  #credentialProviders(tokens: ServiceAccountTokens): CredentialProviders | undefined {
    const { credentialProviders: settings, context } = this.#options;
    if (!settings) return undefined;
    this.#metrics.credentialProvidersConfigured(settings.hash);
    return new CredentialProviders({
      settings,
      clock: context.clock,
      log: this.#log,
      metrics: this.#metrics,
      serviceAccount: (namespace, name) => context.api.get(serviceAccounts, { namespace, name }),
      token: async (pod, request) => (await tokens.token(pod, request)).token,
    });
  }

  async #dns(): Promise<DnsOptions> {
    const { clusterDNS, clusterDomain, resolvConf = '/etc/resolv.conf' } = this.#options;
    const host = parseResolvConf(await readFile(resolvConf, 'utf8').catch(() => ''));
    return { clusterDNS, clusterDomain, host };
  }

  async #measure(before: Parameters<typeof nodeStatus>[0]['before']): Promise<ReturnType<typeof nodeStatus>> {
    const {
      cri,
      nodeName,
      addresses,
      dir,
      kubeletVersion,
      maximumPods = MAXIMUM_PODS,
      context,
    } = this.#options;
    const disk = await diskUsage(dir);
    const devices = this.#devices.nodeDevices();
    const total = {
      ...capacity(disk, podsOf(maximumPods, this.#options.podsPerCore)),
      ...devices.capacity,
    };
    const thresholds = this.#thresholds;
    this.#allocatable = allocatable(total, {
      disk,
      reserved: this.#options.reserved ?? {},
      eviction: {
        memoryBytes: reservedFor('memory.available', { thresholds, capacity: memoryBytes() }),
        storageBytes: reservedFor('nodefs.available', { thresholds, capacity: disk.capacityBytes }),
      },
    });
    this.#allocatable = { ...this.#allocatable, ...devices.allocatable };
    const images = await cri.listImages({}).then(
      (answer) => answer.images,
      () => this.#images,
    );
    this.#images = images;
    return nodeStatus({
      before,
      nowMs: context.clock.now(),
      nodeName,
      addresses,
      kubeletPort: this.#server.port,
      capacity: total,
      allocatable: this.#allocatable,
      images,
      pressures: this.#evictions.pressures,
      systemInfo: systemInfo({ kubeletVersion, runtimeVersion: this.#runtimeVersion }),
      problem: await this.#problem(),
      volumesInUse: this.#csi.volumesInUse,
      maximumImages: this.#options.statusMaximumImages,
      externalCloudProvider: this.#options.externalCloudProvider,
    });
  }

  #recordConditions(reasons: readonly string[]): void {
    const { nodeName } = this.#options;
    for (const reason of reasons)
      this.#events.event(nodeReference(nodeName), {
        type: 'Normal',
        reason,
        message: `Node ${nodeName} status is now: ${reason}`,
      });
  }

  /** Why the node is not Ready. */
  async #problem(): Promise<string | undefined> {
    const { cri, context } = this.#options;
    try {
      const { status } = await cri.status({}, { deadlineMs: 5_000 });
      const bad = (status?.conditions ?? []).filter((condition) => !condition.status);
      const network = bad.find(({ type }) => type === 'NetworkReady');
      this.#network.report('runtime', network && networkNotReady(network.reason, network.message));
      const others = bad
        .filter((condition) => condition !== network)
        .map(
          ({ type, reason, message }) =>
            `container runtime not ready: ${type}=false reason:${reason} message:${message}`,
        );
      const problems = [...others, ...(this.#network.problem === undefined ? [] : [this.#network.problem])];
      if (problems.length > 0) return problems.join(', ');
    } catch (error) {
      return `container runtime is down: ${errorMessage(error)}`;
    }
    const silentMs = context.clock.monotonic() - this.#pleg.lastSuccessMs;
    assert(!Number.isNaN(silentMs), 'a duration is a number');
    return this.#synced && silentMs > RUNTIME_SILENT_MS && silentMs !== Infinity
      ? `PLEG is not healthy: pleg was last seen active ${Math.round(silentMs / 1000)}s ago`
      : undefined;
  }
}

/** By this agent or an earlier one, or nothing of it will run. */
function isAdmitted({ metadata, status }: Pod): boolean {
  return status?.startTime !== undefined || metadata?.deletionTimestamp !== undefined || isFinished(status);
}

function podsOf(maximum: number, perCore = 0): number {
  return perCore > 0 ? Math.min(maximum, perCore * availableParallelism()) : maximum;
}
