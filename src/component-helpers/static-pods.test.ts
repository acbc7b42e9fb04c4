import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONFIG_SOURCE, fromApi, isStaticPod, MIRROR_POD } from './static-pods.ts';

const podWith = (annotations?: Record<string, string>) => ({ metadata: annotations ? { annotations } : {} });

test('an API pod cannot declare itself static', () => {
  const forged = podWith({ [CONFIG_SOURCE]: 'file', note: 'kept' });
  assert.equal(isStaticPod(forged), true);
  const pod = fromApi(forged);
  assert.equal(isStaticPod(pod), false);
  assert.deepEqual(pod.metadata, { annotations: { [CONFIG_SOURCE]: 'api', note: 'kept' } });
  assert.equal(
    forged.metadata.annotations?.[CONFIG_SOURCE],
    'file',
    'the object of the informer is unchanged',
  );
});

test('other API pods and mirror pods are passed unchanged', () => {
  for (const pod of [
    podWith(),
    podWith({ [CONFIG_SOURCE]: 'api' }),
    podWith({ [CONFIG_SOURCE]: 'file', [MIRROR_POD]: 'hash' }),
  ])
    assert.equal(fromApi(pod), pod);
});
