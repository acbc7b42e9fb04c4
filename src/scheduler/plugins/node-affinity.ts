/** NodeAffinity: nodeSelector and node affinity, required as a filter, preferred as a score. */
import type { NodeSelectorTerm, NodeSelectorRequirement } from '#api/types.ts';
import { normalizeByMax, refusal, type SchedulerPlugin } from '../plugin.ts';
import type { NodeInfo } from '../node-info.ts';
import type { PodInfo } from '../pod-info.ts';

const MISMATCH = refusal('NodeAffinity', "node(s) didn't match Pod's node affinity/selector", {
  resolvable: false,
});

export const nodeAffinity: SchedulerPlugin = {
  name: 'NodeAffinity',
  weight: 2,
  wakesOn: ['node-added', 'node-updated'],
  preFilter({ pod }) {
    const spec = pod.pod.spec;
    const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
    if (!required && !spec?.nodeSelector) return 'skip';
    const names = required ? pinnedNames(required.nodeSelectorTerms) : undefined;
    if (names?.size === 0)
      return refusal('NodeAffinity', 'pod affinity terms conflict', { resolvable: false });
    return names ? { nodes: names } : undefined;
  },
  filter: ({ pod }, node) => (matchesRequired(pod, node) ? undefined : MISMATCH),
  preScore: ({ pod }) =>
    (pod.pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).length > 0
      ? undefined
      : 'skip',
  score({ pod }, node) {
    const preferred =
      pod.pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    return preferred.reduce(
      (sum, { weight, preference }) => sum + (matchesTerm(preference, node) ? weight : 0),
      0,
    );
  },
  normalize: (_cycle, scores) => normalizeByMax(scores),
};

export function matchesRequired(pod: PodInfo, node: NodeInfo): boolean {
  const spec = pod.pod.spec;
  for (const key in spec?.nodeSelector) if (node.labels[key] !== spec.nodeSelector[key]) return false;
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return !required || required.nodeSelectorTerms.some((term) => matchesTerm(term, node));
}

/** The node names a pod is pinned to when every term names its nodes in matchFields (DaemonSet pods): no other node needs a look. */
function pinnedNames(terms: readonly NodeSelectorTerm[]): ReadonlySet<string> | undefined {
  const names = new Set<string>();
  for (const term of terms) {
    const pins = (term.matchFields ?? []).filter(
      (field) => field.key === 'metadata.name' && field.operator === 'In',
    );
    if (pins.length === 0) return undefined;
    for (const name of pins[0]?.values ?? [])
      if (pins.every((pin) => pin.values?.includes(name))) names.add(name);
  }
  return names;
}

/** An empty term matches nothing. */
export function matchesTerm(term: NodeSelectorTerm, node: Pick<NodeInfo, 'labels' | 'name'>): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length + fields.length === 0) return false;
  return (
    expressions.every((requirement) => holds(requirement, node.labels[requirement.key])) &&
    fields.every((requirement) => requirement.key === 'metadata.name' && holds(requirement, node.name))
  );
}

function holds({ operator, values = [] }: NodeSelectorRequirement, actual: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return actual !== undefined && values.includes(actual);
    case 'NotIn':
      return actual === undefined || !values.includes(actual);
    case 'Exists':
      return actual !== undefined;
    case 'DoesNotExist':
      return actual === undefined;
    case 'Gt':
      return isWhole(actual) && isWhole(values[0]) && Number(actual) > Number(values[0]);
    case 'Lt':
      return isWhole(actual) && isWhole(values[0]) && Number(actual) < Number(values[0]);
    default:
      return false;
  }
}

function isWhole(text: string | undefined): boolean {
  return text !== undefined && /^-?\d+$/.test(text);
}
