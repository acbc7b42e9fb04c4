import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventRecorder } from '#client/events.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { NodeLimits } from '../cgroups.ts';
import { NodeAllocatable } from './node-allocatable.ts';

const LIMITS: NodeLimits = { milliCpu: 2000, memoryBytes: 2 ** 30, processes: 4000 };

test('enforced once; tried again each minute while the kernel refuses; both are events', async () => {
  const clock = new FakeClock();
  const events: string[] = [];
  const asked: object[] = [];
  let refuses = true;
  const allocatable = new NodeAllocatable({
    cgroups: {
      async enforceNode(root, limits) {
        asked.push({ root, ...limits });
        if (refuses) throw new Error('EBUSY: resource busy');
      },
    },
    cgroupRoot: '/r',
    clock,
    nodeName: 'n',
    limits: async () => LIMITS,
    events: {
      event: (_: object, { reason, message }: { reason: string; message: string }) =>
        void events.push(`${reason}: ${message}`),
    } as EventRecorder,
  });
  allocatable.start();
  await clock.advance(1000);
  refuses = false;
  await clock.advance(60_000);
  await clock.advance(600_000);
  await allocatable.stop();
  assert.deepEqual(events, [
    'FailedNodeAllocatableEnforcement: Failed to update Node Allocatable Limits "/r/kubepods": EBUSY: resource busy',
    'NodeAllocatableEnforced: Updated Node Allocatable limit across pods',
  ]);
  assert.deepEqual(asked, Array(2).fill({ root: '/r', ...LIMITS }));
});
