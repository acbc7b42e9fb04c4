/**
 * Machines that are gone for good: their Nodes are left out of a restore, and the pods there that a controller makes again at once. Other pods of theirs (bare ones) are collected
 * later, as those of any Node that was deleted. A machine that joins under the same name is a new Node.
 */
import type { BackupRecord } from '#backup/format.ts';
import type { Pod } from '#api/types.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { UserError } from '#deploy/data-dir.ts';

type Entry = Pick<BackupRecord, 'key' | 'value'>;

/** Of a Node, and what its machine would keep up to date. */
const OF_NODE = /^\/registry\/(?:minions|csinodes|leases\/kube-node-lease)\/([^/]+)$/;
const NODES = '/registry/minions/';
const PODS = '/registry/pods/';

export class LostNodes {
  /** Of the backup, in order. */
  readonly known: string[] = [];
  readonly #names: ReadonlySet<string>;

  /** 'all', or names of Nodes. */
  constructor(names: readonly string[] = []) {
    this.#names = new Set(names);
  }

  /** Call it for each key of the backup, before anything changes; then requireKnown. */
  see(key: string): void {
    if (key.startsWith(NODES)) this.known.push(key.slice(NODES.length));
  }

  requireKnown(): void {
    const unknown = [...this.#names].find((name) => name !== 'all' && !this.known.includes(name));
    if (unknown !== undefined)
      throw new UserError(
        `--lost-nodes has ${unknown}, which is no Node of the backup; it has ${this.known.join(', ') || 'none'}.`,
      );
  }

  /** Whether the object is left out. */
  takes({ key, value }: Entry): boolean {
    if (this.#names.size === 0) return false;
    const node = key.startsWith(PODS) ? nodeOf(value) : OF_NODE.exec(key)?.[1];
    return node !== undefined && this.#isLost(node);
  }

  get lost(): readonly string[] {
    return this.known.filter((name) => this.#isLost(name));
  }

  #isLost(name: string): boolean {
    return this.#names.has('all') || this.#names.has(name);
  }
}

/** Of a pod that its controller replaces. One that has ended is counted by it. */
function nodeOf(value: Buffer): string | undefined {
  const pod = JSON.parse(value.toString()) as Pod;
  const isReplaced = pod.metadata?.ownerReferences?.some(({ controller }) => controller === true) === true;
  return isReplaced && !isPodTerminal(pod) ? pod.spec?.nodeName : undefined;
}
