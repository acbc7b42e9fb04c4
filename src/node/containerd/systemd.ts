/**
 * systemd units where it is init: containerd, its shims and the pods form one delegated scope in a slice of their own, so that they outlive our service
 * and any login, and stop in time at shutdown (otherwise systemd waits 90 s for them); and systemd-networkd is asked to ignore the pods'
 * interfaces.
 *
 *   capstan.slice/capstan-<id>.scope/  ─► runtime: containerd and shims    ─► kubepods: the pods
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupHierarchies } from './machine.ts';
import { run } from './run.ts';

/** As sd_booted(3) looks. */
const BOOTED = '/run/systemd/system';
/** Of a ContainerdLayout. */
interface Ids {
  readonly id: string;
  readonly bridge: string;
}

const SLICE = 'capstan.slice';
const NETWORKD_DIR = '/run/systemd/network';
const NETWORKD_STATE = '/run/systemd/netif';
/** Between SIGTERM and SIGKILL at shutdown, for containers that our program could not stop before. */
const STOP_SECONDS = 20;

function isSystemdInit(): boolean {
  return existsSync(BOOTED);
}

/** Whether the machine is shutting down or rebooting. */
export async function isMachineStopping(): Promise<boolean> {
  return isSystemdInit() && (await run(['systemctl', 'is-system-running'])).stdout.trim() === 'stopping';
}

export function scopeOf(id: string): string {
  return `capstan-${id}.scope`;
}

/** Parent of the pods' cgroups: in the scope, or, without systemd, at the top. */
export function findCgroupRoot(id: string): string {
  return isSystemdInit() ? `/${SLICE}/${scopeOf(id)}` : `/capstan-${id}`;
}

/** The command prefix that starts containerd as the scope's first process. Empty: without systemd, or the scope exists. */
export async function scopeWords({ id }: Pick<Ids, 'id'>): Promise<readonly string[]> {
  if (!isSystemdInit()) return [];
  const scope = scopeOf(id);
  if ((await run(['systemctl', 'is-active', '--quiet', scope])).code === 0) return [];
  const properties = ['Delegate=yes', 'TasksMax=infinity', `TimeoutStopSec=${STOP_SECONDS}`];
  return [
    'systemd-run',
    '--scope',
    '--quiet',
    '--collect',
    `--slice=${SLICE}`,
    `--unit=${scope}`,
    `--description=Capstan: containers of ${id}`,
    ...properties.map((property) => `--property=${property}`),
    '--',
  ];
}

/** Stops the scope once its processes ended. The slice ends with its last scope. */
export async function removeScope({ id }: Pick<Ids, 'id'>): Promise<void> {
  if (!isSystemdInit()) return;
  await run(['systemctl', 'stop', scopeOf(id)]);
  for (const hierarchy of cgroupHierarchies()) {
    const entries = await readdir(join(hierarchy, SLICE), { withFileTypes: true }).catch(() => []);
    if (entries.some((entry) => entry.isDirectory())) return;
  }
  await run(['systemctl', 'stop', SLICE]);
}

/**
 * A `.network` file that matches every interface would let systemd-networkd configure the bridge and the pods' veths, and remove their addresses. The
 * first matching file wins, so ours sorts before such ones. For this boot only: it is written at each start.
 */
export async function keepFromNetworkd({ id, bridge }: Ids): Promise<void> {
  if (!isSystemdInit()) return;
  await mkdir(NETWORKD_DIR, { recursive: true });
  await writeFile(networkFile(id), renderNetworkFile(bridge));
  await reloadNetworkd();
}

export async function releaseToNetworkd({ id }: Pick<Ids, 'id'>): Promise<void> {
  if (!existsSync(networkFile(id))) return;
  await rm(networkFile(id), { force: true });
  await reloadNetworkd();
}

/** CNI's bridge plugin names its links 'veth' and eight digits. */
export function renderNetworkFile(bridge: string): string {
  return [
    "# Written by Capstan at each start: the pods' network is not for systemd-networkd to configure.",
    '[Match]',
    `Name=${bridge} veth????????`,
    '',
    '[Link]',
    'Unmanaged=yes',
    '',
  ].join('\n');
}

function networkFile(id: string): string {
  return join(NETWORKD_DIR, `05-capstan-${id}.network`);
}

async function reloadNetworkd(): Promise<void> {
  if (existsSync(NETWORKD_STATE)) await run(['networkctl', 'reload']);
}
