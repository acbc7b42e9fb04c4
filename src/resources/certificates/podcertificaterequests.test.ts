import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { create, row, update } from '../testing/write-case.ts';

const PATH = 'certificates.k8s.io/podcertificaterequests';
const SPEC = {
  signerName: 'example.com/signer',
  podName: 'p',
  podUID: 'u1',
  serviceAccountName: 'default',
  serviceAccountUID: 'u2',
  nodeName: 'n',
  nodeUID: 'u3',
};
const request = (spec: object): object => ({ metadata: { name: 'r', namespace: 'd' }, spec });

test('requires signer, pod, account and node, and lasts a day by default', () => {
  const { object, errors } = create<KubeObject>(PATH, request(SPEC));
  assert.deepEqual(errors, []);
  assert.equal((object['spec'] as { maxExpirationSeconds?: number }).maxExpirationSeconds, 86400);
  assert.deepEqual(create(PATH, request({ ...SPEC, podUID: '', nodeName: '' })).errors, [
    'spec.podUID: Required value',
    'spec.nodeName: Required value',
  ]);
});

test('a lifetime from an hour to 91 days', () => {
  for (const maxExpirationSeconds of [3599, 91 * 24 * 3600 + 1])
    assert.deepEqual(create(PATH, request({ ...SPEC, maxExpirationSeconds })).errors, [
      `spec.maxExpirationSeconds: Invalid value: ${maxExpirationSeconds}: must be in the range [3600, 7862400]`,
    ]);
});

test('the spec is immutable', () => {
  const { object } = create<KubeObject>(PATH, request(SPEC));
  const { errors } = update(PATH, object, (next) => {
    (next['spec'] as { podName: string }).podName = 'other';
  });
  assert.match(errors.join(), /^spec: Invalid value: .*field is immutable/);
});

test('table row', () => {
  assert.equal(row(PATH, request(SPEC))['State'], 'Pending');
  const status = { conditions: [{ type: 'Issued' }] };
  assert.equal(row(PATH, { ...request(SPEC), status })['State'], 'Issued');
});
