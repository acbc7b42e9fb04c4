/** Sets of rules compared as sets, against the same comparison with every rule expanded; and rules that nobody could expand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PolicyRule } from './rbac-rules.ts';
import { RulesTooWide, uncoveredRules } from './rule-sets.ts';

const some = (...values: string[]): fc.Arbitrary<string[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { maxLength: 3 });
const rule: fc.Arbitrary<PolicyRule> = fc.record(
  {
    verbs: some('get', 'list', 'delete', '*'),
    apiGroups: some('', 'apps', '*'),
    resources: some('pods', 'pods/log', 'jobs/log', '*/log', '*'),
    resourceNames: some('a', 'b'),
    nonResourceURLs: some('/x', '/x/y', '/x/*', '*'),
  },
  { requiredKeys: ['verbs'] },
);

/** Upstream's BreakdownRule and ruleCovers, rule by rule. */
function expanded(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): string[] {
  const parts = wanted.flatMap(
    ({ verbs = [], apiGroups = [], resources = [], resourceNames, nonResourceURLs = [] }) => [
      ...apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.flatMap((verb) =>
            (resourceNames?.length ? resourceNames : [undefined]).map((name) => ({
              group,
              resource,
              verb,
              name,
              url: undefined,
            })),
          ),
        ),
      ),
      ...nonResourceURLs.flatMap((url) =>
        verbs.map((verb) => ({ group: '', resource: '', verb, name: undefined, url })),
      ),
    ],
  );
  const has = (list: readonly string[] | undefined, value: string): boolean =>
    !!list && (list.includes(value) || list.includes('*'));
  return parts
    .filter(
      ({ group, resource, verb, name, url }) =>
        !held.some((own) => {
          if (!has(own.verbs, verb)) return false;
          if (url !== undefined)
            return !!own.nonResourceURLs?.some(
              (o) => o === url || (o.endsWith('*') && url.startsWith(o.slice(0, -1))),
            );
          const slash = resource.indexOf('/');
          return (
            has(own.apiGroups, group) &&
            (has(own.resources, resource) ||
              (slash >= 0 && !!own.resources?.includes(`*${resource.slice(slash)}`))) &&
            (!own.resourceNames?.length || (name !== undefined && own.resourceNames.includes(name)))
          );
        }),
    )
    .map(({ group, resource, verb, name, url }) =>
      JSON.stringify([group, resource, verb, name ?? '', url ?? '']),
    )
    .toSorted();
}

test('what is not covered is what upstream finds by expanding every rule', () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 4 }), fc.array(rule, { maxLength: 3 }), (held, wanted) => {
      const { rules, count } = uncoveredRules(held, wanted);
      assert.equal(count, rules.length);
      assert.deepEqual(
        rules
          .map(({ apiGroups, resources, verbs, resourceNames, nonResourceURLs }) =>
            JSON.stringify([
              apiGroups?.[0] ?? '',
              resources?.[0] ?? '',
              verbs?.[0] ?? '',
              resourceNames?.[0] ?? '',
              nonResourceURLs?.[0] ?? '',
            ]),
          )
          .toSorted(),
        expanded(held, wanted),
      );
    }),
    { numRuns: 1000 },
  );
});

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

test('a rule of 300 groups, resources, verbs and names is counted, not expanded', () => {
  const wide = {
    verbs: names('v', 300),
    apiGroups: names('g', 300),
    resources: names('r', 300),
    resourceNames: names('n', 300),
  };
  const hole = { verbs: ['v7'], apiGroups: ['g7'], resources: ['r7'] };
  const { rules, count } = uncoveredRules([hole], [wide], { most: 10 });
  assert.equal(count, 300 ** 4 - 300);
  assert.equal(rules.length, 10);
  assert.equal(uncoveredRules([{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }], [wide]).count, 0);
});

test('rules that cut each other into ever more blocks are given up', () => {
  const held = Array.from({ length: 2000 }, (_, i) => ({
    verbs: [`v${i % 300}`],
    apiGroups: [`g${(i * 7) % 300}`],
    resources: [`r${(i * 13) % 300}`],
  }));
  const wide = { verbs: names('v', 300), apiGroups: names('g', 300), resources: names('r', 300) };
  assert.throws(() => uncoveredRules(held, [wide]), RulesTooWide);
});
