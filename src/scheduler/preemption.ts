/**
 * DefaultPreemption: when no node takes a pod, find the node where removing the fewest and least important pods of lower priority
 * makes room, respecting PodDisruptionBudgets as far as possible. Pure: says whom to remove, removes nobody. After upstream's postFilter.
 */
import type { PodDisruptionBudget } from '#api/types.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { cloneCycle, type Cycle, type Refusal } from './plugin.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';
import { passesFilters } from './schedule.ts';

export interface PreemptionInput {
  readonly cycle: Cycle;
  readonly refusals: ReadonlyMap<string, Refusal>;
  readonly budgets: readonly PodDisruptionBudget[];
}

export interface Preemption { readonly node: string; readonly victims: readonly PodInfo[] }

interface Candidate extends Preemption { readonly violations: number }

/** Upstream looks at 10 % of the nodes, at least 100. */
const MIN_CANDIDATES = 100;
const CANDIDATE_SHARE = 0.1;

export function findPreemption(input: PreemptionInput): Preemption | { readonly message: string } {
  const { pod, snapshot } = input.cycle;
  if (pod.pod.spec?.preemptionPolicy === 'Never') return { message: 'not eligible due to preemptionPolicy=Never.' };
  const possible = snapshot.nodes.filter((node) => input.refusals.get(node.name)?.resolvable === true);
  if (possible.length === 0) return { message: `0/${snapshot.nodes.length} nodes are available: ${snapshot.nodes.length} Preemption is not helpful for scheduling.` };
  const wanted = Math.max(MIN_CANDIDATES, Math.trunc(snapshot.nodes.length * CANDIDATE_SHARE));
  const candidates: Candidate[] = [];
  for (const node of possible) {
    const candidate = victimsOn(node, input);
    if (candidate) candidates.push(candidate);
    if (candidates.length >= wanted) break;
  }
  const best = candidates.sort(compareCandidates)[0];
  if (best) return { node: best.node, victims: best.victims };
  const unhelpful = snapshot.nodes.length - possible.length;
  const parts = [`${possible.length} No preemption victims found for incoming pod`, ...(unhelpful > 0 ? [`${unhelpful} Preemption is not helpful for scheduling`] : [])];
  return { message: `0/${snapshot.nodes.length} nodes are available: ${parts.join(', ')}.` };
}

/** Take all lower-priority pods away; if the pod then fits, put back as many as possible, the most important first. */
function victimsOn(original: NodeInfo, { cycle, budgets }: PreemptionInput): Candidate | undefined {
  const lower = [...original.pods.values()].filter((other) => other.priority < cycle.pod.priority);
  if (lower.length === 0) return undefined;
  const node = original.clone();
  const trial = cloneCycle(cycle);
  for (const pod of lower) remove(trial, { node, pod });
  if (!passesFilters(trial, node)) return undefined;
  const { violating, rest } = splitByBudgets(lower.sort(moreImportantFirst), budgets);
  const victims: PodInfo[] = [];
  let violations = 0;
  for (const pod of violating) if (!reprieve(trial, { node, pod })) {
    victims.push(pod);
    violations += 1;
  }
  for (const pod of rest) if (!reprieve(trial, { node, pod })) victims.push(pod);
  return victims.length === 0 ? undefined : { node: original.name, victims: victims.sort(moreImportantFirst), violations };
}

interface Change { readonly node: NodeInfo; readonly pod: PodInfo }

function remove(cycle: Cycle, { node, pod }: Change): void {
  node.removePod(pod.uid);
  for (const plugin of cycle.filters) plugin.podRemoved?.(cycle, { pod, node });
}

/** Puts a pod back; false (and takes it away again) when the incoming pod no longer fits. */
function reprieve(cycle: Cycle, change: Change): boolean {
  const { node, pod } = change;
  node.addPod(pod);
  for (const plugin of cycle.filters) plugin.podAdded?.(cycle, { pod, node });
  if (passesFilters(cycle, node)) return true;
  remove(cycle, change);
  return false;
}

function startOf(pod: PodInfo): number {
  return Date.parse(pod.pod.status?.startTime ?? pod.pod.metadata?.creationTimestamp ?? '') || 0;
}

/** Higher priority, then longer running. */
function moreImportantFirst(a: PodInfo, b: PodInfo): number {
  return b.priority - a.priority || startOf(a) - startOf(b);
}

function splitByBudgets(pods: readonly PodInfo[], budgets: readonly PodDisruptionBudget[]): { violating: PodInfo[]; rest: PodInfo[] } {
  const allowed = budgets.map((budget) => budget.status?.disruptionsAllowed ?? 0);
  const selectors = budgets.map((budget) => compileLabelSelector(budget.spec?.selector as LabelSelectorObject | undefined));
  const violating: PodInfo[] = [];
  const rest: PodInfo[] = [];
  for (const pod of pods) {
    let violates = false;
    for (const [index, budget] of budgets.entries()) {
      if (budget.metadata?.namespace !== pod.namespace || !selectors[index]?.matches(pod.labels)) continue;
      if (budget.status?.disruptedPods?.[pod.pod.metadata?.name ?? '']) continue;
      allowed[index] = (allowed[index] ?? 0) - 1;
      if ((allowed[index] ?? 0) < 0) violates = true;
    }
    (violates ? violating : rest).push(pod);
  }
  return { violating, rest };
}

/** Fewest broken budgets, lowest highest priority, lowest sum of priorities, fewest victims, latest start of the most important ones. */
function compareCandidates(a: Candidate, b: Candidate): number {
  const highest = (candidate: Candidate): number => candidate.victims[0]?.priority ?? 0;
  const sum = (candidate: Candidate): number => candidate.victims.reduce((total, pod) => total + pod.priority + 2 ** 31, 0);
  const earliest = (candidate: Candidate): number => Math.min(...candidate.victims.filter((pod) => pod.priority === highest(candidate)).map(startOf));
  return a.violations - b.violations || highest(a) - highest(b) || sum(a) - sum(b) || a.victims.length - b.victims.length || earliest(b) - earliest(a);
}
