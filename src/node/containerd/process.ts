/**
 * The containerd process of one directory. It has its own session and log, outlives this program (kill -9 included), and the next start finds and adopts
 * it. A process is ours when its command line names our configuration file; a pid file makes finding it cheap, its start time guards against a
 * reused pid.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { ContainerdError } from './errors.ts';
import type { ContainerdLayout } from './layout.ts';
import { cgroupHierarchies } from './machine.ts';
import { scopeWords } from './systemd.ts';

export interface ContainerdProcess {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  readonly startTime: string;
}

const KILL_AFTER_MS = 10_000;
const POLL_MS = 20;
/** systemd responds late on a machine that has just started. */
const SCOPE_TIMEOUT_MS = 30_000;

/** The running process of this directory, if there is one. */
export async function findProcess(layout: ContainerdLayout): Promise<ContainerdProcess | undefined> {
  const recorded = await readPidFile(layout.pidPath);
  if (recorded && isAlive(recorded) && isOurs(recorded.pid, layout)) return recorded;
  // The pid file is missing or stale (a crash between fork and write): look at every process once.
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const startTime = pid > 0 && isOurs(pid, layout) ? readStartTime(pid) : undefined;
    if (startTime === undefined) continue;
    // Its directory may be missing or read-only: the running process is found all the same.
    await writePidFile(layout.pidPath, { pid, startTime }).catch(() => {});
    return { pid, startTime };
  }
  return undefined;
}

interface SpawnOptions {
  readonly binary: string;
  readonly layout: ContainerdLayout;
  readonly log: Logger;
}

/** In a scope of systemd's own where that is init. Throws ContainerdError 'start-failed'. */
export async function spawnProcess(of: SpawnOptions): Promise<ContainerdProcess> {
  const scope = await scopeWords(of.layout);
  const process = await spawnIn(scope, of);
  if (scope.length > 0 && !(await becomesContainerd(process, of))) {
    // It would continue as a second containerd.
    sendSignal(process, 'SIGKILL');
    of.log.warn('systemd created no scope for the containers: a shutdown may wait 90 s for them');
    return spawnProcessAlone(of);
  }
  leaveOurService(process.pid, of);
  return process;
}

async function spawnProcessAlone(of: SpawnOptions): Promise<ContainerdProcess> {
  const process = await spawnIn([], of);
  leaveOurService(process.pid, of);
  return process;
}

/** systemd-run creates the scope, then execs the program. False when it exits instead. */
async function becomesContainerd(process: ContainerdProcess, { layout }: SpawnOptions): Promise<boolean> {
  const deadline = performance.now() + SCOPE_TIMEOUT_MS;
  while (isAlive(process) && performance.now() < deadline) {
    if (isOurs(process.pid, layout)) return true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return isOurs(process.pid, layout);
}

async function spawnIn(scope: readonly string[], of: SpawnOptions): Promise<ContainerdProcess> {
  const { binary, layout } = of;
  // Append mode: the log can be truncated under the running process (rotateLog).
  const logFile = openSync(layout.logPath, 'a', 0o600);
  try {
    const [program = binary, ...words] = [...scope, binary, '--config', layout.configPath];
    const child = spawn(program, words, {
      detached: true,
      stdio: ['ignore', logFile, logFile],
      cwd: '/',
      env: environment(),
    });
    const { promise: failed, reject } = Promise.withResolvers<never>();
    child.on('error', reject);
    child.on('exit', () => {}); // reaped by node; the supervisor sees it in /proc
    child.unref();
    if (child.pid === undefined) return await failed;
    failed.catch(() => {});
    const process: ContainerdProcess = { pid: child.pid, startTime: readStartTime(child.pid) ?? '' };
    await writePidFile(layout.pidPath, process);
    return process;
  } catch (error) {
    throw new ContainerdError('start-failed', `cannot start ${binary}: ${(error as Error).message}`, error);
  } finally {
    closeSync(logFile);
  }
}

/** containerd passes its environment to its shims and CNI plugins, which need iptables and the like in PATH. Variables of a service manager are removed. */
function environment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _notify, WATCHDOG_USEC: _period, WATCHDOG_PID: _watched, ...rest } = process.env;
  return {
    ...rest,
    PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  };
}

