/**
 * Which pods were promised which node: preemption makes room there, and until the pod is bound nobody of lower priority may take it.
 * Follows status.nominatedNodeName, and knows our own promises before they are written.
 */
import type { PodInfo } from './pod-info.ts';

const NONE: readonly PodInfo[] = [];

export class Nominator {
  readonly #nodeOf = new Map<string, string>();
  readonly #onNode = new Map<string, readonly PodInfo[]>();

  nodeOf(uid: string): string | undefined {
    return this.#nodeOf.get(uid);
  }

  on(node: string): readonly PodInfo[] {
    return this.#onNode.get(node) ?? NONE;
  }

  set(pod: PodInfo, node: string): void {
    this.delete(pod.uid);
    this.#nodeOf.set(pod.uid, node);
    this.#onNode.set(node, [...this.on(node), pod]);
  }

  delete(uid: string): void {
    const node = this.#nodeOf.get(uid);
    if (node === undefined) return;
    this.#nodeOf.delete(uid);
    const rest = this.on(node).filter((pod) => pod.uid !== uid);
    if (rest.length > 0) this.#onNode.set(node, rest);
    else this.#onNode.delete(node);
  }

  /**
   * A waiting pod as the API shows it. An object without a nomination that never had one in the API does not take our own promise back:
   * it may be older than that.
   */
  seen(pod: PodInfo, before: PodInfo | undefined): void {
    const named = pod.pod.status?.nominatedNodeName;
    if (named) this.set(pod, named);
    else if (before?.pod.status?.nominatedNodeName) this.delete(pod.uid);
    else {
      const node = this.#nodeOf.get(pod.uid);
      if (node !== undefined) this.set(pod, node);
    }
  }
}
