/** The architecture part of conformance. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startWorld } from './world.ts';

it('Conformance tests minimum number of nodes.', async () => {
  const world = await startWorld({ nodes: 2 });
  try {
    const { items } = await world.reaches('/api/v1/nodes', (list) => list.items.length === 2);
    for (const { spec, status } of items) {
      assert.deepEqual(spec.taints ?? [], []);
      assert.notEqual(spec.unschedulable, true);
      assert.ok(
        status.conditions.some(
          ({ type, status: value }: { type: string; status: string }) => type === 'Ready' && value === 'True',
        ),
      );
    }
  } finally {
    await world.stop();
  }
});
