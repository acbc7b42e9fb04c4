import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dirOfUnit, renderUnit, type ServiceUnit } from './service-unit.ts';

const unit: ServiceUnit = {
  clusterId: '0a1b2c3d',
  dir: { path: '/var/lib/capstan', logs: '/var/lib/capstan/logs' },
  command: ['/bin/sh', '--data-dir', '/var/lib/capstan'],
  programDir: '/srv/capstan',
  environment: { NODE_COMPILE_CACHE: '/srv/capstan/.cache/compile' },
  scope: 'capstan-11223344.scope',
};

function line(text: string, name: string): string {
  return text.split('\n').find((one) => one.startsWith(`${name}=`)) ?? '';
}

test('the unit starts after the network, is watched, and starts again unless it stopped properly', () => {
  const text = renderUnit(unit);
  assert.match(line(text, 'After'), /network-online\.target .*capstan-11223344\.scope/);
  for (const setting of [
    'Wants=network-online.target',
    'Type=notify',
    'Slice=capstan.slice',
    'Restart=on-failure',
    'RestartPreventExitStatus=4',
    'WatchdogSec=90',
    'LimitNOFILE=1048576',
    'WantedBy=multi-user.target',
  ])
    assert.ok(text.split('\n').includes(setting), setting);
});

test('what systemd would expand in a command line is quoted', () => {
  const text = renderUnit({ ...unit, command: ['/bin/sh', '{"a":"$HOME 100% \\n"}', "it's"] });
  assert.equal(
    line(text, 'ExecStart'),
    String.raw`ExecStart="/bin/sh" "{\"a\":\"$$HOME 100%% \\n\"}" "it's"`,
  );
  assert.throws(
    () => renderUnit({ ...unit, command: ['/bin/sh', 'a\nExecStartPre=/bin/evil'] }),
    /line break/,
  );
});

test('whose it is stands in it: a copy of a data directory has the same id', () => {
  const path = '/srv/my "odd" 100% dir';
  assert.equal(dirOfUnit(renderUnit({ ...unit, dir: { path, logs: `${path}/logs` } })), path);
});

const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;

test('systemd finds no fault with it', { skip: analyze ? false : 'needs systemd-analyze' }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-unit-'));
  try {
    const file = join(dir, 'capstan-0a1b2c3d.service');
    writeFileSync(file, renderUnit({ ...unit, command: ['/bin/sh', '{"a b":"$HOME 100%"}'] }));
    const { stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', '--recursive-errors=no', file],
      {
        encoding: 'utf8',
      },
    );
    assert.doesNotMatch(`${stdout}${stderr}`, /capstan-0a1b2c3d\.service:/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
