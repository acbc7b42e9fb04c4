/** NodeAffinity: nodeSelector and node affinity, required as a filter, preferred as a score. */
import type { NodeAffinity, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm } from '#api/types.ts';
import type { NodeInfo } from '../node-info.ts';
import { normalizeByMax, refusal, type SchedulerPlugin } from '../plugin.ts';
import {
  matchesNodeSelectorTerm,
  matchesNodeSelectorTerms,
  matchesRequiredNodeAffinity,
} from '#component-helpers/node-affinity.ts';
import { helpsNodeAffinity } from '../queueing-hints.ts';

const MISMATCH = refusal('NodeAffinity', "node(s) didn't match Pod's node affinity/selector", {
  resolvable: false,
});

const NOT_ADDED = refusal('NodeAffinity', "node(s) didn't match scheduler-enforced node affinity", {
  resolvable: false,
});

/** added: the affinity of all pods of the profile, beside their own. */
export function nodeAffinity(added: NodeAffinity = {}): SchedulerPlugin {
  const required = added.requiredDuringSchedulingIgnoredDuringExecution;
  const preferredByAll = added.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  return {
    name: 'NodeAffinity',
    readsPods: false,
    weight: 2,
    queueingHints: ['node-added', 'node-updated'],
    isHelpedBy: helpsNodeAffinity,
    preFilter({ pod }) {
      const spec = pod.pod.spec;
      const own = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
      if (!own && !spec?.nodeSelector) return required ? undefined : 'skip';
      const names = own ? pinnedNames(own.nodeSelectorTerms) : undefined;
      if (names?.size === 0)
        return refusal('NodeAffinity', 'pod affinity terms conflict', { resolvable: false });
      return names ? { nodes: names } : undefined;
    },
    sign: ({ pod }) => [pod.pod.spec?.nodeSelector, pod.pod.spec?.affinity?.nodeAffinity],
    filter({ pod }, node) {
      if (required && !matchesNodeSelectorTerms(required.nodeSelectorTerms, node)) return NOT_ADDED;
      return matchesRequiredNodeAffinity(pod.pod.spec, node) ? undefined : MISMATCH;
    },
    preScore: ({ pod }) =>
      preferredBy(pod.pod.spec).length + preferredByAll.length > 0 ? undefined : 'skip',
    score: ({ pod }, node) => weightOn(node, preferredByAll) + weightOn(node, preferredBy(pod.pod.spec)),
    normalize: (_cycle, scores) => normalizeByMax(scores),
  };
}

function preferredBy(spec: PodSpec | undefined): readonly PreferredSchedulingTerm[] {
  return spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
}

function weightOn(node: NodeInfo, terms: readonly PreferredSchedulingTerm[]): number {
  let sum = 0;
  for (const { weight, preference } of terms) if (matchesNodeSelectorTerm(preference, node)) sum += weight;
  return sum;
}

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
