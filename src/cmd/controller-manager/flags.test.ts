/** --concurrent-*-syncs: which controller each is of, and its default. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { controllers } from '#controllers/list.ts';
import { collectSettings } from '../flags/define.ts';
import type { ControllerManagerSettings } from './compose.ts';
import { WORKER_FLAGS } from './flags.ts';

const DEFAULT_WORKERS = 5;

function workersOf(given: object): Readonly<Record<string, number>> {
  return collectSettings<ControllerManagerSettings>(WORKER_FLAGS, given).workers ?? {};
}

test('each flag is of a controller that is here, and its default is what that controller has', () => {
  const { privateKey: serviceAccountKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const known = new Map(
    controllers({ clusterCIDR: '10.244.0.0/16', rootCA: 'PEM', serviceAccountKey }).map(
      ({ name, workers }) => [name, workers ?? DEFAULT_WORKERS],
    ),
  );
  const defaults = Object.entries(workersOf({}));
  assert.equal(defaults.length, Object.keys(WORKER_FLAGS).length, 'each sets another controller');
  for (const [name, workers] of defaults) assert.equal(workers, known.get(name), name);
});

test('a given number is its controller’s, within bounds', () => {
  const { 'job-controller': jobs, 'deployment-controller': others } = workersOf({ concurrentJobSyncs: '12' });
  assert.deepEqual([jobs, others], [12, 5]);
  for (const given of [
    { concurrentJobSyncs: '0' },
    { concurrentServiceEndpointSyncs: '51' },
    { concurrentJobSyncs: 'x' },
  ])
    assert.throws(() => workersOf(given), /should be|must be|between/);
});
