/** NodeAffinity: nodeSelector and node affinity, required as a filter, preferred as a score. */
import type { NodeSelectorTerm } from '#api/types.ts';
import { normalizeByMax, refusal, type SchedulerPlugin } from '../plugin.ts';
import { matchesNodeSelectorTerm, matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';

const MISMATCH = refusal('NodeAffinity', "node(s) didn't match Pod's node affinity/selector", {
  resolvable: false,
});

export const nodeAffinity: SchedulerPlugin = {
  name: 'NodeAffinity',
  weight: 2,
  queueingHints: ['node-added', 'node-updated'],
  preFilter({ pod }) {
    const spec = pod.pod.spec;
    const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
    if (!required && !spec?.nodeSelector) return 'skip';
    const names = required ? pinnedNames(required.nodeSelectorTerms) : undefined;
    if (names?.size === 0)
      return refusal('NodeAffinity', 'pod affinity terms conflict', { resolvable: false });
    return names ? { nodes: names } : undefined;
  },
  filter: ({ pod }, node) => (matchesRequiredNodeAffinity(pod.pod.spec, node) ? undefined : MISMATCH),
  preScore: ({ pod }) =>
    (pod.pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).length > 0
      ? undefined
      : 'skip',
  score({ pod }, node) {
    const preferred =
      pod.pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    return preferred.reduce(
      (sum, { weight, preference }) => sum + (matchesNodeSelectorTerm(preference, node) ? weight : 0),
      0,
    );
  },
  normalize: (_cycle, scores) => normalizeByMax(scores),
};

/** The node names that a pod is restricted to when every term uses matchFields (DaemonSet pods); other nodes need not be evaluated. */
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
