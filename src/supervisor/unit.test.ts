import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { renderSeparateUnits } from './separate-units.ts';
import { isSystemd, renderMachineUnit } from './unit.ts';

const scope = 'capstan-0a1b2c3d.scope';

test('the unit of a machine: after the network and before its containers, told of readiness, stopped gracefully', () => {
  const unit = renderMachineUnit({ command: ['/usr/bin/node', '/opt/a b/main.ts', 'supervise'], scope });
  for (const line of [
    'Type=notify',
    'ExecStart="/usr/bin/node" "/opt/a b/main.ts" "supervise"',
    'Wants=network-online.target',
    `After=${scope}`,
    'Restart=always',
    'WatchdogSec=60',
    'KillMode=mixed',
    'WantedBy=multi-user.target',
  ])
    assert.ok(unit.split('\n').includes(line), `${line} in\n${unit}`);
  assert.match(unit, /^After=network-online.target /m);
});

test('a machine below --rootfs is none of systemd', () => {
  assert.equal(isSystemd({ rootfs: '/tmp/machine1' }), false);
});

describe('separate units', () => {
  const service = (name: ServiceSpec['name'], group?: string): ServiceSpec => ({
    name,
    group,
    run: { capstan: [name] },
  });
  const services = [
    service('balancer', 'node'),
    service('etcd'),
    service('apiserver'),
    service('scheduler', 'control'),
    service('node', 'node'),
  ];
  const command = (part: string): readonly string[] => ['/bin/sh', 'supervise', `--only=${part}`];
  const units = renderSeparateUnits({ services, command, scope });
  const lines = (name: string): string[] => units.get(name)?.split('\n') ?? assert.fail(`no unit ${name}`);

  test('one for each service, one for certificates, and a target with all of them', () => {
    assert.deepEqual([...units.keys()].toSorted(), [
      'capstan-apiserver.service',
      'capstan-balancer.service',
      'capstan-certificates.service',
      'capstan-etcd.service',
      'capstan-node.service',
      'capstan-scheduler.service',
      'capstan.target',
    ]);
    assert.ok(lines('capstan.target').includes('WantedBy=multi-user.target'));
    for (const name of units.keys()) {
      if (name === 'capstan.target') continue;
      for (const line of [
        'PartOf=capstan.target',
        'WantedBy=capstan.target',
        'Type=notify',
        'Restart=always',
      ])
        assert.ok(lines(name).includes(line), `${line} in ${name}`);
    }
  });

  test('each runs a supervisor of its service', () => {
    assert.ok(lines('capstan-etcd.service').includes('ExecStart="/bin/sh" "supervise" "--only=etcd"'));
  });

  test('ordered as the one supervisor starts them, and the node agent before its containers at shutdown', () => {
    const after = (name: string): string | undefined =>
      lines(name).findLast((line) => line.startsWith('After='));
    const first = 'capstan-certificates.service capstan-balancer.service';
    assert.match(after('capstan-certificates.service') ?? '', /^After=network-online\.target /);
    assert.equal(after('capstan-balancer.service'), 'After=capstan-certificates.service');
    assert.equal(after('capstan-apiserver.service'), `After=${first} capstan-etcd.service`);
    assert.equal(
      after('capstan-node.service'),
      `After=${first} capstan-etcd.service capstan-apiserver.service ${scope}`,
    );
    assert.ok(lines('capstan-etcd.service').includes('Wants=capstan-certificates.service'));
  });

  test('a machine without services has none', () => {
    assert.equal(renderSeparateUnits({ services: [], command, scope }).size, 0);
  });

  const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;
  test('systemd finds no fault with them', { skip: analyze ? false : 'needs systemd-analyze' }, (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-units-'));
    t.after(() => rmSync(dir, { recursive: true }));
    const files = [...units].map(([name, text]) => {
      writeFileSync(join(dir, name), text);
      return join(dir, name);
    });
    const { stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', '--recursive-errors=no', ...files],
      { encoding: 'utf8' },
    );
    assert.doesNotMatch(`${stdout}${stderr}`, /capstan[-.a-z]*:|ordering cycle/);
  });
});
