import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSystemd, renderMachineUnit } from './unit.ts';

test('the unit of a machine: after the network, told of readiness, stopped gracefully', () => {
  const unit = renderMachineUnit({ command: ['/usr/bin/node', '/opt/a b/main.ts', 'supervise'] });
  for (const line of [
    'Type=notify',
    'ExecStart="/usr/bin/node" "/opt/a b/main.ts" "supervise"',
    'Wants=network-online.target',
    'Restart=always',
    'KillMode=mixed',
    'WantedBy=multi-user.target',
  ])
    assert.ok(unit.split('\n').includes(line), `${line} in\n${unit}`);
  assert.match(unit, /^After=network-online.target /m);
});

test('a machine below --rootfs is none of systemd', () => {
  assert.equal(isSystemd({ rootfs: '/tmp/machine1' }), false);
});
