/** The node's service has the taints of its registration, as the kubelet of kubeadm: from the moment that its Node is there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCluster } from '../config/defaults.ts';
import { nodeService } from './component-services.ts';
import { machinePaths } from './paths.ts';

const of = {
  paths: machinePaths(),
  cluster: defaultCluster({}, { kubernetesVersion: 'v1.36.0' }),
  nodeName: 'a',
  kubelet: {},
  taints: [
    { key: 'node-role.kubernetes.io/control-plane', effect: 'NoSchedule' },
    { key: 'of', value: 'team', effect: 'NoExecute' },
  ],
} as const;

function wordsOf(service: ReturnType<typeof nodeService>): readonly string[] {
  return 'capstan' in service.run ? service.run.capstan : [];
}

test('taints of a registration', () => {
  const words = wordsOf(nodeService({ ...of, runtime: 'cri' }));
  assert.ok(
    words.includes(
      '--register-with-taints=node-role.kubernetes.io/control-plane:NoSchedule,of=team:NoExecute',
    ),
    words.join(' '),
  );
});

test('what kubeletExtraArgs say replaces them', () => {
  const extraArgs = [{ name: 'register-with-taints', value: 'mine:NoSchedule' }];
  const words = wordsOf(nodeService({ ...of, extraArgs, runtime: 'cri' }));
  assert.deepEqual(
    words.filter((word) => word.startsWith('--register-with-taints')),
    ['--register-with-taints=mine:NoSchedule'],
  );
});

test('simulated nodes have no such flag', () => {
  assert.ok(!wordsOf(nodeService({ ...of, runtime: 'simulated' })).some((word) => word.includes('taints')));
});
