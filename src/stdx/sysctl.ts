/** Kernel settings of this machine (its network namespace) below /proc/sys. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';

const BRIDGE = '/proc/sys/net/bridge';

/** Writes only what differs. */
export async function setSysctl(path: string, value: string): Promise<void> {
  if ((await readFile(path, 'utf8')).trim() !== value) await writeFile(path, value);
}

/** Whether the kernel can hand netfilter the packets between two ports of one bridge (br_netfilter). */
export async function loadBridgeFilter(): Promise<boolean> {
  if (!existsSync(BRIDGE)) await loadModule('br_netfilter');
  return existsSync(BRIDGE);
}

/** Rejects where the kernel cannot do it. */
export async function switchOnBridgeFilter(): Promise<void> {
  for (const setting of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'])
    await setSysctl(`${BRIDGE}/${setting}`, '1');
}

/** Where it fails, what the module would make is not there. */
function loadModule(name: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
  spawn('modprobe', [name], { stdio: 'ignore', env })
    .on('error', () => resolve())
    .on('close', () => resolve());
  return promise;
}
