/** What a pod asks for in all, after upstream's component-helpers/resource: containers and sidecars together, init containers one by one, plus overhead. Pure. */
import type { Container, PodSpec, Quantity as QuantityText } from './types.ts';
import { parseQuantity, type Quantity } from '#machinery/quantity.ts';

export type Amounts = ReadonlyMap<string, Quantity>;
type Kind = 'requests' | 'limits';

export function amountsOf(list: Readonly<Record<string, QuantityText>> | undefined): Amounts {
  return new Map(Object.entries(list ?? {}).map(([name, text]) => [name, parseQuantity(text)]));
}

export function addAmounts(left: Amounts, right: Amounts): Amounts {
  const sum = new Map(left);
  for (const [name, amount] of right) sum.set(name, sum.get(name)?.add(amount) ?? amount);
  return sum;
}

export function maxAmounts(left: Amounts, right: Amounts): Amounts {
  const greatest = new Map(left);
  for (const [name, amount] of right) {
    const known = greatest.get(name);
    if (!known || known.compare(amount) < 0) greatest.set(name, amount);
  }
  return greatest;
}

/** Requests or limits of the whole pod. Pod-level resources, where set, replace the containers' sum for the resources they name. */
export function podAmounts(
  spec: PodSpec,
  kind: Kind,
  options: { readonly withoutOverhead?: boolean } = {},
): Amounts {
  const of = (container: Container): Amounts => amountsOf(container.resources?.[kind]);
  let total = (spec.containers ?? []).map(of).reduce(addAmounts, new Map());
  let sidecars: Amounts = new Map();
  let startup: Amounts = new Map();
  for (const container of spec.initContainers ?? []) {
    const isSidecar = (container as { restartPolicy?: string }).restartPolicy === 'Always';
    // An init container runs beside the sidecars started before it.
    startup = maxAmounts(startup, addAmounts(of(container), sidecars));
    if (isSidecar) sidecars = addAmounts(sidecars, of(container));
  }
  total = maxAmounts(addAmounts(total, sidecars), startup);
  const podLevel = amountsOf(spec.resources?.[kind]);
  if (podLevel.size > 0) total = new Map([...total, ...podLevel]);
  if (options.withoutOverhead || !spec.overhead) return total;
  const overhead = amountsOf(spec.overhead);
  // A resource without limit stays without: overhead alone is no limit.
  return kind === 'requests'
    ? addAmounts(total, overhead)
    : addAmounts(total, new Map([...overhead].filter(([name]) => total.has(name))));
}
