/**
 * A cluster as a service of systemd: the unit that starts it at boot, watches it and starts it again when it ends by itself. Written by `capstan up --service`,
 * run by `up` and `down` from then on, removed by `up --no-service` and `delete`. Its containers are not in the unit: they have a scope of their own
 * (node/containerd/systemd.ts), which is stopped after it.
 *
 *   absent ──up --service──► enabled ──boot, up──► running ──ends by itself, watchdog──► running (containers are adopted)
 *                               ▲                     │
 *                               '───────down──────────'
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describeDiskError, UserError, writeFileAtomic, type DataDir } from './data-dir.ts';

/** Whose service it is. A copy of a data directory has the same id, and no part in the service of the original. */
export interface ServiceOwner {
  readonly clusterId: string;
  readonly dir: Pick<DataDir, 'path'>;
}

export interface ServiceUnit extends ServiceOwner {
  readonly dir: Pick<DataDir, 'path' | 'logs'>;
  /** The program and its arguments; the first is a path. */
  readonly command: readonly string[];
  /** Of the checkout: must be mounted. */
  readonly programDir: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The scope that its containers are in. */
  readonly scope: string;
}

const DIR_COMMENT = '# data directory: ';
const UNIT_DIR = '/etc/systemd/system';
const BOOTED = '/run/systemd/system';
/** The program's exit code when something of the cluster could not be stopped: starting it again would not help. */
export const EXIT_LEFTOVERS = 4;
/** Pods get their grace period; remaining processes are killed and reported. */
const STOP_SECONDS = 150;
const START_SECONDS = 600;
const WATCHDOG_SECONDS = 90;
const RESTART_SECONDS = 2;
const OPEN_FILES = 1_048_576;
const SYSTEMCTL_TIMEOUT_MS = (START_SECONDS + 60) * 1_000;

export function unitName(clusterId: string): string {
  return `capstan-${clusterId}.service`;
}

function unitPath(clusterId: string): string {
  return join(UNIT_DIR, unitName(clusterId));
}

/** Reasons why this machine cannot run the cluster as a service. */
export function serviceObstacle(): string | undefined {
  if (!existsSync(BOOTED)) return "systemd is not this machine's init";
  return process.getuid?.() === 0 ? undefined : 'writing a unit of the system needs root';
}

export function isInstalled({ clusterId, dir }: ServiceOwner): boolean {
  return ownerOf(clusterId) === dir.path;
}

/** The data directory that the installed unit is for. */
function ownerOf(clusterId: string): string | undefined {
  try {
    return dirOfUnit(readFileSync(unitPath(clusterId), 'utf8'));
  } catch {
    return undefined; // there is none
  }
}

export function dirOfUnit(text: string): string | undefined {
  const encoded = new RegExp(`^${DIR_COMMENT}(.*)$`, 'm').exec(text)?.[1];
  return encoded === undefined ? undefined : (JSON.parse(encoded) as string);
}

export function renderUnit({ dir, command, programDir, environment, scope }: ServiceUnit): string {
  const log = join(dir.logs, 'capstan.log');
  return [
    '# Written by Capstan at each `capstan up`; add your own settings with: systemctl edit UNIT',
    `${DIR_COMMENT}${JSON.stringify(dir.path)}`,
    '[Unit]',
    `Description=Capstan: the Kubernetes cluster in ${specifiers(dir.path)}`,
    'Wants=network-online.target',
    `After=network-online.target time-sync.target nss-lookup.target nftables.service ${scope}`,
    `RequiresMountsFor=${quoted(dir.path)} ${quoted(programDir)}`,
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    `ExecStart=${renderExec(command)}`,
    ...Object.entries(environment).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`),
    `StandardOutput=append:${specifiers(log)}`,
    `StandardError=append:${specifiers(log)}`,
    'Slice=capstan.slice',
    'Restart=on-failure',
    `RestartSec=${RESTART_SECONDS}`,
    `RestartPreventExitStatus=${EXIT_LEFTOVERS}`,
    `WatchdogSec=${WATCHDOG_SECONDS}`,
    'WatchdogSignal=SIGKILL',
    'KillMode=mixed',
    `TimeoutStartSec=${START_SECONDS}`,
    `TimeoutStopSec=${STOP_SECONDS}`,
    `LimitNOFILE=${OPEN_FILES}`,
    'TasksMax=infinity',
    'OOMScoreAdjust=-900',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n');
}

/** A command line for ExecStart. */
export function renderExec(command: readonly string[]): string {
  return command.map(quoted).join(' ');
}

/** systemd's C-style quoting; a lone $ would name a variable. */
function quoted(text: string): string {
  if (/[\n\r\0]/.test(text))
    throw new UserError(`A unit of systemd cannot hold a line break: ${JSON.stringify(text)}`);
  return `"${specifiers(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('$', '$$$$')}"`;
}

function specifiers(text: string): string {
  return text.replaceAll('%', '%%');
}

/** Writes the unit if it differs, and enables it at boot. */
export function installService(unit: ServiceUnit): void {
  const path = unitPath(unit.clusterId);
  const other = ownerOf(unit.clusterId);
  if (other !== undefined && other !== unit.dir.path)
    throw new UserError(
      `${unitName(unit.clusterId)} is the service of ${other}: this directory is a copy of that cluster.`,
    );
  const text = renderUnit(unit);
  try {
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileAtomic(path, text, 0o644);
  } catch (error) {
    throw describeDiskError(path, error);
  }
  systemctl(['daemon-reload']);
  systemctl(['enable', '--quiet', unitName(unit.clusterId)]);
}

/** Returns when the cluster is ready. UserError with the program's own words when it does not start; then it is not tried again until the next boot. */
export function startService(clusterId: string): void {
  const name = unitName(clusterId);
  const { status } = runSystemctl(['start', name]);
  if (status === 0) return;
  const why = statusText(name);
  runSystemctl(['stop', name]);
  throw new UserError(
    `The service ${name} did not start${why === '' ? '' : `: ${why}`} (see: journalctl -u ${name})`,
  );
}

/** Does nothing where there is none. It starts again at the next boot. */
export function stopService(owner: ServiceOwner): void {
  if (isInstalled(owner)) runSystemctl(['stop', unitName(owner.clusterId)]);
}

/** Does nothing where there is none. */
export function removeService(owner: ServiceOwner): void {
  if (!isInstalled(owner)) return;
  const { clusterId } = owner;
  const name = unitName(clusterId);
  runSystemctl(['disable', '--now', '--quiet', name]);
  rmSync(unitPath(clusterId), { force: true });
  runSystemctl(['daemon-reload']);
  runSystemctl(['reset-failed', name]);
}

function statusText(name: string): string {
  return runSystemctl(['show', '--property=StatusText', '--value', name]).stdout.trim();
}

function systemctl(words: readonly string[]): void {
  const { status, stderr } = runSystemctl(words);
  if (status !== 0) throw new UserError(`systemctl ${words.join(' ')} failed: ${stderr.trim()}`);
}

function runSystemctl(words: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('systemctl', words, { encoding: 'utf8', timeout: SYSTEMCTL_TIMEOUT_MS });
}
