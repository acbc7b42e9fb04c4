/** PodDisruptionBudgets as preemption reads them: by namespace, with selectors compiled once per version of a budget. */
import type { PodDisruptionBudget } from '#api/types.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import type { PodInfo } from './pod-info.ts';

interface Budget {
  readonly selector: LabelSelector;
  readonly disruptionsAllowed: number;
  readonly disruptedPods: Readonly<Record<string, unknown>>;
}

const known = new WeakMap<PodDisruptionBudget, Budget>();

function compiled(budget: PodDisruptionBudget): Budget {
  let entry = known.get(budget);
  if (!entry) {
    entry = {
      selector: compileLabelSelector(budget.spec?.selector as LabelSelectorObject | undefined),
      disruptionsAllowed: budget.status?.disruptionsAllowed ?? 0,
      disruptedPods: budget.status?.disruptedPods ?? {},
    };
    known.set(budget, entry);
  }
  return entry;
}

export class DisruptionBudgets {
  readonly #byNamespace = new Map<string, Budget[]>();

  constructor(budgets: readonly PodDisruptionBudget[]) {
    for (const budget of budgets) {
      const entry = compiled(budget);
      // As upstream, an empty selector matches no pods here.
      if (entry.selector.isEverything) continue;
      const namespace = budget.metadata?.namespace ?? '';
      const others = this.#byNamespace.get(namespace);
      if (others) others.push(entry);
      else this.#byNamespace.set(namespace, [entry]);
    }
  }

  /** Which of these pods, evicted in this order, would violate a budget. The order is kept. */
  split(pods: readonly PodInfo[]): {
    readonly violating: readonly PodInfo[];
    readonly rest: readonly PodInfo[];
  } {
    if (this.#byNamespace.size === 0) return { violating: [], rest: pods };
    const used = new Map<Budget, number>();
    const violating: PodInfo[] = [];
    const rest: PodInfo[] = [];
    for (const pod of pods) (this.#violates(pod, used) ? violating : rest).push(pod);
    return { violating, rest };
  }

  #violates(pod: PodInfo, used: Map<Budget, number>): boolean {
    let violates = false;
    for (const budget of this.#byNamespace.get(pod.namespace) ?? []) {
      if (!budget.selector.matches(pod.labels)) continue;
      // The API server counted it already.
      if (budget.disruptedPods[pod.pod.metadata?.name ?? ''] !== undefined) continue;
      const count = (used.get(budget) ?? 0) + 1;
      used.set(budget, count);
      if (count > budget.disruptionsAllowed) violates = true;
    }
    return violates;
  }
}
