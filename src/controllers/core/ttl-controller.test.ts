import assert from 'node:assert/strict';
import { after, before, describe, it, test } from 'node:test';
import { nodes } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { nextStep, ttlController } from './ttl-controller.ts';

const ANNOTATION = 'node.alpha.kubernetes.io/ttl';

describe('ttl-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([ttlController]);
  });
  after(() => world.stop());

  const ttlOf = async (name: string): Promise<string | undefined> =>
    (await world.api.get(nodes, { name })).metadata.annotations?.[ANNOTATION];

  it('annotates a node, and puts the annotation back', async () => {
    await world.api.create(nodes, { metadata: { name: 'n1', annotations: { other: 'kept' } } });
    await world.until('annotated', async () => (await ttlOf('n1')) === '0');
    await world.api.patch(
      nodes,
      { name: 'n1' },
      {
        type: 'merge',
        patch: { metadata: { annotations: { [ANNOTATION]: '7' } } },
      },
    );
    await world.until('put back', async () => (await ttlOf('n1')) === '0');
    assert.equal((await world.api.get(nodes, { name: 'n1' })).metadata.annotations?.['other'], 'kept');
  });

  it('gives nodes of a larger cluster more time', async () => {
    for (let index = 2; index <= 101; index++)
      await world.api.create(nodes, { metadata: { name: `n${index}` } });
    await world.until('the hundred-and-first has 15 s', async () => (await ttlOf('n101')) === '15');
    await world.api.patch(
      nodes,
      { name: 'n1' },
      { type: 'merge', patch: { metadata: { labels: { a: 'b' } } } },
    );
    await world.until('others follow with their next change', async () => (await ttlOf('n1')) === '15');
  });
});

test('steps overlap: a size that varies around a limit changes nothing', () => {
  const walk = (...counts: readonly number[]): number[] => {
    let step = 0;
    return counts.map((count) => (step = nextStep(step, count)));
  };
  assert.deepEqual(walk(100, 101, 90, 101, 89, 100), [0, 1, 1, 1, 0, 0]);
  assert.deepEqual(walk(5_000, 1_800, 1_799, 0), [4, 4, 3, 0]);
});
