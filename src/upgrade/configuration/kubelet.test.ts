import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeletConfiguration } from '#deploy/config/types.ts';
import { onMachine, planKubelet } from './kubelet.ts';

const CURRENT: KubeletConfiguration & { readonly maxPods?: number } = {
  staticPodPath: '/etc/kubernetes/manifests',
  authentication: { anonymous: { enabled: false }, x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' } },
  podPidsLimit: 100,
};

test('leaves that differ are changes; what a machine or Node has of its own is refused', () => {
  assert.deepEqual(planKubelet(CURRENT, CURRENT), { changes: [], refused: [] });
  const { podPidsLimit: _, ...rest } = CURRENT;
  assert.deepEqual(planKubelet(CURRENT, { ...rest, maxPods: 50 } as KubeletConfiguration), {
    changes: ['kubelet.podPidsLimit: 100 -> (none)', 'kubelet.maxPods: (none) -> 50'],
    refused: [],
  });
  const { refused } = planKubelet(CURRENT, {
    ...CURRENT,
    staticPodPath: '/other',
    authentication: { x509: { clientCAFile: '/other' } },
    registerWithTaints: [{ key: 'a', effect: 'NoSchedule' }],
  } as KubeletConfiguration);
  assert.deepEqual(
    refused.map((line) => line.split(' ', 1)[0]),
    ['kubelet.staticPodPath', 'kubelet.registerWithTaints', 'kubelet.authentication.x509'],
  );
});

test("a machine's own paths stay", () => {
  const own = { staticPodPath: '/own', authentication: { x509: { clientCAFile: '/own/ca.crt' } } };
  const { staticPodPath, authentication, podPidsLimit } = onMachine(own, CURRENT);
  assert.equal(staticPodPath, '/own');
  assert.deepEqual(authentication, { anonymous: { enabled: false }, x509: { clientCAFile: '/own/ca.crt' } });
  assert.equal(podPidsLimit, 100);
});
