/**
 * Nominated nodes of pending pods: until the pod is bound, no pod of lower priority may use the room that preemption made for it.
 * Follows status.nominatedNodeName, and includes our own nominations before they are written.
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
    // Asked for each node of each cycle.
    return this.#onNode.size === 0 ? NONE : (this.#onNode.get(node) ?? NONE);
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
   * Updates a pending pod from the API. An object without a nomination that never had one in the API does not clear our own nomination:
   * it may be older.
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
