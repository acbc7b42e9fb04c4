import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, Service } from '#api/types.ts';
import { seenTimes, triggerMs } from './trigger-time.ts';

const SERVICE: Service = {
  metadata: { name: 's', namespace: 'n', creationTimestamp: '2026-01-01T00:00:00Z' },
};
const pod = (name: string, lastTransitionTime?: string): Pod => ({
  metadata: { name, namespace: 'n' },
  status: {
    conditions: [
      { type: 'Ready', status: 'True', ...(lastTransitionTime === undefined ? {} : { lastTransitionTime }) },
    ],
  },
});
const at = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toJSON();

test('the earliest change since the last call', () => {
  const first = seenTimes(SERVICE, [pod('a', '2026-01-01T00:00:05Z')]);
  assert.equal(at(triggerMs(first, undefined)), '2026-01-01T00:00:00.000Z', 'the service itself');
  assert.equal(triggerMs(first, first), undefined, 'nothing has changed');
  const second = seenTimes(SERVICE, [
    pod('a', '2026-01-01T00:01:00Z'),
    pod('b', '2026-01-01T00:00:30Z'),
    pod('c'),
  ]);
  assert.equal(at(triggerMs(second, first)), '2026-01-01T00:00:30.000Z');
  assert.equal(triggerMs(seenTimes(SERVICE, []), second), undefined, 'a pod that is gone tells no time');
});
