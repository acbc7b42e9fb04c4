/** One reading of the provider: its groups with their targets, instances and options, and the group of each Node. */
import type { Node } from '#api/types.ts';
import type { ObservedGroup, Observation } from './cluster-state.ts';
import { providerNode, ProviderError, type NodeProvider } from './provider.ts';
import type { AutoscalerSettings } from './settings.ts';

interface Observing {
  readonly nodes: readonly Node[];
  readonly settings: AutoscalerSettings;
  readonly nowMs: number;
}

/** Calls at the same time. */
const PARALLEL = 16;
const MAX_GROUPS = 500;
const MAX_INSTANCES = 10_000;

/** Rejects where one answer is missing: what is half known is not acted upon. */
export async function observe(
  provider: NodeProvider,
  { nodes, settings, nowMs }: Observing,
): Promise<Observation> {
  await provider.refresh();
  const listed = await provider.groups();
  if (listed.length > MAX_GROUPS)
    throw new ProviderError(
      'bad-answer',
      `${provider.name} has ${listed.length} groups; at most ${MAX_GROUPS} are handled`,
    );
  const groups = await inParallel(listed, async (group): Promise<ObservedGroup> => {
    const { id } = group;
    const [target, instances, options] = await Promise.all([
      provider.targetSize(id),
      provider.instances(id),
      provider.options?.(id, settings.groupDefaults),
    ]);
    if (!Number.isSafeInteger(target) || target < 0)
      throw new ProviderError(
        'bad-answer',
        `${provider.name}: the target of group ${id} is ${target}; it should be a whole number`,
      );
    if (instances.length > MAX_INSTANCES)
      throw new ProviderError(
        'bad-answer',
        `${provider.name}: group ${id} has ${instances.length} instances; at most ${MAX_INSTANCES} are handled`,
      );
    return { ...group, target, instances, options: options ?? settings.groupDefaults };
  });
  const groupOf = new Map<string, string>();
  await inParallel(nodes, async (node) => {
    const described = providerNode(node);
    const group = await provider.groupOf(described);
    if (group !== undefined) groupOf.set(described.name, group);
  });
  return { groups, nodes, groupOf, nowMs };
}

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker));
  return results;
}
