/** When static pods start before the node's pod range: real manifest files, a clock of the test's. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { withEarlyPods } from './early-pods.ts';

let dir: string;
let told: string[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capstan-early-'));
  told = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));

let runs: PromiseWithResolvers<void>;
beforeEach(() => {
  runs = Promise.withResolvers();
});

function waiting(range: Promise<string>): Promise<string> {
  return withEarlyPods(range, {
    path: dir,
    // Between looks: none of the test's business.
    clock: { ...realClock, sleep: (_ms, signal) => realClock.sleep(5, signal) },
    start() {
      told.push('started');
      runs.resolve();
      return Promise.resolve({
        stop() {
          told.push('stopped');
          return Promise.resolve();
        },
      });
    },
  });
}

it('without a manifest nothing starts, and the range is returned', async () => {
  await writeFile(join(dir, '.partial.yaml'), '');
  const range = Promise.withResolvers<string>();
  const result = waiting(range.promise);
  range.resolve('10.244.0.0/24');
  assert.equal(await result, '10.244.0.0/24');
  assert.deepEqual(told, []);
});

it('a manifest that comes while the range is waited for starts its pod, which is handed over when the range is known', async () => {
  const range = Promise.withResolvers<string>();
  const result = waiting(range.promise);
  await writeFile(join(dir, 'kube-apiserver.yaml'), 'kind: Pod');
  await runs.promise;
  assert.deepEqual(told, ['started']);
  range.resolve('10.244.0.0/24');
  assert.equal(await result, '10.244.0.0/24');
  assert.deepEqual(told, ['started', 'stopped']);
});

it('a range that never comes ends the wait with its reason, and hands over too', async () => {
  await writeFile(join(dir, 'kube-apiserver.yaml'), 'kind: Pod');
  const range = Promise.withResolvers<string>();
  const result = waiting(range.promise);
  await runs.promise;
  range.reject(new Error('no pod range after 5 minutes'));
  await assert.rejects(result, /no pod range after 5 minutes/);
  assert.deepEqual(told, ['started', 'stopped']);
});
