/** Needs upstream's binary: UPSTREAM_KUBE_SCHEDULER=/path/to/kube-scheduler (1.36); skipped without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareSchedulers } from './schedulers.ts';

const binary = process.env['UPSTREAM_KUBE_SCHEDULER'];

test(
  "upstream's scheduler and ours accept the same nodes, and refuse for the same reasons",
  { skip: binary === undefined && 'UPSTREAM_KUBE_SCHEDULER is not set' },
  async () => {
    const { accepted, differences } = await compareSchedulers({
      binary: binary!,
      seed: 1,
      nodes: 4,
      pods: 6,
    });
    assert.deepEqual(differences, []);
    assert.ok(accepted > 0);
  },
);
