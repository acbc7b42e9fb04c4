import assert from 'node:assert/strict';
import { it } from 'node:test';
import { kubeletSettingsFrom, requireHeld } from './kubelet-flags.ts';

it('flags of the kubelet API', () => {
  assert.deepEqual(kubeletSettingsFrom({}), {});
  assert.deepEqual(
    kubeletSettingsFrom({ streamingConnectionIdleTimeout: '5m', tlsMinVersion: 'VersionTLS13' }),
    { streamIdleMs: 300_000, minVersion: 'TLSv1.3' },
  );
  for (const wrong of ['0', '0s', '-1h', 'soon', '9999h'])
    assert.throws(() => kubeletSettingsFrom({ streamingConnectionIdleTimeout: wrong }), {
      name: 'UserError',
      message: new RegExp(`is "${wrong}"; it should be a duration`),
    });
});

it('what pods may have', () => {
  assert.deepEqual(kubeletSettingsFrom({ podMaxPids: -1 }), {});
  assert.deepEqual(
    kubeletSettingsFrom({
      podMaxPids: 100,
      systemReserved: 'cpu=500m,memory=1Gi',
      kubeReserved: 'cpu=250m, pid=1000',
    }),
    { podPidsLimit: 100, reserved: { cpu: '750m', memory: '1Gi', pid: '1k' } },
  );
  for (const wrong of ['cpu', 'cpu=many', 'cpu=-1', 'disk=1Gi'])
    assert.throws(() => kubeletSettingsFrom({ kubeReserved: wrong }), {
      name: 'UserError',
      message: `--kube-reserved has "${wrong}"; it should be cpu, memory, ephemeral-storage, pid, '=' and an amount, such as memory=1Gi.`,
    });
});

it('flags that cannot be otherwise', () => {
  for (const [name, value] of [
    ['anonymous-auth', 'false'],
    ['authorization-mode', 'Webhook'],
    ['read-only-port', '0'],
  ] as const)
    requireHeld(name, value);
  assert.throws(
    () => requireHeld('anonymous-auth', 'true'),
    /^UserError: --anonymous-auth is "true"; it can only be false: nobody uses the kubelet API anonymously\.$/,
  );
  assert.throws(() => requireHeld('authorization-mode', 'AlwaysAllow'), /can only be Webhook/);
  assert.throws(() => requireHeld('read-only-port', '10255'), /can only be 0/);
});
