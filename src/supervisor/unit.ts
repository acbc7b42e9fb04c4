/**
 * The supervisor of a machine as a systemd service, capstan.service: started at boot after the network, stopped gracefully at shutdown. Containers are in a
 * scope of their own. For clusters of `capstan up` see deploy/service-unit.ts.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { renderExec } from '#deploy/service-unit.ts';

const UNIT = 'capstan.service';
const UNIT_PATH = `/etc/systemd/system/${UNIT}`;
const BOOTED = '/run/systemd/system';
const PROGRAM_DIR = resolve(import.meta.dirname, '../..');
const STOP_SECONDS = 180;
const START_SECONDS = 120;
const WATCHDOG_SECONDS = 60;
const SYSTEMCTL_TIMEOUT_MS = 200_000;

interface MachineUnit {
  readonly command: readonly string[];
}

/** Not for a machine below --rootfs: that is one of several on this host. */
export function isSystemd({ rootfs }: Pick<MachinePaths, 'rootfs'>): boolean {
  return rootfs === '/' && existsSync(BOOTED);
}

export function renderMachineUnit({ command }: MachineUnit): string {
  return [
    '# Written by capstan init and join; add your own settings with: systemctl edit capstan',
    '[Unit]',
    'Description=Capstan: the services of a Kubernetes machine',
    'Documentation=https://kubernetes.io/docs/',
    'Wants=network-online.target',
    'After=network-online.target time-sync.target nss-lookup.target nftables.service',
    `RequiresMountsFor=/var/lib/capstan /var/lib/etcd ${PROGRAM_DIR}`,
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    `ExecStart=${renderExec(command)}`,
    'ExecReload=/bin/kill -HUP $MAINPID',
    `Environment=NODE_COMPILE_CACHE=${process.env['NODE_COMPILE_CACHE'] ?? resolve(PROGRAM_DIR, '.cache/compile')}`,
    'Slice=capstan.slice',
    'Restart=always',
    'RestartSec=2',
    `WatchdogSec=${WATCHDOG_SECONDS}`,
    // The supervisor stops its children in order; systemd kills the rest.
    'KillMode=mixed',
    `TimeoutStartSec=${START_SECONDS}`,
    `TimeoutStopSec=${STOP_SECONDS}`,
    'LimitNOFILE=1048576',
    'TasksMax=infinity',
    'OOMScoreAdjust=-900',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n');
}

/** Writes the unit if it differs, and enables it at boot. */
export function installMachineUnit(unit: MachineUnit): void {
  const text = renderMachineUnit(unit);
  if (!existsSync(UNIT_PATH) || readFileSync(UNIT_PATH, 'utf8') !== text)
    writeFileAtomic(UNIT_PATH, text, 0o644);
  systemctl(['daemon-reload']);
  systemctl(['enable', '--quiet', UNIT]);
}

export function startMachineUnit(): void {
  systemctl(['start', UNIT]);
}

/** Stops and removes it. Does nothing where there is none. */
export function removeMachineUnit(): void {
  if (!existsSync(UNIT_PATH)) return;
  systemctl(['disable', '--now', '--quiet', UNIT]);
  rmSync(UNIT_PATH, { force: true });
  systemctl(['daemon-reload']);
}

function systemctl(words: readonly string[]): void {
  const { status, stderr } = spawnSync('systemctl', words, {
    encoding: 'utf8',
    timeout: SYSTEMCTL_TIMEOUT_MS,
  });
  if (status !== 0)
    throw new UserError(`systemctl ${words.join(' ')} failed: ${stderr.trim()} (see: journalctl -u ${UNIT})`);
}