/**
 * A service manager ends a service by killing its cgroup. containerd must not be in ours then: it gets its own in the hierarchy that
 * service managers use (version 2, or version 1's 'systemd').
 */
function leaveOurService(
  pid: number,
  { layout, log }: { readonly layout: ContainerdLayout; readonly log: Logger },
): void {
  const hierarchies = cgroupHierarchies();
  const tracking = hierarchies.filter(
    (path) => path === '/sys/fs/cgroup' || path.endsWith('/unified') || path.endsWith('/systemd'),
  );
  for (const hierarchy of tracking) {
    const dir = join(hierarchy, layout.cgroupRoot, 'runtime');
    try {
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(dir, 'cgroup.procs'), String(pid));
    } catch (error) {
      log.warn('containerd stays in the cgroup of this process', {
        hierarchy,
        error: (error as Error).message,
      });
    }
  }
}

export function isAlive({ pid, startTime }: ContainerdProcess): boolean {
  return readStartTime(pid) === startTime;
}

/** SIGTERM, then SIGKILL. Containers keep running. */
export async function endProcess(target: ContainerdProcess, clock: Clock): Promise<void> {
  sendSignal(target, 'SIGTERM');
  if (await waitUntilGone(target, { clock, timeoutMs: KILL_AFTER_MS })) return;
  sendSignal(target, 'SIGKILL');
  if (!(await waitUntilGone(target, { clock, timeoutMs: KILL_AFTER_MS })))
    throw new ContainerdError(
      'teardown',
      `containerd (process ${target.pid}) does not end, not even by SIGKILL`,
    );
}

function sendSignal(target: ContainerdProcess, signal: NodeJS.Signals): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function waitUntilGone(
  target: ContainerdProcess,
  of: { readonly clock: Clock; readonly timeoutMs: number },
): Promise<boolean> {
  const deadline = of.clock.monotonic() + of.timeoutMs;
  while (isAlive(target)) {
    if (of.clock.monotonic() > deadline) return false;
    await of.clock.sleep(POLL_MS);
  }
  return true;
}

/** undefined when there is no such process, or only its unreaped remains. */
export function readStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses, and may contain both.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function isOurs(pid: number, layout: ContainerdLayout): boolean {
  const args = commandLine(pid);
  return /(^|\/)containerd$/.test(args[0] ?? '') && args.includes(layout.configPath);
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** containerd's shims, one per pod: each names the socket of its containerd. */
export function findShims(layout: ContainerdLayout): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      const args = pid > 0 ? commandLine(pid) : [];
      return (args[0] ?? '').includes('containerd-shim') && args.includes(layout.socketPath);
    });
}

/** The id of the container (a pod's sandbox) that a shim was started for. */
export function shimContainer(pid: number): string | undefined {
  const args = commandLine(pid);
  const index = args.indexOf('-id');
  return index === -1 ? undefined : args[index + 1];
}

async function readPidFile(path: string): Promise<ContainerdProcess | undefined> {
  try {
    const { pid, startTime } = JSON.parse(await readFile(path, 'utf8')) as Partial<ContainerdProcess>;
    return typeof pid === 'number' && typeof startTime === 'string' ? { pid, startTime } : undefined;
  } catch {
    return undefined; // missing or half-written: the search in /proc finds what runs
  }
}

async function writePidFile(path: string, process: ContainerdProcess): Promise<void> {
  const temporary = `${path}.${randomUUID()}`; // the supervisor and a search may both write it
  await writeFile(temporary, `${JSON.stringify(process)}\n`);
  await rename(temporary, path);
}

export async function removePidFile(layout: ContainerdLayout): Promise<void> {
  await rm(layout.pidPath, { force: true });
}
