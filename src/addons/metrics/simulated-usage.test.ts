import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { simulatedPod, SimulatedUsage, type SimulatedPod } from './simulated-usage.ts';

const START = Date.parse('2026-01-01T00:00:00Z');

function pod(
  uid: string,
  {
    annotations = {},
    requests = {},
  }: { annotations?: Record<string, string>; requests?: Record<string, string> } = {},
): Pod {
  return {
    metadata: { name: uid, namespace: 'shop', uid, annotations },
    spec: { containers: [{ name: 'a', resources: { requests } }, { name: 'b' }] },
    status: {
      phase: 'Running',
      containerStatuses: ['a', 'b'].map((name) => ({
        name,
        ready: true,
        restartCount: 0,
        image: '',
        imageID: '',
        state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
      })),
    },
  };
}

function cpuOf(usage: SimulatedUsage, simulated: SimulatedPod, seconds: number): number[] {
  const round = usage.startRound();
  const { pods } = round.measure('n1', { nowMs: START + seconds * 1000, pods: [['shop/p', simulated]] });
  round.end();
  return Array.from(pods.get('shop/p')!.values(), ({ cpuSeconds }) => cpuSeconds);
}

test('a pod uses what its annotation says, shared among its containers, also after that was changed', () => {
  const usage = new SimulatedUsage();
  const busy = simulatedPod(pod('p', { annotations: { 'capstan.dev/simulate-cpu': '500m' } }))!;
  assert.deepEqual(cpuOf(usage, busy, 10), [2.5, 2.5]);
  assert.deepEqual(cpuOf(usage, busy, 20), [5, 5]);
  const idle = simulatedPod(pod('p', { annotations: { 'capstan.dev/simulate-cpu': '20m' } }))!;
  assert.deepEqual(
    cpuOf(usage, idle, 30).map((seconds) => seconds.toFixed(3)),
    ['5.100', '5.100'],
  );
});

test('without one it uses a part of what it requests, always the same for a pod', () => {
  const simulated = simulatedPod(pod('one', { requests: { cpu: '1', memory: '100Mi' } }))!;
  const [a, b] = simulated.containers;
  assert.ok(a!.cores >= 0.2 && a!.cores <= 0.6, String(a!.cores));
  assert.ok(a!.memoryBytes >= 0.2 * 100 * 2 ** 20 && a!.memoryBytes <= 0.61 * 100 * 2 ** 20);
  assert.ok(b!.cores > 0 && b!.cores < 0.01 && b!.memoryBytes > 0);
  assert.deepEqual(simulatedPod(pod('one', { requests: { cpu: '1', memory: '100Mi' } })), simulated);
  assert.notEqual(simulatedPod(pod('other', { requests: { cpu: '1' } }))!.containers[0]!.cores, a!.cores);
});

test('counters never go back, and are forgotten with their pods', () => {
  const usage = new SimulatedUsage();
  const simulated = simulatedPod(pod('p', { requests: { cpu: '1' } }))!;
  let before = 0;
  for (let seconds = 15; seconds < 1_200; seconds += 15) {
    const [now] = cpuOf(usage, simulated, seconds);
    assert.ok(now! > before);
    before = now!;
  }
  const round = usage.startRound();
  round.measure('n1', { nowMs: START + 1_300_000, pods: [] });
  round.end();
  assert.ok(cpuOf(usage, simulated, 1_300)[0]! !== before);
});

test('a pod of which nothing runs uses nothing', () => {
  assert.equal(simulatedPod({ ...pod('p'), status: { phase: 'Pending' } }), undefined);
});
