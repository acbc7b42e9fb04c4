import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oldSandboxes } from './sandboxes.ts';

const sandbox = (uid: string, createdAt: number, state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY') => ({
  metadata: { uid, name: uid, namespace: 'default', attempt: 0 },
  createdAt,
  state,
});

test('of each pod the newest sandbox stays, and what runs', () => {
  const ready = sandbox('restarted', 3, 'SANDBOX_READY');
  const last = sandbox('stopped', 5, 'SANDBOX_NOTREADY');
  const earlier = [
    sandbox('restarted', 1, 'SANDBOX_NOTREADY'),
    sandbox('restarted', 2, 'SANDBOX_NOTREADY'),
    sandbox('stopped', 4, 'SANDBOX_NOTREADY'),
  ];
  const stillReady = sandbox('two', 6, 'SANDBOX_READY');
  const newer = sandbox('two', 7, 'SANDBOX_READY');
  assert.deepEqual(oldSandboxes([ready, ...earlier, last, stillReady, newer]), earlier);
});
