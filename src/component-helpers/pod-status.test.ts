import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import {
  isPodActive,
  isPodAvailable,
  isPodReady,
  isPodTerminal,
  isPodTerminating,
  nextAvailableInMs,
} from './pod-status.ts';

const readyMs = Date.parse('2026-01-01T00:00:00Z');
const pod = (phase: string, ready = 'True', metadata: Pod['metadata'] = {}): Pod => ({
  metadata,
  status: {
    phase,
    conditions: [{ type: 'Ready', status: ready, lastTransitionTime: '2026-01-01T00:00:00Z' }],
  },
});

test('terminal, active, terminating', () => {
  const deleted = { deletionTimestamp: '2026-01-01T00:00:00Z' };
  const facts = (one: Pod): boolean[] => [isPodTerminal(one), isPodActive(one), isPodTerminating(one)];
  assert.deepEqual(facts(pod('Running')), [false, true, false]);
  assert.deepEqual(facts(pod('Running', 'True', deleted)), [false, false, true]);
  assert.deepEqual(facts(pod('Failed', 'False', deleted)), [true, false, false]);
  assert.deepEqual(facts({}), [false, true, false]);
});

test('available after minReadySeconds', () => {
  const minReadySeconds = 10;
  const at = (nowMs: number): boolean => isPodAvailable(pod('Running'), { minReadySeconds, nowMs });
  assert.equal(isPodReady(pod('Running', 'False')), false);
  assert.equal(at(readyMs + 9_999), false);
  assert.equal(at(readyMs + 10_000), true);
  const pods = [pod('Running'), pod('Running', 'False')];
  assert.equal(nextAvailableInMs(pods, { minReadySeconds, nowMs: readyMs + 4_000 }), 6_000);
  assert.equal(nextAvailableInMs(pods, { minReadySeconds: 0, nowMs: readyMs }), undefined);
});
