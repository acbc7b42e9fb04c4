/**
 * Network policies against real connections for CAPSTAN_SUITE_MINUTES (10), a new random cluster each minute. CAPSTAN_SEED: the first one's seed; a failure names
 * its own. `./capstan test --suite network-policy --minutes N`.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { canHaveNamespaces } from '../../lan.ts';
import { compareConnections } from '../../network-policy/compare-connections.ts';

const MINUTES = Number(process.env['CAPSTAN_SUITE_MINUTES'] ?? 10);
const FIRST_SEED = Number(process.env['CAPSTAN_SEED'] ?? Date.now() % 1_000_000);

describe(
  'network policies on real networks',
  { skip: !canHaveNamespaces() && 'needs root and ip netns' },
  () => {
    for (let minute = 0; minute < MINUTES; minute++) {
      const seed = FIRST_SEED + minute;
      it(`seed ${seed}`, { timeout: 300_000 }, async () => {
        const size = { nodes: 2 + (minute % 3), podsPerNode: 2 + (minute % 2) };
        const compared = await compareConnections({ seed, durationMs: 60_000, ...size });
        console.log(
          `seed ${seed}: ${compared.rounds} rounds, ${compared.allowed} connections allowed, ${compared.denied} denied`,
        );
        assert.ok(compared.allowed > 0 && compared.denied > 0);
      });
    }
  },
);
