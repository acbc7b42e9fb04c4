import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createHeartbeat, describeStalled, silenceMs } from './heartbeat.ts';

/** Beats until told to stop; blocks its loop while the number in the shared memory is 1. */
const THREAD = `
import { workerData, parentPort } from 'node:worker_threads';
const { startBeating } = await import(workerData.module);
startBeating(workerData.heartbeat);
const gate = new Int32Array(workerData.gate);
parentPort.on('message', () => Atomics.wait(gate, 0, 1));
parentPort.postMessage('beating');
`;

test('reports a thread with a blocked event loop, and its recovery', async () => {
  const heartbeat = createHeartbeat('the test');
  assert.equal(silenceMs(heartbeat), 0, 'a thread that is still loading is not stalled');
  const gate = new SharedArrayBuffer(4);
  const module = new URL('./heartbeat.ts', import.meta.url).href;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(THREAD)}`), {
    workerData: { heartbeat, gate, module },
  });
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((again) => setTimeout(again, 20));
  };
  try {
    await new Promise((resolve) => worker.once('message', resolve));
    assert.equal(describeStalled([heartbeat], 10_000), undefined);
    Atomics.store(new Int32Array(gate), 0, 1);
    worker.postMessage('stall');
    await until(() => silenceMs(heartbeat) > 1_600);
    assert.match(describeStalled([heartbeat], 1_500) ?? '', /^event loop of the test stalled for 2 s$/);
    Atomics.store(new Int32Array(gate), 0, 0);
    Atomics.notify(new Int32Array(gate), 0);
    await until(() => describeStalled([heartbeat], 1_500) === undefined);
  } finally {
    await worker.terminate();
  }
});
