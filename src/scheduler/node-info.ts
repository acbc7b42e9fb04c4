/**
 * A node with the pods on it (bound or assumed) and the sums that filters and scores read. Changed only by the cache, and by
 * preemption, which puts pods back before the cycle ends.
 */
import type { Node, Taint } from '#api/types.ts';
import { hostPortsConflict, type HostPort } from '#component-helpers/host-ports.ts';
import { addAmounts, resourceAmounts, emptyAmounts, type Amounts } from './resources.ts';
import { moreImportantFirst, type PodInfo, type PodMatcher } from './pod-info.ts';

/** Maximum number of cached counts per node; when it is reached, all of them are dropped. */
const MAX_COUNTS = 256;

/** Of the newest change of any node: no two states of nodes have the same. */
let newestGeneration = 0;

export class NodeInfo {
  readonly name: string;
  /** Index in tables of nodes; -1: in none, as copies are. */
  readonly slot: number;
  /** Changes with everything that filters and scores read. */
  generation = ++newestGeneration;
  /** Whether it has taints of the effect PreferNoSchedule. */
  isAvoided = false;
  /** Undefined for a node that has pods but is not in the API. */
  node: Node | undefined;
  labels: Readonly<Record<string, string>> = {};
  taints: readonly Taint[] = [];
  allocatable: Amounts = emptyAmounts();
  podLimit = 0;
  /** Image name → size in bytes. */
  images: ReadonlyMap<string, number> = new Map();
  readonly pods: Map<string, PodInfo>;
  readonly requested: Amounts;
  readonly scoringRequested: Amounts;
  /** Pods with any affinity or anti-affinity, and those with required anti-affinity. */
  readonly withAffinity: Set<PodInfo>;
  readonly withRequiredAntiAffinity: Set<PodInfo>;
  #ports: HostPort[];
  /** Claim → number of pods that use it. */
  readonly #claims = new Map<string, number>();
  /** Cached number of pods per matcher; cleared when pods are added or removed. */
  #counts: Map<string, number> | undefined;
  /** All pods, for preemption; cleared when pods are added or removed. */
  #byImportance: readonly PodInfo[] | undefined;

  /** from: to be copied. */
  constructor(name: string, { slot = -1, from }: { readonly slot?: number; readonly from?: NodeInfo } = {}) {
    this.name = name;
    this.slot = slot;
    this.pods = new Map(from?.pods);
    this.requested = emptyAmounts();
    this.scoringRequested = emptyAmounts();
    this.withAffinity = new Set(from?.withAffinity);
    this.withRequiredAntiAffinity = new Set(from?.withRequiredAntiAffinity);
    this.#ports = from ? from.#ports : [];
  }

  setNode(node: Node | undefined): void {
    this.generation = ++newestGeneration;
    this.node = node;
    this.labels = node?.metadata?.labels ?? {};
    this.taints = node?.spec?.taints ?? [];
    this.isAvoided = this.taints.some(({ effect }) => effect === 'PreferNoSchedule');
    const allocatable = node?.status?.allocatable ?? node?.status?.capacity ?? {};
    this.allocatable = resourceAmounts(allocatable);
    // A node that has not reported its status yet has no allocatable resources.
    this.podLimit = Number(allocatable['pods'] ?? 0);
    this.images = new Map(
      (node?.status?.images ?? []).flatMap((image) =>
        (image.names ?? []).map((name) => [name, image.sizeBytes ?? 0] as const),
      ),
    );
  }

