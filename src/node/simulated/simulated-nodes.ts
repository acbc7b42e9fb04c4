/**
 * Many nodes in one component, without containers: they register, send heartbeats, and take the pods bound to them through a believable life
 * (lifecycle.ts). One pod watch for all of them. For trying out manifests, operators and large clusters; nothing is executed.
 */
import type { Node, Pod, PodStatus } from '#api/types.ts';
import type { SelectOptions } from '#client/client.ts';
import { leases, nodes, pods } from '#client/refs.ts';
import { LOCAL_PATH_DIRECTORY } from '#component-helpers/local-path.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatIP, parseCIDR, parseIP } from '#machinery/ip.ts';
import { objectKey } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';
import { formatTime, formatMicroTime } from '#machinery/time.ts';
import { DueQueue } from './due-queue.ts';
import { createRecord, step, type PodRecord } from './lifecycle.ts';
import { followSimulatedVolumes, SIMULATED_DIRECTORY } from './simulated-volumes.ts';

interface SimulatedNodesOptions extends ComponentContext {
  /** Names of the Nodes to create. */
  readonly names: readonly string[];
  /** What each node has. Default 32 CPUs, 256 GiB, 110 pods. */
  readonly capacity?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly kubeletVersion: string;
  /** More can be added, so that one watch sees the pods of all. Default: of a single node, only its own pods are watched. */
  readonly canGrow?: boolean;
}

/** What one node has otherwise than the others. */
interface SimulatedMachine {
  readonly name: string;
  readonly providerID?: string;
  readonly capacity?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: NonNullable<Node['spec']>['taints'];
}

export interface SimulatedNodesComponent extends Component {
  /** Registers it, and acts for it from then on; one of this name that is there already is taken over. */
  add(machine: SimulatedMachine): Promise<void>;
  /** As if its machine were switched off: its Node and its pods stay as they are. */
  remove(name: string): void;
}

const DEFAULT_CAPACITY = {
  cpu: '32',
  memory: '256Gi',
  'ephemeral-storage': '1Ti',
  'hugepages-1Gi': '0',
  'hugepages-2Mi': '0',
  pods: '110',
};
const LEASE_SECONDS = 40;
const HEARTBEAT_MS = 10_000;
/** Above this many nodes heartbeats come half as often: still well inside the 40 s after which a node counts as lost. */
const MANY_NODES = 1000;
const STATUS_MS = 5 * 60_000;
const RETRY_MS = 1_000;
const REGISTER_PARALLEL = 32;
const WRITES_PARALLEL = 64;
const LEASE_NAMESPACE = 'kube-node-lease';

export function simulatedNodeNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `node-${index + 1}`);
}

export function createSimulatedNodes(options: SimulatedNodesOptions): SimulatedNodesComponent {
  return new SimulatedNodes(options);
}

interface NodeState {
  readonly name: string;
  readonly machine: SimulatedMachine;
  readonly address: string;
  readonly usedHosts: Set<number>;
  statusAtMs: number;
  /** When its lease was last renewed. */
  renewedAtMs: number;
}
interface PodState {
  readonly record: PodRecord;
  readonly node: NodeState;
  readonly host: number | undefined;
  uid: string;
  busy: boolean;
  again: boolean;
  written: string;
}

class SimulatedNodes implements SimulatedNodesComponent {
  readonly name = 'simulated-nodes';
  readonly #options: SimulatedNodesOptions;
  readonly #nodes: Map<string, NodeState>;
  /** For addresses: never given twice. */
  #count = 0;
  readonly #pods = new Map<string, PodState>();
  readonly #dueNodes: DueQueue;
  readonly #duePods: DueQueue;
  readonly #stop = new AbortController();
  /** Pods whose turn to be written comes when others are done. */
  readonly #waiting = new Set<string>();
  readonly #writing = new Set<Promise<void>>();
  readonly #beating = new Set<Promise<void>>();
  /** A single node may act as itself, and then sees no more than its own. */
  readonly #only: string | undefined;
  readonly #own: { readonly nodes: SelectOptions; readonly pods: SelectOptions };
  #unsubscribe = (): void => {};
  #unfollowVolumes = (): void => {};

