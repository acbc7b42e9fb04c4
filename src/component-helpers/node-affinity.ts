/**
 * Matches nodes against node selectors and required node affinity, for pods, volumes and resource claims. Pure. After upstream's
 * component-helpers/scheduling/corev1/nodeaffinity: terms are ORed, the requirements of one term are ANDed.
 */
import type { NodeSelectorRequirement, NodeSelectorTerm, PodSpec } from '#api/types.ts';
import { LabelSelector, LabelSelectorError, type LabelOperator, type Labels } from '#machinery/labels.ts';

interface NodeFacts {
  readonly name: string;
  readonly labels: Labels;
}

type Matcher = (node: NodeFacts) => boolean;

const OPERATORS: Readonly<Record<string, LabelOperator>> = {
  In: 'in',
  NotIn: 'notin',
  Exists: 'exists',
  DoesNotExist: '!',
  Gt: 'gt',
  Lt: 'lt',
};
const matchNothing: Matcher = () => false;

/** The pod's nodeSelector and its required node affinity. */
export function matchesRequiredNodeAffinity(spec: PodSpec | undefined, node: NodeFacts): boolean {
  for (const key in spec?.nodeSelector) if (node.labels[key] !== spec.nodeSelector[key]) return false;
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return !required || matchesNodeSelectorTerms(required.nodeSelectorTerms, node);
}

/** Whether one of the terms matches; without terms, no node matches. */
export function matchesNodeSelectorTerms(
  terms: readonly NodeSelectorTerm[] | undefined,
  node: NodeFacts,
): boolean {
  return (terms ?? []).some((term) => matchesNodeSelectorTerm(term, node));
}

/** Terms are immutable parts of API objects and matched against many nodes: each is compiled once. */
const compiled = new WeakMap<NodeSelectorTerm, Matcher>();

/** An empty term, and one with an invalid requirement, matches no node. */
export function matchesNodeSelectorTerm(term: NodeSelectorTerm, node: NodeFacts): boolean {
  let matcher = compiled.get(term);
  if (!matcher) {
    matcher = compileTerm(term);
    compiled.set(term, matcher);
  }
  return matcher(node);
}

function compileTerm({ matchExpressions = [], matchFields = [] }: NodeSelectorTerm): Matcher {
  if (matchExpressions.length + matchFields.length === 0) return matchNothing;
  const labels = compileExpressions(matchExpressions);
  const fields = matchFields.map(compileField);
  return (node) => labels(node) && fields.every((matches) => matches(node));
}

function compileExpressions(requirements: readonly NodeSelectorRequirement[]): Matcher {
  const known = requirements.flatMap(({ key, operator, values }) => {
    const own = Object.hasOwn(OPERATORS, operator) ? OPERATORS[operator] : undefined;
    return own ? [{ key, operator: own, values: values ?? [] }] : [];
  });
  if (known.length < requirements.length) return matchNothing;
  try {
    const selector = LabelSelector.of(known);
    return ({ labels }) => selector.matches(labels);
  } catch (error) {
    if (error instanceof LabelSelectorError) return matchNothing;
    throw error;
  }
}

/** The only field of nodes is metadata.name; any other is ''. */
function compileField({ key, operator, values = [] }: NodeSelectorRequirement): Matcher {
  if (values.length !== 1 || (operator !== 'In' && operator !== 'NotIn')) return matchNothing;
  const equal = operator === 'In';
  return ({ name }) => ((key === 'metadata.name' ? name : '') === values[0]) === equal;
}
