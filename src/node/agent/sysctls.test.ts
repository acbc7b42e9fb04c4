import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forbiddenSysctl } from './sysctls.ts';

test('unsafe parameters are refused unless the node allows them, and never in a namespace of the host', () => {
  const refusal = (name: string, { allowed = [] as string[], hostIPC = false } = {}): string | undefined =>
    forbiddenSysctl(
      { spec: { containers: [], hostIPC, securityContext: { sysctls: [{ name, value: '1' }] } } },
      allowed,
    );
  assert.equal(refusal('kernel.msgmax'), 'forbidden sysctl: "kernel.msgmax" not allowlisted');
  assert.equal(refusal('kernel.msgmax', { allowed: ['kernel.msg*'] }), undefined);
  assert.equal(refusal('kernel.msgmax', { allowed: ['kernel.msgmax'] }), undefined);
  assert.equal(
    refusal('kernel.shmmax', { allowed: ['kernel.msg*'] }),
    'forbidden sysctl: "kernel.shmmax" not allowlisted',
  );
  assert.equal(
    refusal('kernel.msgmax', { allowed: ['kernel.msg*'], hostIPC: true }),
    'forbidden sysctl: "kernel.msgmax" not allowed with host IPC enabled',
  );
});
