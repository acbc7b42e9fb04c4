/** Which devices a container gets. Pure; upstream's rules, messages and order: its own again, those of ended init containers, the plugin's preference, others. */

export interface ResourceState {
  /** Sorted. */
  readonly healthy: readonly string[];
  readonly unhealthy: readonly string[];
}

interface Wanted {
  readonly resource: string;
  readonly count: number;
  /** undefined: no plugin has registered it. */
  readonly state: ResourceState | undefined;
  /** What the container has already; undefined: nothing yet. */
  readonly own: readonly string[] | undefined;
  /** Of all containers. */
  readonly inUse: ReadonlySet<string>;
  /** Of the pod's init containers that have ended by then. */
  readonly reusable: ReadonlySet<string>;
  /** 'pod "uid" container "c"' */
  readonly who: string;
}

type Choice =
  /** The container keeps what it has. */
  | { readonly kind: 'kept' }
  /** Exactly these. */
  | { readonly kind: 'fixed'; readonly devices: readonly string[] }
  /** `must`, and `more` of the available ones. */
  | {
      readonly kind: 'any';
      readonly must: readonly string[];
      readonly more: number;
      readonly available: readonly string[];
    };

/** Throws an Error in upstream's words. */
export function chooseDevices({ resource, count, state, own, inUse, reusable, who }: Wanted): Choice {
  if (own && own.length !== count)
    throw new Error(`${who} changed request for resource "${resource}" from ${own.length} to ${count}`);
  if (!state) throw new Error(`cannot allocate unregistered device ${resource}`);
  const healthy = new Set(state.healthy);
  if (healthy.size === 0)
    throw new Error(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
  if (own?.some((id) => !healthy.has(id)))
    throw new Error(
      `previously allocated devices are no longer healthy; cannot allocate unhealthy devices ${resource}`,
    );
  if (own || count === 0) return { kind: 'kept' };
  const must = [...reusable].sort().slice(0, count);
  const more = count - must.length;
  if (more === 0) return { kind: 'fixed', devices: must };
  const available = state.healthy.filter((id) => !inUse.has(id) && !reusable.has(id));
  if (available.length < more)
    throw new Error(
      `requested number of devices unavailable for ${resource}. Requested: ${more}, Available: ${available.length}`,
    );
  if (available.length === more) return { kind: 'fixed', devices: [...must, ...available] };
  return { kind: 'any', must, more, available };
}

/** preferred: the plugin's; those that are not available do not count. */
export function completeChoice(
  { must, more, available }: Choice & { readonly kind: 'any' },
  preferred: readonly string[],
): string[] {
  const wanted = available.filter((id) => preferred.includes(id));
  const others = available.filter((id) => !preferred.includes(id));
  return [...must, ...[...wanted, ...others].slice(0, more)];
}
