/** ImageLocality: prefers nodes that have the pod's images, weighed by size and by how many nodes have them. */
import { MAX_NODE_SCORE, type SchedulerPlugin } from '../plugin.ts';

const MIB = 1024 * 1024;
const LOW_BYTES = 23 * MIB;
const HIGH_BYTES_PER_CONTAINER = 1000 * MIB;

const STATE = 'ImageLocality/score';

interface ImageState {
  readonly names: readonly string[];
  /** The fraction of nodes that have the image. */
  readonly shares: ReadonlyMap<string, number>;
}

export const imageLocality: SchedulerPlugin = {
  name: 'ImageLocality',
  weight: 1,
  preScore(cycle) {
    const { imageNodes, nodes } = cycle.snapshot;
    const names = imageNodes.size === 0 ? [] : imagesOf(cycle.pod.pod);
    if (!names.some((name) => imageNodes.has(name))) return 'skip';
    const shares = new Map(
      names.map((name) => [name, (imageNodes.get(name) ?? 0) / Math.max(1, nodes.length)]),
    );
    cycle.state.set(STATE, { names, shares } satisfies ImageState);
    return undefined;
  },
  sign({ state }) {
    const { names, shares } = state.get(STATE) as ImageState;
    return names.map((name) => [name, shares.get(name)]);
  },
  score(cycle, node) {
    const { names, shares } = cycle.state.get(STATE) as ImageState;
    const bytes = names.reduce(
      (sum, name) => sum + Math.trunc((node.images.get(name) ?? 0) * (shares.get(name) ?? 0)),
      0,
    );
    const high = HIGH_BYTES_PER_CONTAINER * names.length;
    return Math.trunc(
      (MAX_NODE_SCORE * (Math.min(Math.max(bytes, LOW_BYTES), high) - LOW_BYTES)) / (high - LOW_BYTES),
    );
  },
};

function imagesOf(pod: {
  readonly spec?: {
    readonly containers?: readonly { readonly image?: string }[];
    readonly initContainers?: readonly { readonly image?: string }[];
  };
}): string[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].map((container) =>
    withTag(container.image ?? ''),
  );
}

function withTag(image: string): string {
  return image.lastIndexOf(':') <= image.lastIndexOf('/') && !image.includes('@') ? `${image}:latest` : image;
}
