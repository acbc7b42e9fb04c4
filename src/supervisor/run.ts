/**
 * `capstan supervise`: the supervisor of a machine as a program: one for each machine (a lock), in the foreground or under systemd, which it notifies when
 * its services have started. Follows machine.json, SIGHUP and its control socket; SIGTERM stops the services in reverse order.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describeDiskError, UserError } from '#deploy/data-dir.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import type { MachineFile } from '#deploy/machine/record.ts';
import { connectServiceManager, watchdogMs } from '#runtime/service-manager.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { rotateLog } from '#stdx/log-rotation.ts';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { watchFiles } from '#stdx/watched-files.ts';
import { keepCertificates } from './certificate-renewal.ts';
import { serveControlSocket } from './control-socket.ts';
import { endLeftovers } from './leftovers.ts';
import { childrenFile, Supervisor } from './supervisor.ts';

interface SuperviseOptions {
  readonly paths: MachinePaths;
  readonly machine: MachineFile;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOG_BOUNDS = { maxBytes: 10 * 2 ** 20, keptFiles: 4 };
const ROTATE_EVERY_MS = 5_000;

/** Resolves after a signal stopped it. A UserError where another one runs already, or the record is damaged. */
export async function supervise({ paths, machine, clock, log }: SuperviseOptions): Promise<void> {
  const lock = takeLock(paths);
  const closing: (() => void)[] = [() => lock.release()];
  try {
    // Before anything is started: a damaged record is an error of the command.
    machine.read();
    const stopped = stopSignal();
    const manager = await connectServiceManager(log);
    await endLeftovers(childrenFile(paths), { clock, log });
    closing.push(await keepCertificates({ paths, machine, clock, log }));
    const supervisor = new Supervisor({
      paths,
      machine,
      clock,
      log,
      changed: (children) =>
        manager.status(children.map(({ name, state }) => `${name} ${state}`).join(', ') || 'no services'),
    });
    const follow = (): void => void supervisor.follow();
    const socket = await serveControlSocket({
      path: paths.supervisorSocket,
      status: () => supervisor.status(),
      follow: () => supervisor.follow(),
    });
    const watched = watchFiles({ paths: [paths.machineFile], changed: follow, clock });
    process.on('SIGHUP', follow);
    const alive = watchdogMs();
    const timers = [
      setInterval(() => rotateLogs(paths.logs, log), ROTATE_EVERY_MS),
      ...(alive === undefined ? [] : [setInterval(() => manager.alive(), alive / 3)]),
    ];
    closing.push(
      () => socket.close(),
      () => watched.close(),
      () => process.off('SIGHUP', follow),
      () => timers.forEach((timer) => clearInterval(timer)),
    );
    // systemd waits for this; who joins or initializes waits for the cluster itself.
    manager.ready();
    follow();
    await stopped;
    manager.stopping();
    log.info('stopping the services of this machine');
    await supervisor.stop();
  } finally {
    for (const close of closing.toReversed()) close();
  }
}

function takeLock({ run, supervisorLock }: MachinePaths): ProcessLock {
  try {
    mkdirSync(run, { recursive: true, mode: 0o711 });
    return acquireProcessLock(supervisorLock);
  } catch (error) {
    if (error instanceof LockedError)
      throw new UserError(
        `The services of this machine are supervised by process ${error.holder.pid} already.`,
        error,
      );
    throw describeDiskError(supervisorLock, error);
  }
}

/** The second signal ends the process: the next supervisor stops its services. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.on(signal, () => {
        if (asked) process.exit(1);
        asked = true;
        resolve();
      });
  });
}

function rotateLogs(dir: string, log: Logger): void {
  for (const name of namesIn(dir)) {
    try {
      rotateLog(join(dir, name), LOG_BOUNDS);
    } catch (error) {
      log.warn('log not rotated', { path: join(dir, name), error: errorMessage(error) });
    }
  }
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.endsWith('.log'));
  } catch {
    return []; // none was written yet
  }
}
