/**
 * Maintains this node's Node and Lease: registers, renews the lease every 10 s, writes the status when it changes, when the API has another one, and
 * every 5 minutes. A deleted Node is registered again.
 */
import type { Node, NodeStatus, Taint } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { leases, nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { compareResourceVersions } from '#machinery/resource-version.ts';
import { formatMicroTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { goArchitecture } from './machine-facts.ts';
import { essence, isExtendedResource } from './node-status.ts';

interface NodeRegistrationOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly podCIDRs: readonly string[] | undefined;
  /** Labels and taints of a new Node, beside those of every node. */
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly providerID?: string | undefined;
  /** The Lease's duration; it is renewed in a quarter of it. Default 40. */
  readonly leaseSeconds?: number | undefined;
  /** Period in which the status is computed, and in which it is written although it has not changed. */
  readonly checkMs?: number | undefined;
  readonly reportMs?: number | undefined;
  /** The status now, built on the one before. */
  readonly measure: (before: NodeStatus | undefined) => Promise<NodeStatus>;
}

const LEASE_NAMESPACE = 'kube-node-lease';
const LEASE_SECONDS = 40;
const CHECK_MS = 10_000;
const STATUS_MS = 5 * 60_000;
const RETRY_MS = 1_000;

export class NodeRegistration {
  readonly #options: NodeRegistrationOptions;
  readonly #stop = new AbortController();
  #node: Node | undefined;
  #written = '';
  #writtenAtMs = -Infinity;
  #loops: Promise<void>[] = [];
  #check = Promise.withResolvers<void>();

  constructor(options: NodeRegistrationOptions) {
    this.#options = options;
  }

  /** As it was when it was last read or written. */
  get node(): Node | undefined {
    return this.#node;
  }

  /** Resolves when the Node exists with its status. Retries until then. */
  async start(): Promise<void> {
    const { clock, log, leaseSeconds = LEASE_SECONDS } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#register();
        await this.#renewLease();
        break;
      } catch (error) {
        log.warn('error registering the node, retrying', { error: errorMessage(error) });
        await clock.sleep(RETRY_MS, this.#stop.signal).catch(() => {});
      }
    }
    this.#loops = [this.#every((leaseSeconds * 1000) / 4, () => this.#renewLease()), this.#statusLoop()];
  }

  /** The Node in the API. Called for every event of it, so that changes by others are corrected at once. */
  observe(node: Node): void {
    const known = this.#node;
    if (!known || isOlder(node, known)) return;
    this.#node = node;
    if (deepEqual(decidedBy(node.status), decidedBy(known.status))) return;
    this.#written = '';
    this.#check.resolve();
  }

  /** What the status shows has changed. */
  check(): void {
    this.#check.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('node agent stopped'));
    this.#check.resolve();
    await Promise.all(this.#loops);
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await clock.sleep(ms, signal).catch(() => {});
      if (signal.aborted) return;
      await work().catch((error: unknown) => log.warn('heartbeat failed', { error: errorMessage(error) }));
    }
  }

  async #statusLoop(): Promise<void> {
    const { clock, log, checkMs = CHECK_MS } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await Promise.race([clock.sleep(checkMs, signal).catch(() => {}), this.#check.promise]);
      this.#check = Promise.withResolvers();
      if (signal.aborted) return;
      await this.#updateStatus().catch((error: unknown) =>
        log.warn('error updating node status', { error: errorMessage(error) }),
      );
    }
  }

  async #register(): Promise<void> {
    const { api, nodeName } = this.#options;
    const created = await api.create(nodes, newNode(this.#options)).catch(async (error: unknown) => {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
      return this.#reconcile(await api.get(nodes, { name: nodeName }));
    });
    this.#node = created;
    await this.#updateStatus(true);
  }

  /** The Node exists (an earlier start, or created by hand): sets our labels and the fields that we manage, keeps the rest. */
  async #reconcile(node: Node): Promise<Node> {
    const { api, nodeName, podCIDRs = [], annotations = {}, providerID } = this.#options;
    const usual = usualLabels(nodeName);
    const labels = Object.entries(usual).some(([key, value]) => node.metadata?.labels?.[key] !== value);
    const range = podCIDRs.length > 0 && !node.spec?.podCIDR;
    const noted = Object.entries(annotations).every(
      ([key, value]) => node.metadata?.annotations?.[key] === value,
    );
    const identified = providerID !== undefined && !node.spec?.providerID;
    if (!labels && !range && noted && !identified) return node;
    const patch = {
      metadata: { labels: usual, ...(noted ? {} : { annotations }) },
      ...(range || identified
        ? {
            spec: {
              ...(range ? { podCIDR: podCIDRs[0], podCIDRs } : {}),
              ...(identified ? { providerID } : {}),
            },
          }
        : {}),
    };
    return api.patch(nodes, { name: nodeName }, { type: 'strategic', patch });
  }

  async #updateStatus(always = false): Promise<void> {
    const { api, clock, nodeName, measure, reportMs = STATUS_MS } = this.#options;
    const status = await measure(this.#node?.status);
    const text = essence(status);
    if (!always && text === this.#written && clock.now() - this.#writtenAtMs < reportMs) return;
    try {
      // Conditions of others (the network's, a problem detector's) are merged by their type.
      this.#node = await api.patch(
        nodes,
        { name: nodeName },
        {
          type: 'strategic',
          subresource: 'status',
          patch: { status: withReplacedAddresses(withRemovals(status, this.#node?.status)) },
        },
      );
      this.#written = text;
      this.#writtenAtMs = clock.now();
    } catch (error) {
      if (always || !isStatusError(error, 'NotFound')) throw error;
      await this.#register();
    }
  }

  async #renewLease(): Promise<void> {
    const { api, clock, nodeName } = this.#options;
    const at = { name: nodeName, namespace: LEASE_NAMESPACE };
    const spec = {
      holderIdentity: nodeName,
      leaseDurationSeconds: this.#options.leaseSeconds ?? LEASE_SECONDS,
      renewTime: formatMicroTime(clock.now()),
    };
    try {
      await api.patch(leases, at, { type: 'merge', patch: { spec } });
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
      const uid = this.#node?.metadata?.uid;
      const ownerReferences = uid ? [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid }] : [];
      await api.create(leases, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { ...at, ownerReferences },
        spec,
      });
    }
  }
}

