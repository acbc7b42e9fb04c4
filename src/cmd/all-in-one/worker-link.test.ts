import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silenceMs } from '#runtime/heartbeat.ts';
import { startWorker, type WorkerHandle } from './worker-link.ts';

function start(leftover: string | undefined): WorkerHandle {
  return startWorker({
    file: new URL('./testing/worker.ts', import.meta.url),
    name: 'the test',
    data: { leftover },
    handler: new Promise(() => {}),
    onState: () => {},
    maxHeapMb: 64,
  });
}

test('what a worker could not stop is asked to who stopped it', async () => {
  const worker = start('containerd runs');
  await worker.started;
  assert.equal(await worker.stop('down'), 'containerd runs (down)');
  assert.equal(await worker.ended, undefined, 'it ended because it was asked to');
});

test('a worker that stopped everything tells nothing, and beat until then', async () => {
  const worker = start(undefined);
  await worker.started;
  assert.ok(silenceMs(worker.heartbeat) < 30_000);
  assert.equal(await worker.stop('down'), undefined);
});
