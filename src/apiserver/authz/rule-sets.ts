/**
 * Computes which RBAC rules other rules do not cover, by comparing their lists as sets: a rule of 300 groups, resources and verbs is three sets of
 * 300, never 27 million single rules. Pure. Results as of upstream's k8s.io/component-helpers/auth/rbac/validation, which expands.
 *
 *   wanted rule = one block (verbs × groups × resources × names) ── minus each held rule ──► the blocks that are left
 */
import { pathMatches, type PolicyRule } from './rbac-rules.ts';

/** A product of sets: of resources, or (urls present) of paths. names: undefined = any name. */
interface Block {
  readonly verbs: ReadonlySet<string>;
  readonly groups: ReadonlySet<string>;
  readonly resources: ReadonlySet<string>;
  readonly names: ReadonlySet<string> | undefined;
  readonly urls: ReadonlySet<string> | undefined;
}

type Dimension = 'verbs' | 'groups' | 'resources' | 'names' | 'urls';

export interface UncoveredRules {
  /** Rules with one group, resource, verb and name each, at most `most`, in the requested order. */
  readonly rules: PolicyRule[];
  /** How many there are. */
  readonly count: number;
}

/** Maximum of values visited in one comparison; beyond it the comparison fails. */
const MAX_STEPS = 500_000;

/** Maximum of single rules returned. */
const MAX_RULES = 10_000;

export class RulesTooWide extends Error {
  constructor() {
    super(`comparing the rules takes more than ${MAX_STEPS} steps`);
  }
}

/** Empty = held includes everything wanted. Throws RulesTooWide. */
export function uncoveredRules(
  held: readonly PolicyRule[],
  wanted: readonly PolicyRule[],
  { most = MAX_RULES }: { readonly most?: number } = {},
): UncoveredRules {
  const owners = held.flatMap(blocksOf).toSorted((left, right) => breadth(right) - breadth(left));
  const budget = { left: MAX_STEPS };
  const rules: PolicyRule[] = [];
  let count = 0;
  for (const block of wanted.flatMap(blocksOf)) {
    const rest = minus(block, owners, budget);
    count += rest.reduce((sum, one) => sum + sizeOf(one), 0);
    rules.push(...inOrder(firstRules(rest, most - rules.length), block));
  }
  return { rules, count };
}

function firstRules(blocks: readonly Block[], most: number): PolicyRule[] {
  return blocks.flatMap((block) => [...singleRules(block).take(most)]).slice(0, most);
}

/** Verbs of one resource are listed in the requested order. */
function inOrder(rules: readonly PolicyRule[], { verbs }: Block): PolicyRule[] {
  const rank = new Map([...verbs].map((verb, index) => [verb, index]));
  const rankOf = ({ verbs: [verb = ''] = [] }: PolicyRule): number => rank.get(verb) ?? 0;
  return rules.toSorted((left, right) => rankOf(left) - rankOf(right));
}

/** Of resources and of paths: a ClusterRole's rule may name both. */
function blocksOf(rule: PolicyRule): Block[] {
  const verbs = new Set(rule.verbs),
    groups = new Set(rule.apiGroups),
    resources = new Set(rule.resources),
    urls = new Set(rule.nonResourceURLs);
  const names = rule.resourceNames?.length ? new Set(rule.resourceNames) : undefined;
  return [
    { verbs, groups, resources, names, urls: undefined },
    { verbs, groups: NONE, resources: NONE, names: undefined, urls },
  ].filter((block) => sizeOf(block) > 0);
}

const NONE: ReadonlySet<string> = new Set();

function sizeOf({ verbs, groups, resources, names, urls }: Block): number {
  return verbs.size * (urls ? urls.size : groups.size * resources.size * (names?.size ?? 1));
}

/** Rules that cover most come first, so that little is left for the others. */
function breadth({ verbs, groups, resources, names }: Block): number {
  return Number(verbs.has('*')) + Number(groups.has('*')) + Number(resources.has('*')) + Number(!names);
}

