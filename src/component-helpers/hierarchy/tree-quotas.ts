/** What quotas of trees limit in each namespace, and what each of them uses, of the usage of single namespaces. Pure. */
import { Quantity } from '#machinery/quantity.ts';
import { addAmounts, parseResourceList, type ResourceAmounts, type ResourceList } from '../pod-resources.ts';
import type { Forest } from './forest.ts';
import type { HierarchicalResourceQuota } from './names.ts';

/** The smallest of each. */
export function strictestLimits(lists: readonly (ResourceList | undefined)[]): ResourceAmounts {
  const strictest = new Map<string, Quantity>();
  for (const list of lists)
    for (const [name, amount] of parseResourceList(list)) {
      const before = strictest.get(name);
      if (!before || amount.compare(before) < 0) strictest.set(name, amount);
    }
  return strictest;
}

export interface NamespaceUsage {
  readonly used: ResourceAmounts;
  /** Resources that are limited there and have not been counted yet. */
  readonly uncounted: ReadonlySet<string>;
}

const NOTHING: NamespaceUsage = { used: new Map(), uncounted: new Set() };

/** Of each namespace with its descendants. */
export function subtreeUsage(
  forest: Forest,
  own: ReadonlyMap<string, NamespaceUsage>,
): ReadonlyMap<string, NamespaceUsage> {
  const sums = new Map<string, NamespaceUsage>();
  for (const name of forest.topDown().toReversed()) {
    const parts = [own.get(name), ...forest.childrenOf(name).map((child) => sums.get(child))].filter(
      (part) => part !== undefined,
    );
    sums.set(name, parts.length === 1 ? parts[0]! : parts.reduce(sum, NOTHING));
  }
  return sums;
}

function sum(left: NamespaceUsage, right: NamespaceUsage): NamespaceUsage {
  return {
    used: addAmounts(left.used, right.used),
    uncounted:
      left.uncounted.size + right.uncounted.size === 0
        ? left.uncounted
        : new Set([...left.uncounted, ...right.uncounted]),
  };
}

type QuotaStatus = NonNullable<HierarchicalResourceQuota['status']>;

/** A resource that is not counted everywhere yet keeps what was charged for it, or else has no usage and admits nothing. */
export function quotaStatus(
  { spec, status }: HierarchicalResourceQuota,
  { used, uncounted }: NamespaceUsage = NOTHING,
): QuotaStatus {
  const hard = textOf(parseResourceList(spec?.hard));
  const counted: Record<string, string> = {};
  for (const name of Object.keys(hard)) {
    const before = status?.used?.[name];
    if (!uncounted.has(name)) counted[name] = (used.get(name) ?? Quantity.zero).toString();
    else if (before !== undefined) counted[name] = String(before);
  }
  return { hard, used: counted, ...quotaSummaries(hard, counted) };
}

/** What `kubectl get` shows. */
export function quotaSummaries(
  hard: ResourceList,
  used: ResourceList,
): Pick<QuotaStatus, 'requestsSummary' | 'limitsSummary'> {
  const lines = (areLimits: boolean): string =>
    Object.keys(hard)
      .filter((name) => name.startsWith('limits.') === areLimits)
      .toSorted()
      .map((name) => `${name}: ${used[name] ?? '0'}/${hard[name]}`)
      .join(', ');
  return { requestsSummary: lines(false), limitsSummary: lines(true) };
}

export function textOf(amounts: ResourceAmounts): Record<string, string> {
  return Object.fromEntries([...amounts].map(([name, amount]) => [name, amount.toString()]));
}
