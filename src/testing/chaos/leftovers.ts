/**
 * What a run of the chaos tests that was killed left on this machine: its processes, containers, mounts, loop devices, network namespaces and files. The next run takes
 * them away. Directories and namespaces carry the pid of their run, so that a run that goes on is never touched.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const DIRECTORY = 'capstan-chaos-';
const NAMESPACE = 'cc';

/** Of this run. */
export const LAN_ID = `${NAMESPACE}${process.pid}`;

/** Of this run: everything that it writes. */
export function makeBase(): string {
  return mkdtempSync(join(tmpdir(), `${DIRECTORY}${process.pid}-`));
}

/** reset: ends the containers of a machine with this root directory; called in its namespace. */
export function sweepLeftovers(reset: (namespace: string, rootfs: string) => void): void {
  for (const name of readdirSync(tmpdir())) {
    const run = new RegExp(`^${DIRECTORY}(\\d+)-`).exec(name)?.[1];
    if (run !== undefined && !existsSync(`/proc/${run}`))
      sweepRun(run, { base: join(tmpdir(), name), reset });
  }
}

function sweepRun(
  run: string,
  { base, reset }: { readonly base: string; readonly reset: (namespace: string, rootfs: string) => void },
): void {
  const namespaces = lines('ip', 'netns', 'list')
    .map((line) => line.split(' ')[0]!)
    .filter((name) => name.startsWith(`${NAMESPACE}${run}-`));
  for (const namespace of namespaces) killAll(namespace);
  for (const namespace of namespaces) {
    const rootfs = join(base, namespace.slice(`${NAMESPACE}${run}-`.length));
    if (existsSync(join(rootfs, 'var/lib/capstan/node'))) reset(namespace, rootfs);
    killAll(namespace);
    spawnSync('ip', ['netns', 'delete', namespace]);
  }
  // The innermost first. A loop device goes with its last mount.
  for (const mount of mountsBelow(base).toReversed()) spawnSync('umount', ['--lazy', mount]);
  rmSync(base, { recursive: true, force: true });
}

function killAll(namespace: string): void {
  for (const pid of lines('ip', 'netns', 'pids', namespace)) spawnSync('kill', ['-9', pid]);
}

export function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${directory}/`));
}

function lines(file: string, ...words: readonly string[]): string[] {
  return spawnSync(file, words, { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
}