function minus(wanted: Block, owners: readonly Block[], budget: Budget): readonly Block[] {
  let left: readonly Block[] = [wanted];
  for (const owner of owners) {
    if (left.length === 0) break;
    if ((owner.urls === undefined) !== (wanted.urls === undefined)) continue;
    spend(budget, left.length);
    left = left.flatMap((block) => withoutOwned(block, owner, budget));
  }
  return left;
}

interface Budget {
  left: number;
}

function spend(budget: Budget, steps: number): void {
  budget.left -= steps;
  if (budget.left < 0) throw new RulesTooWide();
}

/** Subtracts the owner's rule from the block: one remaining block for each dimension that it does not cover. */
function withoutOwned(block: Block, owner: Block, budget: Budget): Block[] {
  const covered: { readonly of: Dimension; readonly values: ReadonlySet<string> }[] = [];
  for (const of of block.urls ? PATH_DIMENSIONS : RESOURCE_DIMENSIONS) {
    const values = coveredValues(of, { block, owner, budget });
    if (values === undefined) continue;
    if (values.size === 0) return [block];
    covered.push({ of, values });
  }
  const rest: Block[] = [];
  let inside = block;
  for (const { of, values } of covered) {
    spend(budget, inside[of]!.size);
    const outside = new Set([...inside[of]!].filter((value) => !values.has(value)));
    if (outside.size > 0) rest.push({ ...inside, [of]: outside });
    inside = { ...inside, [of]: values };
  }
  return rest;
}

const RESOURCE_DIMENSIONS = ['verbs', 'groups', 'resources', 'names'] as const;
const PATH_DIMENSIONS = ['verbs', 'urls'] as const;

/** undefined = all. */
function coveredValues(
  of: Dimension,
  { block, owner, budget }: { readonly block: Block; readonly owner: Block; readonly budget: Budget },
): ReadonlySet<string> | undefined {
  const wanted = block[of],
    own = owner[of];
  if (own === undefined) return undefined;
  if (wanted === undefined) return NONE;
  if (of !== 'names' && own.has('*')) return undefined;
  const patterns = of === 'resources' || of === 'urls' ? patternsOf(own) : [];
  if (patterns.length === 0) {
    spend(budget, Math.min(wanted.size, own.size));
    return own.size < wanted.size ? intersection(own, wanted) : intersection(wanted, own);
  }
  spend(budget, wanted.size * (of === 'urls' ? patterns.length : 1));
  return new Set(
    [...wanted].filter(
      (value) =>
        own.has(value) || (of === 'urls' ? pathMatches(patterns, value) : hasSubresourcePattern(own, value)),
    ),
  );
}

/** 'pods/log' by '*' + '/log'. */
function hasSubresourcePattern(own: ReadonlySet<string>, resource: string): boolean {
  const slash = resource.indexOf('/');
  return slash >= 0 && own.has(`*${resource.slice(slash)}`);
}

function intersection(smaller: ReadonlySet<string>, larger: ReadonlySet<string>): Set<string> {
  const both = new Set<string>();
  for (const value of smaller) if (larger.has(value)) both.add(value);
  return both;
}

/** '*' + '/scale' of resources, '/healthz/' + '*' of paths. Of each set once, however often it is compared. */
function patternsOf(values: ReadonlySet<string>): readonly string[] {
  let patterns = patternsOfSet.get(values);
  if (!patterns)
    patternsOfSet.set(values, (patterns = [...values].filter((value) => /^\*\/|\*$/.test(value))));
  return patterns;
}

const patternsOfSet = new WeakMap<ReadonlySet<string>, readonly string[]>();

function* singleRules({ verbs, groups, resources, names, urls }: Block): Generator<PolicyRule> {
  if (urls) {
    for (const url of urls) for (const verb of verbs) yield { nonResourceURLs: [url], verbs: [verb] };
    return;
  }
  for (const group of groups)
    for (const resource of resources)
      for (const verb of verbs) {
        const rule = { apiGroups: [group], resources: [resource], verbs: [verb] };
        if (names) for (const name of names) yield { ...rule, resourceNames: [name] };
        else yield rule;
      }
}
