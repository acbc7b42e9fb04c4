/** What the simulation is worth: each fault that is planted in a store is found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLANTED_FAULTS } from './planted-faults.ts';
import { simulate } from './simulation.ts';

const MAX_SEEDS = 12;

for (const [name, { layer, faults }] of Object.entries(PLANTED_FAULTS))
  test(`found: ${name}`, async () => {
    for (let seed = 1; seed <= MAX_SEEDS; seed++) {
      const { breaches } = await simulate({ seed, plants: [layer], faults });
      if (breaches.length > 0) return;
    }
    assert.fail(`not found with ${MAX_SEEDS} seeds`);
  });
