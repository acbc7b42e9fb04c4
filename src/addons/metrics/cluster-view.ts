/** The nodes and pods of the cluster, as much of them as metrics need: names, labels, and of pods on simulated nodes what they would use. */
import type { Node, Pod } from '#api/types.ts';
import { nodes as nodesRef, pods as podsRef } from '#client/refs.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { Labels } from '#machinery/labels.ts';
import type { Stored } from '#machinery/object.ts';
import { simulatedPod, type SimulatedPod } from './simulated-usage.ts';

const SIMULATED = 'capstan.dev/simulated';

/** Follows the objects of a resource. Existing ones are passed to added() before watch() returns; objects are shared. */
export interface ObjectSource {
  watch(
    resource: { readonly group: string; readonly resource: string },
    handler: {
      added(object: Stored): void;
      updated(object: Stored): void;
      deleted(object: Stored): void;
    },
  ): () => void;
}

interface KnownNode {
  readonly name: string;
  readonly labels: Labels;
  readonly isSimulated: boolean;
}

interface KnownPod {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly nodeName: string;
  readonly simulated: SimulatedPod | undefined;
}

const NO_LABELS: Labels = {};

export class ClusterView {
  readonly nodes = new Map<string, KnownNode>();
  /** By name, by namespace. */
  readonly #pods = new Map<string, Map<string, KnownPod>>();
  /** Running pods by their simulated node. */
  readonly #simulated = new Map<string, Map<string, KnownPod>>();
  readonly #unwatch: readonly (() => void)[];

  constructor(source: ObjectSource) {
    const takeNode = (object: Stored): void => this.#takeNode(object as Stored<Node>);
    const takePod = (object: Stored): void => this.#takePod(object as Stored<Pod>);
    // Nodes first: whether a pod is simulated is known by its node.
    this.#unwatch = [
      source.watch(
        { group: nodesRef.group, resource: nodesRef.plural },
        {
          added: takeNode,
          updated: takeNode,
          deleted: ({ metadata }) => void this.nodes.delete(metadata.name),
        },
      ),
      source.watch(
        { group: podsRef.group, resource: podsRef.plural },
        { added: takePod, updated: takePod, deleted: ({ metadata }) => this.#dropPod(metadata) },
      ),
    ];
  }

  stop(): void {
    for (const unwatch of this.#unwatch) unwatch();
  }

  pod(namespace: string, name: string): KnownPod | undefined {
    return this.#pods.get(namespace)?.get(name);
  }

  /** namespace: '' = all. */
  *pods(namespace: string): Generator<KnownPod> {
    if (namespace !== '') return yield* this.#pods.get(namespace)?.values() ?? [];
    for (const pods of this.#pods.values()) yield* pods.values();
  }

  /** Those that run, by 'namespace/name'. */
  *simulatedPods(node: string): Generator<readonly [string, SimulatedPod]> {
    for (const { namespace, name, simulated } of this.#simulated.get(node)?.values() ?? [])
      if (simulated) yield [`${namespace}/${name}`, simulated];
  }

  #takeNode({ metadata }: Stored<Node>): void {
    const { name, labels = NO_LABELS, annotations } = metadata;
    this.nodes.set(name, { name, labels, isSimulated: annotations?.[SIMULATED] === 'true' });
  }

  #takePod(pod: Stored<Pod>): void {
    const { name, namespace = '', labels = NO_LABELS } = pod.metadata;
    const { nodeName = '' } = pod.spec ?? {};
    this.#dropPod(pod.metadata);
    const runs = this.nodes.get(nodeName)?.isSimulated === true && !isPodTerminal(pod);
    const simulated = runs ? simulatedPod(pod) : undefined;
    const known: KnownPod = { name, namespace, labels, nodeName, simulated };
    mapIn(this.#pods, namespace).set(name, known);
    if (simulated) mapIn(this.#simulated, nodeName).set(`${namespace}/${name}`, known);
  }

  #dropPod({ namespace = '', name }: Pick<Stored['metadata'], 'name' | 'namespace'>): void {
    const pods = this.#pods.get(namespace);
    const pod = pods?.get(name);
    if (!pods || !pod) return;
    pods.delete(name);
    if (pods.size === 0) this.#pods.delete(namespace);
    if (!pod.simulated) return;
    const simulated = this.#simulated.get(pod.nodeName);
    simulated?.delete(`${namespace}/${name}`);
    if (simulated?.size === 0) this.#simulated.delete(pod.nodeName);
  }
}

function mapIn<T>(maps: Map<string, Map<string, T>>, key: string): Map<string, T> {
  let map = maps.get(key);
  if (!map) maps.set(key, (map = new Map()));
  return map;
}