  constructor(options: SimulatedNodesOptions) {
    this.#options = options;
    this.#only = options.names.length === 1 && !options.canGrow ? options.names[0] : undefined;
    this.#own =
      this.#only === undefined
        ? { nodes: {}, pods: {} }
        : {
            nodes: { fieldSelector: `metadata.name=${this.#only}` },
            pods: { fieldSelector: `spec.nodeName=${this.#only}` },
          };
    this.#nodes = new Map(options.names.map((name) => [name, this.#state({ name })]));
    this.#dueNodes = new DueQueue(options.clock, (name) =>
      this.#tracked(this.#heartbeat(name), this.#beating),
    );
    this.#duePods = new DueQueue(options.clock, (key) => this.#advance(key));
  }

  async start(): Promise<void> {
    // Pods' addresses come from their node's range.
    await this.#options.api.informer(nodes, this.#own.nodes).synced(this.#stop.signal);
    const queue = [...this.#nodes.values()].entries();
    const worker = async (): Promise<void> => {
      for (const [index, node] of queue) if (!this.#stop.signal.aborted) await this.#join(node, index);
    };
    await Promise.all(Array.from({ length: Math.min(REGISTER_PARALLEL, this.#nodes.size) }, worker));
    const informer = this.#options.api.informer(pods, this.#own.pods);
    this.#unsubscribe = informer.subscribe({
      added: (pod) => this.#seen(pod),
      updated: (pod) => this.#seen(pod),
      deleted: (pod) => this.#gone(pod),
    });
    await informer.synced(this.#stop.signal);
    this.#unfollowVolumes = followSimulatedVolumes({
      ...this.#options,
      nodes: this.#nodes,
      only: this.#only,
      signal: this.#stop.signal,
    });
  }

  async add(machine: SimulatedMachine): Promise<void> {
    const node = this.#state(machine);
    this.#nodes.set(machine.name, node);
    await this.#join(node, 0);
    if (this.#nodes.get(machine.name) !== node) return;
    // Those that were bound to it before.
    for (const pod of this.#options.api.informer(pods, this.#own.pods).list())
      if (pod.spec?.nodeName === machine.name) this.#seen(pod);
  }

  remove(name: string): void {
    this.#nodes.delete(name);
    this.#dueNodes.delete(name);
    for (const [key, state] of this.#pods) if (state.node.name === name) this.#forget(key, state);
  }

  #state(machine: SimulatedMachine): NodeState {
    const { name } = machine;
    const address = addressOf(this.#count++);
    return { name, machine, address, usedHosts: new Set<number>(), statusAtMs: 0, renewedAtMs: 0 };
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('simulated nodes stopped'));
    this.#unsubscribe();
    this.#unfollowVolumes();
    this.#dueNodes.stop();
    this.#duePods.stop();
    await Promise.all([...this.#writing, ...this.#beating]);
  }

  /** Never rejects. */
  #tracked(work: Promise<void>, among: Set<Promise<void>>): void {
    const tracked = work.finally(() => among.delete(tracked));
    among.add(tracked);
  }

  #heartbeatMs(): number {
    return this.#nodes.size > MANY_NODES ? 2 * HEARTBEAT_MS : HEARTBEAT_MS;
  }

  /** It beats from now on: registering the others may take longer than a node may be silent. Beats are spread over the interval. */
  async #join(node: NodeState, index: number): Promise<void> {
    await this.#register(node);
    if (!this.#stop.signal.aborted && this.#nodes.get(node.name) === node)
      this.#dueNodes.set(
        node.name,
        this.#options.clock.now() + Math.trunc((this.#heartbeatMs() * (index + 1)) / this.#nodes.size),
      );
  }

  async #register(node: NodeState): Promise<void> {
    const { api, clock, log } = this.#options;
    while (!this.#stop.signal.aborted && this.#nodes.get(node.name) === node) {
      try {
        const wanted = this.#nodeObject(node);
        const current = await api.create(nodes, wanted).catch(async (error: unknown) => {
          if (!isStatusError(error, 'AlreadyExists')) throw error;
          return api.get(nodes, { name: node.name });
        });
        await api.updateStatus(nodes, { ...current, status: this.#nodeStatus(node, current) });
        node.statusAtMs = clock.now();
        await this.#renewLease(node);
        return;
      } catch (error) {
        if (!isStatusError(error, 'Conflict'))
          log.warn('error registering a node, retrying', { node: node.name, error: errorMessage(error) });
        await clock.sleep(RETRY_MS, this.#stop.signal).catch(() => {});
      }
    }
  }

  async #heartbeat(name: string): Promise<void> {
    const node = this.#nodes.get(name);
    if (!node || this.#stop.signal.aborted) return;
    const { api, clock, log } = this.#options;
    this.#dueNodes.set(name, clock.now() + this.#heartbeatMs());
    try {
      // Longer than a lease: it may have been given up meanwhile.
      const wasSilent = clock.now() - node.renewedAtMs > LEASE_SECONDS * 1000;
      await this.#renewLease(node);
      if (!wasSilent && clock.now() - node.statusAtMs < STATUS_MS) return;
      const current = await api.get(nodes, { name });
      await api.updateStatus(nodes, { ...current, status: this.#nodeStatus(node, current) });
      node.statusAtMs = clock.now();
    } catch (error) {
      if (isStatusError(error, 'NotFound')) await this.#register(node);
      else log.warn('heartbeat failed', { node: name, error: errorMessage(error) });
    }
  }

  async #renewLease(node: NodeState): Promise<void> {
    const { api, clock } = this.#options;
    const renewTime = formatMicroTime(clock.now());
    const at = { name: node.name, namespace: LEASE_NAMESPACE };
    try {
      await api.patch(leases, at, {
        type: 'merge',
        patch: { spec: { renewTime, holderIdentity: node.name, leaseDurationSeconds: LEASE_SECONDS } },
      });
      node.renewedAtMs = clock.now();
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
      await api.create(leases, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: at,
        spec: { holderIdentity: node.name, leaseDurationSeconds: LEASE_SECONDS, renewTime },
      });
      node.renewedAtMs = clock.now();
    }
  }

  #nodeObject(node: NodeState): Node {
    const { providerID, taints } = node.machine;
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: node.name,
        annotations: {
          'node.alpha.kubernetes.io/ttl': '0',
          'capstan.dev/simulated': 'true',
          [LOCAL_PATH_DIRECTORY]: SIMULATED_DIRECTORY,
        },
        labels: {
          'kubernetes.io/hostname': node.name,
          'kubernetes.io/os': 'linux',
          'kubernetes.io/arch': 'amd64',
          'beta.kubernetes.io/os': 'linux',
          'beta.kubernetes.io/arch': 'amd64',
          'capstan.dev/simulated': 'true',
          ...this.#options.labels,
          ...node.machine.labels,
        },
      },
      ...(providerID || taints
        ? { spec: { ...(providerID ? { providerID } : {}), ...(taints ? { taints } : {}) } }
        : {}),
    };
  }

  #nodeStatus(node: NodeState, current: Node): NonNullable<Node['status']> {
    const capacity = { ...DEFAULT_CAPACITY, ...this.#options.capacity, ...node.machine.capacity };
    const now = formatTime(this.#options.clock.now());
    const conditions = [
      {
        type: 'MemoryPressure',
        status: 'False',
        reason: 'KubeletHasSufficientMemory',
        message: 'kubelet has sufficient memory available',
      },
      {
        type: 'DiskPressure',
        status: 'False',
        reason: 'KubeletHasNoDiskPressure',
        message: 'kubelet has no disk pressure',
      },
      {
        type: 'PIDPressure',
        status: 'False',
        reason: 'KubeletHasSufficientPID',
        message: 'kubelet has sufficient PID available',
      },
      {
        type: 'Ready',
        status: 'True',
        reason: 'KubeletReady',
        message: 'the node is simulated and always ready',
      },
    ].map((own) => {
      const before = current.status?.conditions?.find((other) => other.type === own.type);
      return {
        ...own,
        lastHeartbeatTime: now,
        lastTransitionTime: before?.status === own.status ? (before.lastTransitionTime ?? now) : now,
      };
    });
    const others = (current.status?.conditions ?? []).filter(
      (other) => !conditions.some(({ type }) => type === other.type),
    );
    return {
      ...current.status,
      capacity,
      allocatable: capacity,
      conditions: [...conditions, ...others],
      addresses: [
        { type: 'InternalIP', address: node.address },
        { type: 'Hostname', address: node.name },
      ],
      nodeInfo: {
        machineID: '',
        systemUUID: '',
        bootID: '',
        kernelVersion: 'simulated',
        osImage: 'simulated',
        containerRuntimeVersion: 'simulated://1.0.0',
        kubeletVersion: this.#options.kubeletVersion,
        kubeProxyVersion: '',
        operatingSystem: 'linux',
        architecture: 'amd64',
      },
    };
  }

  #seen(pod: Pod): void {
    const node = this.#nodes.get(pod.spec?.nodeName ?? '');
    if (!node) return;
    const key = objectKey(pod);
    const known = this.#pods.get(key);
    if (known && known.uid === pod.metadata?.uid) return this.#advance(key);
    if (known) this.#forget(key, known);
    this.#pods.set(key, this.#admit(pod, node));
    this.#advance(key);
  }

  #admit(pod: Pod, node: NodeState): PodState {
    const host = pod.spec?.hostNetwork ? undefined : freeHost(node, pod.status?.podIP);
    const known = pod.status?.podIPs?.map(({ ip }) => ip) ?? [];
    const podIPs = host === undefined ? [node.address] : known.length > 0 ? known : this.#podIPs(node, host);
    const record = createRecord(pod, { nowMs: this.#options.clock.now(), podIPs, hostIP: node.address });
    return { node, host, record, uid: pod.metadata?.uid ?? '', busy: false, again: false, written: '' };
  }

  /** One of each of the node's ranges. */
  #podIPs(node: NodeState, host: number): string[] {
    const { podCIDRs = [] } = this.#options.api.informer(nodes, this.#own.nodes).get(node.name)?.spec ?? {};
    const ranges =
      podCIDRs.length > 0 ? podCIDRs : [`10.${100 + (indexOf(node) >> 8)}.${indexOf(node) & 255}.0/24`];
    return ranges.flatMap((range) => {
      const block = parseCIDR(range);
      if (!block) return [];
      return [formatIP({ family: block.address.family, bits: block.network + BigInt(host) })];
    });
  }

  #gone(pod: Pod): void {
    const key = objectKey(pod);
    const state = this.#pods.get(key);
    if (state && state.uid === pod.metadata?.uid) this.#forget(key, state);
  }

  #forget(key: string, state: PodState): void {
    if (state.host !== undefined) state.node.usedHosts.delete(state.host);
    this.#pods.delete(key);
    this.#duePods.delete(key);
    this.#waiting.delete(key);
  }

  /** Decides the pod's next step and writes it, one write per pod at a time and a bounded number altogether. */
  #advance(key: string): void {
    const state = this.#pods.get(key);
    const pod = this.#options.api.informer(pods, this.#own.pods).get(key);
    if (!state || !pod || pod.metadata?.uid !== state.uid) return;
    if (state.busy) {
      state.again = true;
      return;
    }
    if (this.#writing.size >= WRITES_PARALLEL) {
      this.#waiting.add(key);
      return;
    }
    const next = step(pod, state.record, this.#options.clock.now());
    if (next.nextAtMs !== undefined) this.#duePods.set(key, next.nextAtMs);
    const text = next.status ? JSON.stringify(next.status) : '';
    if (!next.remove && (text === '' || text === state.written)) return;
    state.busy = true;
    this.#tracked(
      this.#write(pod, next)
        .then(
          () => {
            state.written = text;
          },
          (error: unknown) => this.#writeFailed(key, error),
        )
        .finally(() => {
          state.busy = false;
          // After the write has left the set: it makes room for another.
          setImmediate(() => this.#goOn(key, state));
        }),
      this.#writing,
    );
  }

  #goOn(key: string, state: PodState): void {
    if (this.#stop.signal.aborted) return;
    if (state.again) {
      state.again = false;
      this.#advance(key);
    }
    for (const waiting of this.#waiting) {
      if (this.#writing.size >= WRITES_PARALLEL) return;
      this.#waiting.delete(waiting);
      this.#advance(waiting);
    }
  }

  async #write(
    pod: Pod,
    { status, remove }: { readonly status?: PodStatus; readonly remove?: boolean },
  ): Promise<void> {
    const { api } = this.#options;
    const at = { name: pod.metadata?.name ?? '', namespace: pod.metadata?.namespace };
    // A strategic merge patch keeps conditions of other owners (readiness gates, the scheduler's).
    if (status)
      await api.patch(pods, at, {
        type: 'strategic',
        subresource: 'status',
        patch: { metadata: { uid: pod.metadata?.uid }, status: statusPatch(status) },
      });
    if (remove)
      await api.delete(pods, at, { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata?.uid ?? '' } });
  }

  #writeFailed(key: string, error: unknown): void {
    if (isStatusError(error, 'NotFound') || this.#stop.signal.aborted) return;
    if (!isStatusError(error, 'Conflict'))
      this.#options.log.warn('error updating pod status', { pod: key, error: errorMessage(error) });
    this.#duePods.set(key, this.#options.clock.now() + RETRY_MS);
  }
}

/** 172.31.x.y for the n-th node: an address for display only. */
function addressOf(index: number): string {
  return `172.${31 - (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

function indexOf(node: NodeState): number {
  const [, , high = 0, low = 0] = node.address.split('.').map(Number);
  return high * 256 + low;
}

/** The host part a pod has already, or the lowest free one from .2 on. */
function freeHost(node: NodeState, podIP: string | undefined): number {
  const known = Number((parseIP(podIP ?? '')?.bits ?? 0n) & 0xffn);
  let host = known < 2 || node.usedHosts.has(known) ? 2 : known;
  while (node.usedHosts.has(host)) host += 1;
  node.usedHosts.add(host);
  return host;
}

/** Conditions are merged: an earlier reason is removed only if the patch does so. */
function statusPatch({ conditions = [], ...status }: PodStatus): object {
  return {
    ...status,
    conditions: conditions.map((condition) => ({ reason: null, message: null, ...condition })),
  };
}