  addPod(pod: PodInfo): void {
    const before = this.pods.get(pod.uid);
    if (before && isSameToNodes(before, pod)) return this.#replacePod(before, pod);
    if (before) this.removePod(pod.uid);
    this.generation = ++newestGeneration;
    this.pods.set(pod.uid, pod);
    this.#counts = undefined;
    this.#byImportance = undefined;
    addAmounts(this.requested, pod.requests);
    addAmounts(this.scoringRequested, pod.scoringRequests);
    if (pod.hostPorts.length > 0) this.#ports = [...this.#ports, ...pod.hostPorts];
    for (const claim of pod.claims) this.#claims.set(claim, this.claimUsers(claim) + 1);
    if (
      pod.requiredAffinity.length +
        pod.requiredAntiAffinity.length +
        pod.preferredAffinity.length +
        pod.preferredAntiAffinity.length >
      0
    )
      this.withAffinity.add(pod);
    if (pod.requiredAntiAffinity.length > 0) this.withRequiredAntiAffinity.add(pod);
  }

  #replacePod(before: PodInfo, pod: PodInfo): void {
    this.pods.set(pod.uid, pod);
    this.#byImportance = undefined;
    for (const set of [this.withAffinity, this.withRequiredAntiAffinity])
      if (set.delete(before)) set.add(pod);
  }

  removePod(uid: string): PodInfo | undefined {
    const pod = this.pods.get(uid);
    if (!pod) return undefined;
    this.generation = ++newestGeneration;
    this.pods.delete(uid);
    this.#counts = undefined;
    this.#byImportance = undefined;
    addAmounts(this.requested, pod.requests, -1);
    addAmounts(this.scoringRequested, pod.scoringRequests, -1);
    if (pod.hostPorts.length > 0) this.#ports = [...this.pods.values()].flatMap((other) => other.hostPorts);
    for (const claim of pod.claims) this.#releaseClaim(claim);
    this.withAffinity.delete(pod);
    this.withRequiredAntiAffinity.delete(pod);
    return pod;
  }

  /** A copy for simulations. */
  clone(): NodeInfo {
    const copy = new NodeInfo(this.name, { from: this });
    copy.node = this.node;
    copy.labels = this.labels;
    copy.taints = this.taints;
    copy.isAvoided = this.isAvoided;
    copy.allocatable = this.allocatable;
    copy.podLimit = this.podLimit;
    copy.images = this.images;
    addAmounts(copy.requested, this.requested);
    addAmounts(copy.scoringRequested, this.scoringRequested);
    for (const [claim, users] of this.#claims) copy.#claims.set(claim, users);
    return copy;
  }

  /** Pods that the matcher selects and that are not being deleted. */
  count(matcher: PodMatcher): number {
    if (this.pods.size === 0) return 0;
    const known = this.#counts?.get(matcher.key);
    if (known !== undefined) return known;
    let count = 0;
    for (const pod of this.pods.values())
      if (
        pod.namespace === matcher.namespace &&
        !pod.pod.metadata?.deletionTimestamp &&
        matcher.matches(pod.labels)
      )
        count += 1;
    if (!this.#counts || this.#counts.size >= MAX_COUNTS) this.#counts = new Map();
    this.#counts.set(matcher.key, count);
    return count;
  }

  /** Pods of lower priority, the most important first. */
  podsBelow(priority: number): readonly PodInfo[] {
    if (this.pods.size === 0) return [];
    this.#byImportance ??= [...this.pods.values()].sort(moreImportantFirst);
    const from = this.#byImportance.findIndex((pod) => pod.priority < priority);
    return from < 0 ? [] : this.#byImportance.slice(from);
  }

  /** The number of pods here that use a claim; key 'namespace/name'. */
  claimUsers(key: string): number {
    return this.#claims.get(key) ?? 0;
  }

  #releaseClaim(key: string): void {
    const users = this.claimUsers(key) - 1;
    if (users > 0) this.#claims.set(key, users);
    else this.#claims.delete(key);
  }

  portConflicts(wanted: readonly HostPort[]): boolean {
    return hostPortsConflict(wanted, this.#ports);
  }
}

/** Its requests, labels and terms are those of an earlier version of the object. */
function isSameToNodes(before: PodInfo, now: PodInfo): boolean {
  return (
    before.requests === now.requests &&
    (before.pod.metadata?.deletionTimestamp === undefined) ===
      (now.pod.metadata?.deletionTimestamp === undefined)
  );
}
