/** Network policies against real connections, short; long: `./capstan test --suite network-policy --minutes N`. CAPSTAN_SEED repeats a run. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { canHaveNamespaces } from './lan.ts';
import { compareConnections } from './network-policy/compare-connections.ts';

const DURATION_MS = 15_000;

describe(
  'network policies on a real network',
  { skip: !canHaveNamespaces() && 'needs root and ip netns' },
  () => {
    it(
      'let through what the model of the API lets through, and nothing else',
      { timeout: 120_000 },
      async () => {
        const seed = Number(process.env['CAPSTAN_SEED'] ?? Date.now() % 1_000_000);
        console.log(`seed ${seed}`);
        const compared = await compareConnections({
          seed,
          durationMs: DURATION_MS,
          nodes: 3,
          podsPerNode: 2,
        });
        console.log(
          `${compared.rounds} rounds: ${compared.allowed} connections allowed, ${compared.denied} denied`,
        );
        assert.ok(compared.allowed > 0 && compared.denied > 0);
      },
    );
  },
);
