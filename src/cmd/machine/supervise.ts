/** `capstan supervise`, and how init and join start it: by systemd where that is the machine's init, else as a detached process. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeDiskError, UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { liveLockHolder } from '#stdx/process-lock.ts';
import { askSupervisor, tellSupervisor } from '#supervisor/control-socket.ts';
import type { ChildStatus } from '#supervisor/child.ts';
import { capstanCommand } from '#supervisor/programs.ts';
import { installMachineUnit, isSystemd, removeMachineUnit, startMachineUnit } from '#supervisor/unit.ts';

export interface SuperviseFlags {
  readonly rootfs?: string;
}

export async function runSupervise({ rootfs }: SuperviseFlags): Promise<void> {
  const paths = machinePaths({ rootfs });
  const { supervise } = await import('#supervisor/run.ts');
  const log = createLogger({ format: 'text' }).with({ component: 'supervisor' });
  await supervise({ paths, machine: machineFile(paths), clock: realClock, log });
}

const START_TIMEOUT_MS = 30_000;
const LOOK_EVERY_MS = 50;

/** Resolves when the supervisor of this machine runs and has applied the current record. */
export async function ensureSupervised(paths: MachinePaths): Promise<void> {
  if (isSupervised(paths)) {
    await tellSupervisor(paths.supervisorSocket);
    return;
  }
  if (isSystemd(paths)) {
    installMachineUnit({ command: superviseCommand(paths) });
    startMachineUnit();
  } else await startDetached(paths);
}

export function isSupervised({ supervisorLock }: Pick<MachinePaths, 'supervisorLock'>): boolean {
  return liveLockHolder(supervisorLock) !== undefined;
}

/** Undefined: no supervisor runs. */
export function machineStatus({
  supervisorSocket,
}: MachinePaths): Promise<readonly ChildStatus[] | undefined> {
  return askSupervisor(supervisorSocket);
}

function superviseCommand({ rootfs }: MachinePaths): [string, ...string[]] {
  return capstanCommand(['supervise', ...(rootfs === '/' ? [] : [`--rootfs=${rootfs}`])]);
}

async function startDetached(paths: MachinePaths): Promise<void> {
  const [file, ...words] = superviseCommand(paths);
  const logFile = join(paths.logs, 'supervisor.log');
  let output: number;
  try {
    mkdirSync(paths.logs, { recursive: true, mode: 0o755 });
    output = openSync(logFile, 'a', 0o600);
  } catch (error) {
    throw describeDiskError(logFile, error);
  }
  const child = spawn(file, words, { detached: true, stdio: ['ignore', output, output], cwd: '/' });
  closeSync(output);
  let ended: string | undefined;
  child.on('error', (error) => (ended = error.message));
  child.on('exit', (code, signal) => (ended = signal ?? `exit code ${code}`));
  const deadline = performance.now() + START_TIMEOUT_MS;
  while ((await askSupervisor(paths.supervisorSocket)) === undefined) {
    if (ended !== undefined)
      throw new UserError(
        `The supervisor ended while starting (${ended}); its last words are in ${logFile}.`,
      );
    if (performance.now() > deadline)
      throw new UserError(`The supervisor does not answer; its last words are in ${logFile}.`);
    await sleep(LOOK_EVERY_MS);
  }
  child.removeAllListeners();
  child.unref();
}

const STOP_TIMEOUT_MS = 200_000;

/** Stops every service of this machine, and removes their unit where there is one. A UserError if they do not stop in time. */
export async function endSupervised(paths: MachinePaths): Promise<void> {
  if (isSystemd(paths)) removeMachineUnit();
  const pid = liveLockHolder(paths.supervisorLock)?.pid;
  if (pid === undefined) return;
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (liveLockHolder(paths.supervisorLock)?.pid === pid) {
    if (performance.now() > deadline)
      throw new UserError(
        `The supervisor (process ${pid}) does not stop; its last words are in ${paths.logs}.`,
      );
    await sleep(LOOK_EVERY_MS);
  }
}
