/**
 * Which Nodes remediation begins with, goes on with and ends with. Pure.
 *
 *   healthy ──condition holds, budget allows──► in remediation: step 1, 2, … ──condition is gone──► healthy
 */
import type { Node } from '#api/types.ts';
import { findCondition } from '#component-helpers/conditions.ts';
import { REMEDIATION_STATE } from '#component-helpers/node-remediation.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import type { Stored } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';
import type { Policy, Remediation } from './policies.ts';

/** In the annotation of a Node. */
export interface RemediationState {
  readonly policy: string;
  /** Index of the step that is being done. */
  readonly step: number;
  /** When it began, epoch milliseconds. */
  readonly sinceMs: number;
  /** It was not cordoned before. */
  readonly cordoned?: boolean;
  /** Why the last step failed: an administrator has to look. */
  readonly failed?: string;
}

interface Involved {
  readonly node: Stored<Node>;
  readonly policy: Policy;
}

export interface Decision {
  readonly begin: readonly Involved[];
  readonly continue: readonly (Involved & { readonly state: RemediationState })[];
  /** Its condition is gone, or its policy is. */
  readonly end: readonly { readonly node: Stored<Node>; readonly state: RemediationState }[];
  /** Nodes that would be begun with, and why they are not. */
  readonly held: readonly (Involved & { readonly why: string; readonly isFalseAlarm: boolean })[];
}

export function decide(
  nodes: readonly Stored<Node>[],
  { remediation, nowMs }: { readonly remediation: Remediation; readonly nowMs: number },
): Decision {
  const { policies, budget } = remediation;
  const known = nodes.map((node) => ({ node, state: stateOf(node) }));
  const involved = known.flatMap(({ node, state }) => (state ? [{ node, state }] : []));
  const going = involved.flatMap(({ node, state }) => {
    const policy = policies.find(({ name }) => name === state.policy);
    return policy && holds(node, policy) ? [{ node, state, policy }] : [];
  });
  const end = involved.filter(({ node }) => !going.some((one) => one.node === node));
  const ill = known.flatMap(({ node, state }) => {
    if (state || node.metadata.deletionTimestamp || isLeftAlone(node, remediation)) return [];
    const policy = policies.find((one) => holds(node, one) && hasHeldFor(node, { policy: one, nowMs }));
    return policy ? [{ node, policy }] : [];
  });
  const begin: Involved[] = [];
  const held: Decision['held'][number][] = [];
  // What is not Ready is as good as taken out.
  const out = nodes.filter((node) => stateOf(node) !== undefined || !isReady(node)).length;
  const allowed = Math.min(budget.maxNodes, Math.floor((budget.maxPercent / 100) * nodes.length));
  for (const one of ill) {
    const alike = nodes.filter((node) => holds(node, one.policy)).length;
    const percent = (alike / nodes.length) * 100;
    const own = isReady(one.node) ? 0 : 1;
    if (alike > 1 && percent > budget.haltPercent)
      held.push({
        ...one,
        isFalseAlarm: true,
        why: `${alike} of ${nodes.length} Nodes have the condition at once, which is above haltPercent ${budget.haltPercent}: a false alarm?`,
      });
    else if (out - own + begin.length + 1 > allowed)
      held.push({
        ...one,
        isFalseAlarm: false,
        why: `${out - own + begin.length} Nodes are in remediation or not Ready, and the budget allows ${allowed} of ${nodes.length}`,
      });
    else begin.push(one);
  }
  return { begin, continue: going, end, held };
}

/** Undefined: nothing is being done about it, or somebody wrote something else there. */
function stateOf({ metadata }: Node): RemediationState | undefined {
  const text = metadata?.annotations?.[REMEDIATION_STATE];
  if (text === undefined) return undefined;
  try {
    const { policy, step, sinceMs, ...more } = JSON.parse(text) as Partial<RemediationState>;
    return typeof policy === 'string' && typeof step === 'number' && typeof sinceMs === 'number'
      ? { ...more, policy, step, sinceMs }
      : undefined;
  } catch {
    return undefined;
  }
}

function holds({ status }: Node, { condition, status: wanted }: Policy): boolean {
  return findCondition(status?.conditions, condition)?.status === wanted;
}

function hasHeldFor(
  { status }: Node,
  { policy, nowMs }: { readonly policy: Policy; readonly nowMs: number },
): boolean {
  const { lastTransitionTime } = findCondition(status?.conditions, policy.condition) ?? {};
  const since = timeMs(lastTransitionTime);
  return since !== undefined && nowMs - since >= policy.forMs;
}

function isReady({ status }: Node): boolean {
  return findCondition(status?.conditions, 'Ready')?.status === 'True';
}

function isLeftAlone({ metadata }: Node, { includeControlPlanes }: Remediation): boolean {
  return !includeControlPlanes && metadata?.labels?.[CONTROL_PLANE_ROLE] !== undefined;
}