/** The status that the agent writes, without heartbeat times. */
function decidedBy({ capacity, allocatable, conditions }: NodeStatus = {}): object {
  return JSON.parse(essence({ capacity, allocatable, conditions } as NodeStatus)) as object;
}

function isOlder({ metadata }: Node, { metadata: known }: Node): boolean {
  if (metadata?.uid !== known?.uid) return false;
  return compareResourceVersions(metadata?.resourceVersion ?? '', known?.resourceVersion ?? '') < 0;
}

/** A patch merges maps: an extended resource that left the capacity must be removed from the allocatable explicitly. */
function withRemovals(status: NodeStatus, before: NodeStatus = {}): NodeStatus {
  const gone = Object.keys(before.allocatable ?? {}).filter(
    (name) => isExtendedResource(name) && status.allocatable?.[name] === undefined,
  );
  if (gone.length === 0) return status;
  return {
    ...status,
    allocatable: {
      ...status.allocatable,
      ...(Object.fromEntries(gone.map((name) => [name, null])) as Record<string, never>),
    },
  };
}

/** A patch merges addresses by their type, of which two InternalIPs are: as upstream's kubelet, they are replaced. */
function withReplacedAddresses(status: NodeStatus): object {
  return { ...status, addresses: [...(status.addresses ?? []), { $patch: 'replace' }] };
}

function usualLabels(nodeName: string): Record<string, string> {
  const architecture = goArchitecture();
  return {
    'kubernetes.io/hostname': nodeName,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': architecture,
    'beta.kubernetes.io/os': 'linux',
    'beta.kubernetes.io/arch': architecture,
  };
}

/** The initial Node. */
export function newNode({
  nodeName,
  podCIDRs: [podCIDR, ...others] = [],
  labels,
  taints,
  annotations = {},
  providerID,
}: Pick<
  NodeRegistrationOptions,
  'nodeName' | 'podCIDRs' | 'labels' | 'taints' | 'annotations' | 'providerID'
>): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: nodeName,
      labels: { ...labels, ...usualLabels(nodeName) },
      annotations: {
        'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
        ...annotations,
      },
    },
    spec: {
      ...(podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR, ...others] }),
      ...(taints.length > 0 ? { taints: [...taints] } : {}),
      ...(providerID === undefined ? {} : { providerID }),
    },
  };
}
