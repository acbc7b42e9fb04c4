/** Parents, cycles, depth, and what follows from a tree that is wrong. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '#stdx/random.ts';
import { Forest, type TreeNamespace } from './forest.ts';

function forest(
  parents: Readonly<Record<string, string | undefined>>,
  more: Partial<TreeNamespace> = {},
): Forest {
  return new Forest(Object.entries(parents).map(([name, parent]) => ({ name, parent, labels: {}, ...more })));
}
const reasons = (trees: Forest, name: string): string[] =>
  trees.conditionsOf(name).map(({ reason }) => reason);

describe('Forest', () => {
  it('knows ancestors, children and depths', () => {
    const trees = forest({ acme: undefined, ops: 'acme', shop: 'acme', web: 'shop' });
    assert.deepEqual(trees.ancestorsOf('web'), ['acme', 'shop']);
    assert.deepEqual(trees.childrenOf('acme'), ['ops', 'shop']);
    assert.deepEqual(trees.topDown(), ['acme', 'ops', 'shop', 'web']);
    assert.deepEqual(trees.treeLabelsOf('web'), {
      'hnc.x-k8s.io/included-namespace': 'true',
      'web.tree.hnc.x-k8s.io/depth': '0',
      'shop.tree.hnc.x-k8s.io/depth': '1',
      'acme.tree.hnc.x-k8s.io/depth': '2',
    });
    assert.deepEqual(trees.conditionsOf('web'), []);
  });

  it('follows namespaces that move, come and go', () => {
    const trees = forest({ acme: undefined, shop: 'acme', web: 'shop', other: undefined });
    const moved = trees.withParent('shop', 'other');
    assert.deepEqual(moved.descendantsOf('other'), ['shop', 'web']);
    assert.deepEqual(trees.descendantsOf('acme'), ['shop', 'web']);
    trees.put({ name: 'web', parent: 'acme', labels: {} });
    assert.deepEqual(trees.childrenOf('acme'), ['shop', 'web']);
    assert.deepEqual(trees.childrenOf('shop'), []);
    trees.remove('acme');
    assert.deepEqual(reasons(trees, 'web'), ['ParentMissing']);
    trees.put({ name: 'acme', labels: {} });
    assert.deepEqual(trees.ancestorsOf('web'), ['acme']);
    assert.deepEqual(forest({ a: 'b', b: 'a' }).descendantsOf('a'), ['b']);
  });

  it('halts the members of a cycle, and what is below them', () => {
    const trees = forest({ c: 'b', a: 'c', b: 'a', below: 'b' });
    const [own] = trees.conditionsOf('b');
    assert.equal(own?.message, 'Namespace is a member of the cycle: a <- b <- c <- a');
    assert.deepEqual(reasons(trees, 'below'), ['AncestorHaltActivities']);
    assert.equal(trees.haltedRootOf('below'), 'b');
    assert.deepEqual(trees.topDown().toSorted(), ['a', 'b', 'below', 'c']);
    assert.deepEqual(Object.keys(trees.treeLabelsOf('a')), [
      'hnc.x-k8s.io/included-namespace',
      'a.tree.hnc.x-k8s.io/depth',
    ]);
    assert.deepEqual(reasons(forest({ self: 'self' }), 'self'), ['InCycle']);
  });

  it('halts a namespace whose parent is missing or excluded', () => {
    const trees = forest({ 'kube-system': undefined, a: 'gone', b: 'kube-system', c: 'a' });
    assert.deepEqual(trees.conditionsOf('a')[0]?.message, 'Parent "gone" does not exist');
    assert.deepEqual(trees.conditionsOf('b')[0]?.message, 'Parent "kube-system" is an unmanaged namespace');
    assert.deepEqual(reasons(trees, 'c'), ['AncestorHaltActivities']);
    assert.equal(trees.names.includes('kube-system'), false);
  });

  it('says what is wrong with a configuration, and goes on', () => {
    const trees = forest({ a: undefined, b: 'a' }, { isSubnamespace: true });
    assert.deepEqual(reasons(trees, 'b'), ['SubnamespaceAnchorMissing']);
    assert.equal(trees.haltedRootOf('b'), undefined);
    assert.deepEqual(reasons(forest({ a: undefined }, { illegalLabel: 'no' }), 'a'), ['IllegalManagedLabel']);
  });

  it("adds an external root's tree labels to those below", () => {
    const trees = new Forest([
      { name: 'ext', isExternal: true, labels: { 'org.tree.hnc.x-k8s.io/depth': '2', other: 'x' } },
      { name: 'a', parent: 'ext', labels: {} },
    ]);
    assert.equal(trees.treeLabelsOf('a')['org.tree.hnc.x-k8s.io/depth'], '3');
    assert.equal(trees.treeLabelsOf('ext')['org.tree.hnc.x-k8s.io/depth'], '2');
  });

  it('takes cascading deletion of any ancestor', () => {
    const trees = new Forest([
      { name: 'a', allowsCascadingDeletion: true, labels: {} },
      { name: 'b', parent: 'a', labels: {} },
      { name: 'c', labels: {} },
    ]);
    assert.equal(trees.allowsCascadingDeletion('b'), true);
    assert.equal(trees.allowsCascadingDeletion('c'), false);
  });

  it('ends for any parents, with each namespace visited once and never its own ancestor', () => {
    const random = seededRandom(7);
    for (let round = 0; round < 200; round++) {
      const names = Array.from({ length: 12 }, (_, index) => `n${index}`);
      const parents = Object.fromEntries(
        names.map((name) => [name, random() < 0.3 ? undefined : names[Math.floor(random() * 12)]]),
      );
      const trees = forest(parents);
      assert.deepEqual(trees.topDown().toSorted(), names.toSorted(), JSON.stringify(parents));
      for (const name of names) {
        assert.equal(trees.ancestorsOf(name).includes(name), false);
        const isCycle = reasons(trees, name).includes('InCycle');
        assert.equal(trees.cycleOf(name) !== undefined, isCycle);
      }
    }
  });
});
