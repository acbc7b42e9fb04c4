/**
 * The running cluster as seen by other commands: the program that `up` starts, its progress reports, and how it is found and stopped.
 *
 *   up ──spawn──> all-in-one (holds DIR/run/lock) ──IPC: DaemonMessage──> up prints progress, then lets go
 *   down, status: read DIR/run/lock and DIR/run/state.json; down sends SIGTERM and waits for the lock to be free
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { liveLockHolder } from '#stdx/process-lock.ts';
import { describeDiskError, readSettings, UserError, type DataDir } from './data-dir.ts';
import { stopService } from './service-unit.ts';

export type DaemonMessage =
  | {
      readonly type: 'step';
      readonly name: string;
      readonly state: 'started' | 'done' | 'failed';
      readonly detail?: string;
    }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'ready'; readonly server: string; readonly millis: number }
  | { readonly type: 'fatal'; readonly message: string };

export interface DaemonState {
  readonly pid: number;
  readonly server: string;
  readonly startedAt: string;
  readonly phase: 'starting' | 'ready' | 'stopping' | 'failed';
  readonly components: Readonly<Record<string, string>>;
}

export interface StartedDaemon {
  readonly child: ChildProcess;
  /** Resolves when the API is ready, with its address; UserError when the program gave up. */
  readonly ready: Promise<{ readonly server: string; readonly millis: number }>;
  /** Why it ended, if it could report that. Not of a detached one. */
  lastWords(): string | undefined;
}

/** The pid of the process that runs the cluster of this directory, if one does. */
export function runningPid(dir: DataDir): number | undefined {
  return liveLockHolder(dir.lock)?.pid;
}

export function readState(dir: DataDir): DaemonState | undefined {
  try {
    return JSON.parse(readFileSync(dir.state, 'utf8')) as DaemonState;
  } catch {
    return undefined;
  }
}

interface StartOptions {
  readonly dir: DataDir;
  readonly program: string;
  readonly detach: boolean;
  /** Further words of its command line. */
  readonly words?: readonly string[];
  readonly onStep: (message: Extract<DaemonMessage, { type: 'step' }>) => void;
  /** What an administrator should know although the cluster starts. */
  readonly onWarning: (message: string) => void;
}

/**
 * A young generation of 24 MB instead of 48 costs the API server hardly any throughput and leaves the machine 60 MB; collecting when the heap has grown
 * by 120 % rather than by up to 300 costs 5 % of its processor time for writes, and leaves another 60. As in the launcher.
 */
export const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=8',
  '--heap-growing-percent=120',
];

/**
 * Of a process of one thread: glibc's further arenas serve only V8's and libuv's helpers, and keep 6 to 11 MB of free pages each process never returns. No
 * processor time was measured for it. Flags of V8 are no way to save more in single processes: its compile cache is valid only for the same flags.
 */
export const MEMORY_ENV = { MALLOC_ARENA_MAX: '1' } as const;

/** How long a program that could not start may take to end. */
const GIVING_UP_TIMEOUT_MS = 10_000;

export function startDaemon(options: StartOptions): StartedDaemon {
  const log = openLog(options.dir);
  const [node, ...words] = daemonCommand(options);
  const child = spawn(node, words, { detached: true, stdio: ['ignore', log, log, 'ipc'], cwd: '/' });
  closeSync(log);
  let lastWords: string | undefined;
  const hear = (message: DaemonMessage): void => {
    if (message.type === 'fatal') lastWords = message.message;
  };
  const ready = waitUntilReady(child, options).then((answer) => {
    if (!options.detach) child.on('message', hear);
    return answer;
  });
  return { child, ready, lastWords: () => lastWords };
}

/** The program's command line. */
export function daemonCommand({
  dir,
  program,
  words = [],
}: Pick<StartOptions, 'dir' | 'program' | 'words'>): [string, ...string[]] {
  return [process.execPath, ...NODE_FLAGS, program, '--data-dir', dir.path, ...words];
}

function openLog(dir: DataDir): number {
  try {
    return openSync(join(dir.logs, 'capstan.log'), 'a', 0o600);
  } catch (error) {
    throw describeDiskError(dir.logs, error);
  }
}

function waitUntilReady(
  child: ChildProcess,
  options: StartOptions,
): Promise<{ server: string; millis: number }> {
  return new Promise((resolve, reject) => {
    const letGo = (): void => {
      child.removeAllListeners('exit');
      child.removeAllListeners('message');
      if (options.detach) {
        child.disconnect();
        child.unref();
      }
    };
    child.on('error', (error) =>
      reject(new UserError(`The cluster's program could not be started: ${error.message}`)),
    );
    child.on('exit', (code, signal) =>
      reject(
        new UserError(
          `The cluster's program ended while starting (${signal ?? `exit code ${code}`}); its last words are in ${join(options.dir.logs, 'capstan.log')}`,
        ),
      ),
    );
    child.on('message', (raw) => {
      const message = raw as DaemonMessage;
      if (message.type === 'step') return options.onStep(message);
      if (message.type === 'warning') return options.onWarning(message.message);
      letGo();
      if (message.type === 'ready') return resolve({ server: message.server, millis: message.millis });
      whenEnded(child, () => reject(new UserError(message.message)));
    });
  });
}

/** A program that gave up releases its directory first: a retry at once must not find it locked. */
function whenEnded(child: ChildProcess, then: () => void): void {
  const late = setTimeout(then, GIVING_UP_TIMEOUT_MS);
  const ended = (): void => {
    clearTimeout(late);
    then();
  };
  if (child.exitCode !== null || child.signalCode !== null) ended();
  else child.once('exit', ended);
}

/** Stops the service, or sends SIGTERM, then waits until the process has ended. False when it did not within the bound. */
export async function stopDaemon(dir: DataDir, options: { readonly timeoutMs: number }): Promise<boolean> {
  const id = clusterIdOf(dir);
  // Also where it is not running at this moment: systemd would restart it.
  if (id !== undefined) stopService({ clusterId: id, dir });
  const pid = runningPid(dir);
  if (pid === undefined) return true;
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + options.timeoutMs;
  while (performance.now() < deadline) {
    if (runningPid(dir) !== pid) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

function clusterIdOf(dir: DataDir): string | undefined {
  try {
    return readSettings(dir)?.id;
  } catch {
    return undefined; // damaged settings: what runs is stopped by its process
  }
}
