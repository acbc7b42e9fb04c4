/** Finds the program that listens on a TCP port of this machine, as far as /proc allows: for messages only. Linux; elsewhere unknown. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

interface PortHolder {
  readonly pid: number;
  readonly name: string;
  /** Of systemd, that it runs in: 'etcd.service'. */
  readonly unit?: string | undefined;
}

/** State 'listen' in /proc/net/tcp. */
const LISTEN = '0A';

/** 'program NAME (process PID)', or 'another program' where it is unknown. */
export function describePortHolder(port: number): string {
  const holder = portHolder(port);
  return holder ? `the program ${holder.name} (process ${holder.pid})` : 'another program';
}

/** The first that listens on this port, at whatever address. Undefined: none, or one of another user's, or of another network namespace. */
export function portHolder(port: number): PortHolder | undefined {
  const links = new Set(listeningInodes(port).map((inode) => `socket:[${inode}]`));
  if (links.size === 0) return undefined;
  const pid = namesIn('/proc')
    .map(Number)
    .find((candidate) => candidate > 0 && holdsOne(candidate, links));
  return pid === undefined ? undefined : { pid, name: nameOf(pid), ...unitOf(pid) };
}

/** How to stop it, in a clause. */
export function howToStopPortHolder(port: number): string {
  const unit = portHolder(port)?.unit;
  return unit === undefined ? 'stop it' : `stop it with systemctl disable --now ${unit}`;
}

function unitOf(pid: number): Pick<PortHolder, 'unit'> {
  const unit = unitIn(read(`/proc/${pid}/cgroup`));
  return unit === undefined ? {} : { unit };
}

/** The innermost service of the system in the text of /proc/PID/cgroup. */
export function unitIn(cgroups: string): string | undefined {
  const [, unit] = /^0::\/(?:[^/\n]+\.slice\/)*([^/\n]+\.service)(?:\/|$)/m.exec(cgroups) ?? [];
  return unit?.startsWith('user@') ? undefined : unit;
}

function listeningInodes(port: number): string[] {
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    read(file)
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
        return state === LISTEN && Number.parseInt(local.split(':')[1] ?? '', 16) === port ? [inode] : [];
      }),
  );
}

function holdsOne(pid: number, links: ReadonlySet<string>): boolean {
  const dir = `/proc/${pid}/fd`;
  return namesIn(dir).some((fd) => {
    try {
      return links.has(readlinkSync(join(dir, fd)));
    } catch {
      return false; // closed in the meantime
    }
  });
}

/** Name in its command line: the kernel's name of a process is its main thread's, which Node.js calls 'MainThread'. */
function nameOf(pid: number): string {
  const [called = ''] = read(`/proc/${pid}/cmdline`).split('\0');
  return basename(called) || read(`/proc/${pid}/comm`).trim() || 'unknown';
}

/** Empty where it is unreadable or gone. */
function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
