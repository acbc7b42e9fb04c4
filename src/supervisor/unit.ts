/**
 * The services of a machine as units of systemd: capstan.service runs one supervisor of all of them; separate-units.ts has one for each. Started at boot
 * after the network, stopped gracefully at shutdown. Containers are in a scope of their own. For clusters of `capstan up` see deploy/service-unit.ts.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MEMORY_ENV } from '#deploy/daemon.ts';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { renderExec } from '#deploy/service-unit.ts';

const UNIT = 'capstan.service';
export const UNIT_DIR = '/etc/systemd/system';
const BOOTED = '/run/systemd/system';
const STOP_SECONDS = 180;
const START_SECONDS = 120;
const WATCHDOG_SECONDS = 60;
const SYSTEMCTL_TIMEOUT_MS = 200_000;
const BOOT_ORDER = 'network-online.target time-sync.target nss-lookup.target nftables.service';

interface MachineUnit {
  readonly command: readonly string[];
  /** That its containers are in: at shutdown it is stopped after the unit. */
  readonly scope: string;
}

/** Not for a machine below --rootfs: that is one of several on this host. */
export function isSystemd({ rootfs }: Pick<MachinePaths, 'rootfs'>): boolean {
  return rootfs === '/' && existsSync(BOOTED);
}

export function renderMachineUnit({ command, scope }: MachineUnit): string {
  return renderSupervisorUnit({
    description: 'Capstan: the services of a Kubernetes machine',
    unit: [`After=${scope}`],
    mounts: '/var/lib/capstan /var/lib/etcd',
    command,
    wantedBy: 'multi-user.target',
  });
}

interface SupervisorUnit {
  readonly description: string;
  /** Further lines of its section [Unit]. */
  readonly unit: readonly string[];
  readonly mounts: string;
  readonly command: readonly string[];
  readonly wantedBy: string;
}

export function renderSupervisorUnit({
  description,
  unit,
  mounts,
  command,
  wantedBy,
}: SupervisorUnit): string {
  return [
    `${WRITTEN_BY}; add your own settings with: systemctl edit UNIT`,
    '[Unit]',
    `Description=${description}`,
    'Documentation=https://kubernetes.io/docs/',
    'Wants=network-online.target',
    `After=${BOOT_ORDER}`,
    ...unit,
    `RequiresMountsFor=${mounts} ${PROGRAM_DIR}`,
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    `ExecStart=${renderExec(command)}`,
    'ExecReload=/bin/kill -HUP $MAINPID',
    `Environment=NODE_COMPILE_CACHE=${process.env['NODE_COMPILE_CACHE'] ?? resolve(PROGRAM_DIR, '.cache/compile')}`,
    ...Object.entries(MEMORY_ENV).map(([name, value]) => `Environment=${name}=${value}`),
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
    `WantedBy=${wantedBy}`,
    '',
  ].join('\n');
}

/** First words of every unit of a machine. */
export const WRITTEN_BY = '# Written by capstan init and join';

/** Writes the unit if it differs, and enables it at boot. */
export function installMachineUnit(unit: MachineUnit): void {
  writeUnit(UNIT, renderMachineUnit(unit));
  systemctl(['daemon-reload']);
  systemctl(['enable', '--quiet', UNIT]);
}

export function startMachineUnit(): void {
  systemctl(['start', UNIT]);
}

/** Stops and removes it. Does nothing where there is none. */
export function removeMachineUnit(): void {
  const path = join(UNIT_DIR, UNIT);
  if (!existsSync(path)) return;
  systemctl(['disable', '--now', '--quiet', UNIT]);
  rmSync(path, { force: true });
  systemctl(['daemon-reload']);
}

/** True: it was not there, or differed. */
export function writeUnit(name: string, text: string): boolean {
  const path = join(UNIT_DIR, name);
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return false;
  writeFileAtomic(path, text, 0o644);
  return true;
}

export function systemctl(words: readonly string[]): void {
  const { status, stderr } = spawnSync('systemctl', words, {
    encoding: 'utf8',
    timeout: SYSTEMCTL_TIMEOUT_MS,
  });
  if (status !== 0)
    throw new UserError(
      `systemctl ${words.join(' ')} failed: ${stderr.trim()} (see: journalctl -u 'capstan*')`,
    );
}
