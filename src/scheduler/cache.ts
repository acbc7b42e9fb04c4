/**
 * The scheduler's cache of nodes and their pods: the state of the API plus assumed pods, whose binding is in progress.
 *
 *   (unknown) --assume--> assumed --API shows it bound--> bound --deleted or finished--> (unknown)
 *                            '--forget (binding failed)--> (unknown)
 */
import type { Node, Pod } from '#api/types.ts';
import { NodeAnswers } from './node-answers.ts';
import { NodeInfo } from './node-info.ts';
import { NodeSums } from './node-sums.ts';
import { podInfoAfter, type PodInfo } from './pod-info.ts';

interface Placement {
  readonly nodeName: string;
  readonly assumed: boolean;
}

export class SchedulerCache {
  readonly #nodes = new Map<string, NodeInfo>();
  readonly #placements = new Map<string, Placement>();
  /** Indexed separately, so that a scheduling cycle does not iterate over all nodes. */
  readonly #withAffinity = new Set<NodeInfo>();
  readonly #withRequiredAntiAffinity = new Set<NodeInfo>();
  /** Assumed or bound pods that are taken away on trial. */
  readonly #suspended = new Map<string, Placement>();
  readonly #imageNodes = new Map<string, number>();
  #ordered: readonly NodeInfo[] | undefined;
  /** Of nodes that are gone. */
  readonly #freeSlots: number[] = [];
  #slots = 0;
  #namespacesVersion = 0;
  readonly answers = new NodeAnswers();
  readonly sums = new NodeSums();

  setNode(node: Node): void {
    const name = node.metadata?.name ?? '';
    const info = this.#info(name);
    const before = info.node;
    this.#countImages(info, -1);
    info.setNode(node);
    this.sums.changed(info);
    this.#countImages(info, 1);
    if (!before || zoneOf(before) !== zoneOf(node)) this.#ordered = undefined;
  }

  /** A newer version of the object, in which only what scheduling does not read is different. */
  refreshNode(node: Node): void {
    const info = this.#nodes.get(node.metadata?.name ?? '');
    if (info?.node) info.node = node;
  }

  removeNode(name: string): void {
    const info = this.#nodes.get(name);
    if (!info) return;
    this.#countImages(info, -1);
    info.setNode(undefined);
    this.sums.changed(info);
    if (info.pods.size === 0) this.#drop(info);
    this.#ordered = undefined;
  }

  /** Adds a pod that the API shows on a node. Finished pods use no resources: call removePod for them. */
  setPod(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const nodeName = pod.spec?.nodeName ?? '';
    this.#suspended.delete(uid);
    const before = this.#placements.get(uid);
    if (before && before.nodeName !== nodeName) this.removePod(uid);
    const known = before && this.#nodes.get(before.nodeName)?.pods.get(uid);
    this.#put(podInfoAfter(pod, known), { nodeName, assumed: false });
  }

  removePod(uid: string): void {
    this.#suspended.delete(uid);
    const placement = this.#placements.get(uid);
    if (!placement) return;
    this.#placements.delete(uid);
    const info = this.#nodes.get(placement.nodeName);
    if (!info) return;
    info.removePod(uid);
    this.#noteChange(info);
    if (!info.node && info.pods.size === 0) this.#drop(info);
  }

  assume(pod: PodInfo, nodeName: string): void {
    this.#put(pod, { nodeName, assumed: true });
  }

  /** Removes an assumed pod, unless the API has confirmed it. */
  forget(uid: string): void {
    if ((this.#placements.get(uid) ?? this.#suspended.get(uid))?.assumed) this.removePod(uid);
  }

  /** Takes a pod away until the returned function is called, which does nothing if the API showed the pod, or took it away, meanwhile. */
  suspend(uid: string): () => void {
    const placement = this.#placements.get(uid);
    const pod = placement && this.#nodes.get(placement.nodeName)?.pods.get(uid);
    if (!pod) return () => {};
    this.removePod(uid);
    this.#suspended.set(uid, placement);
    return () => {
      if (this.#suspended.get(uid) !== placement) return;
      this.#suspended.delete(uid);
      this.#put(pod, placement);
    };
  }

  get sizes(): { readonly nodes: number; readonly pods: number; readonly assumed_pods: number } {
    let assumed = 0;
    for (const placement of this.#placements.values()) if (placement.assumed) assumed += 1;
    return { nodes: this.#nodes.size, pods: this.#placements.size, assumed_pods: assumed };
  }

  isPlaced(uid: string): boolean {
    return this.#placements.has(uid) || this.#suspended.has(uid);
  }

  get namespacesVersion(): number {
    return this.#namespacesVersion;
  }

  /** The labels of a namespace may be others. */
  namespaceChanged(): void {
    this.#namespacesVersion += 1;
  }

  node(name: string): NodeInfo | undefined {
    return this.#nodes.get(name);
  }

  get byName(): ReadonlyMap<string, NodeInfo> {
    return this.#nodes;
  }
  get withAffinity(): ReadonlySet<NodeInfo> {
    return this.#withAffinity;
  }
  get withRequiredAntiAffinity(): ReadonlySet<NodeInfo> {
    return this.#withRequiredAntiAffinity;
  }
  get imageNodes(): ReadonlyMap<string, number> {
    return this.#imageNodes;
  }

  /** Nodes in the API, interleaved by zone, so that a sample covers all zones. */
  nodes(): readonly NodeInfo[] {
    this.#ordered ??= interleaveByZone([...this.#nodes.values()].filter((info) => info.node));
    return this.#ordered;
  }

  #put(pod: PodInfo, placement: Placement): void {
    const info = this.#info(placement.nodeName);
    const { generation } = info;
    info.addPod(pod);
    if (info.generation !== generation) this.#noteChange(info);
    this.#placements.set(pod.uid, placement);
  }

  #drop(info: NodeInfo): void {
    this.#nodes.delete(info.name);
    this.#freeSlots.push(info.slot);
  }

  #noteChange(info: NodeInfo): void {
    this.sums.changed(info);
    if (info.withAffinity.size > 0) this.#withAffinity.add(info);
    else this.#withAffinity.delete(info);
    if (info.withRequiredAntiAffinity.size > 0) this.#withRequiredAntiAffinity.add(info);
    else this.#withRequiredAntiAffinity.delete(info);
  }

  #countImages(info: NodeInfo, step: 1 | -1): void {
    for (const name of info.images.keys()) {
      const count = (this.#imageNodes.get(name) ?? 0) + step;
      if (count > 0) this.#imageNodes.set(name, count);
      else this.#imageNodes.delete(name);
    }
  }

  #info(name: string): NodeInfo {
    let info = this.#nodes.get(name);
    if (!info) {
      info = new NodeInfo(name, { slot: this.#freeSlots.pop() ?? this.#slots++ });
      this.#nodes.set(name, info);
    }
    return info;
  }
}

function zoneOf(node: Node | undefined): string {
  const labels = node?.metadata?.labels ?? {};
  return `${labels['topology.kubernetes.io/region'] ?? ''}/${labels['topology.kubernetes.io/zone'] ?? ''}`;
}

function interleaveByZone(infos: readonly NodeInfo[]): NodeInfo[] {
  const zones = [...Map.groupBy(infos, (info) => zoneOf(info.node)).values()];
  const longest = Math.max(0, ...zones.map((zone) => zone.length));
  return Array.from({ length: longest }, (_, index) => zones.flatMap((zone) => zone[index] ?? [])).flat();
}
