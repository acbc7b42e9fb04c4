import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodStatus, Volume } from '#api/types.ts';
import { startSliMs } from './start-sli.ts';

const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();
const nowMs = Date.parse(at(30));
const podWith = (...volumes: Volume[]): Pod =>
  ({ metadata: { creationTimestamp: at(0) }, spec: { containers: [], volumes } }) as Pod;
const status = (startedAt: string, finishedAt: string): PodStatus =>
  ({
    initContainerStatuses: [{ state: { terminated: { startedAt, finishedAt } } }, { state: {} }],
  }) as unknown as PodStatus;

test('pulls and init containers do not count', () => {
  assert.equal(startSliMs({ pod: podWith(), status: {}, nowMs, pullingMs: 0 }), 30_000);
  assert.equal(startSliMs({ pod: podWith(), status: status(at(5), at(9)), nowMs, pullingMs: 20_000 }), 6_000);
  assert.equal(startSliMs({ pod: podWith(), status: {}, nowMs, pullingMs: 40_000 }), 0);
});

test('stateless pods of the API only', () => {
  const stateless = podWith({ name: 'a', emptyDir: {} }, { name: 'b', configMap: { name: 'b' } });
  assert.equal(startSliMs({ pod: stateless, status: {}, nowMs, pullingMs: 0 }), 30_000);
  const stateful = podWith({ name: 'a', persistentVolumeClaim: { claimName: 'a' } });
  assert.equal(startSliMs({ pod: stateful, status: {}, nowMs, pullingMs: 0 }), undefined);
});
