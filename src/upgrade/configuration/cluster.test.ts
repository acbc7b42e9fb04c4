import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCluster } from '#deploy/config/defaults.ts';
import type { ClusterConfiguration } from '#deploy/config/types.ts';
import { planConfiguration } from './cluster.ts';

const GIVEN: ClusterConfiguration = {
  controlPlaneEndpoint: 'a:6443',
  apiServer: { extraArgs: [{ name: 'v', value: '2' }], certSANs: ['a'] },
};
const CURRENT = defaultCluster(GIVEN, { kubernetesVersion: 'v1.36.0' });
const plan = (given: ClusterConfiguration): ReturnType<typeof planConfiguration> =>
  planConfiguration(CURRENT, given);

test('flags and environments that change', () => {
  assert.deepEqual(plan(GIVEN).changes, []);
  assert.deepEqual(plan(GIVEN).refused, []);
  const { changes, refused, wanted } = plan({
    apiServer: { extraArgs: [{ name: 'goaway-chance', value: '0.01' }], certSANs: ['a'] },
    scheduler: {
      extraEnvs: [{ name: 'A', value: 'b' }],
      extraVolumes: [{ name: 'v', hostPath: '/a', mountPath: '/b', readOnly: true, pathType: 'File' }],
    },
  });
  assert.deepEqual(changes, [
    'apiServer.extraArgs.v: 2 -> (none)',
    'apiServer.extraArgs.goaway-chance: (none) -> 0.01',
    'scheduler.extraEnvs.A: (none) -> b',
    'scheduler.extraVolumes.v: (none) -> /a:/b read-only File',
  ]);
  assert.deepEqual(refused, []);
  assert.equal(wanted.controlPlaneEndpoint, 'a:6443');
});

test('what cannot be changed is refused with what to do instead', () => {
  const cases: readonly (readonly [given: ClusterConfiguration, refusal: RegExp])[] = [
    [
      { ...GIVEN, networking: { serviceSubnet: '10.1.0.0/16' } },
      /^networking\.serviceSubnet cannot be changed from 10\.96\.0\.0\/12 to .*ServiceCIDR/,
    ],
    [{ ...GIVEN, kubernetesVersion: 'v1.37.0' }, /capstan upgrade apply/],
    [{ ...GIVEN, controlPlaneEndpoint: 'b:6443' }, /^controlPlaneEndpoint cannot/],
    [{ apiServer: { ...GIVEN.apiServer, certSANs: ['b'] } }, /^apiServer\.certSANs cannot/],
    [{ ...GIVEN, etcd: { external: { endpoints: ['https://e:2379'] } } }, /^etcd cannot be changed/],
  ];
  for (const [given, refusal] of cases) assert.match(plan(given).refused.join('\n'), refusal);
});
