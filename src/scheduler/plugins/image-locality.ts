/** ImageLocality: prefers nodes that have the pod's images, weighed by size and by how many nodes have them. */
import { MAX_NODE_SCORE, type SchedulerPlugin } from '../plugin.ts';

const MIB = 1024 * 1024;
const LOW_BYTES = 23 * MIB;
const HIGH_BYTES_PER_CONTAINER = 1000 * MIB;

export const imageLocality: SchedulerPlugin = {
  name: 'ImageLocality',
  weight: 1,
  preScore(cycle) {
    const names = imagesOf(cycle.pod.pod);
    const spread = new Map(names.map((name) => [name, cycle.snapshot.imageNodes.get(name) ?? 0]));
    if ([...spread.values()].every((count) => count === 0)) return 'skip';
    cycle.state.set('ImageLocality', { spread, total: cycle.snapshot.nodes.length });
    return undefined;
  },
  score(cycle, node) {
    const { spread, total } = cycle.state.get('ImageLocality') as { readonly spread: ReadonlyMap<string, number>; readonly total: number };
    const names = imagesOf(cycle.pod.pod);
    const bytes = names.reduce((sum, name) => sum + (node.images.get(name) ?? 0) * ((spread.get(name) ?? 0) / Math.max(1, total)), 0);
    const high = HIGH_BYTES_PER_CONTAINER * names.length;
    return Math.trunc((MAX_NODE_SCORE * (Math.min(Math.max(bytes, LOW_BYTES), high) - LOW_BYTES)) / (high - LOW_BYTES));
  },
};

function imagesOf(pod: { readonly spec?: { readonly containers?: readonly { readonly image?: string }[]; readonly initContainers?: readonly { readonly image?: string }[] } }): string[] {
  return [...pod.spec?.initContainers ?? [], ...pod.spec?.containers ?? []].map((container) => withTag(container.image ?? ''));
}

function withTag(image: string): string {
  return image.lastIndexOf(':') <= image.lastIndexOf('/') && !image.includes('@') ? `${image}:latest` : image;
}
