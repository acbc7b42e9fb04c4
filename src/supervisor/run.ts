/**
 * `capstan supervise`: the supervisor of a machine as a program: one for each machine, or one for each part of it (a lock), in the foreground or under
 * systemd, which it notifies. Follows machine.json, SIGHUP and its control socket; SIGTERM stops the services in reverse order.
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

import { serveControlSocket } from './control-socket.ts';
import { endLeftovers } from './leftovers.ts';
import { CERTIFICATES, liveSupervisors, supervisorFiles, type Part } from './only.ts';
import { Supervisor } from './supervisor.ts';

interface SuperviseOptions {
  readonly paths: MachinePaths;
  readonly machine: MachineFile;
  /** Undefined: all services of the machine, and its certificates. */
  readonly only?: Part | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOG_BOUNDS = { maxBytes: 10 * 2 ** 20, keptFiles: 4 };
const ROTATE_EVERY_MS = 5_000;

/** Resolves after a signal stopped it. A UserError where another one runs already, or the record is damaged. */
export async function supervise({ paths, machine, only, clock, log }: SuperviseOptions): Promise<void> {
  const files = supervisorFiles(paths, only);
  const lock = takeLock(paths, files.lock);
  const closing: (() => void)[] = [() => lock.release()];
  try {
    requireOneKind(paths, only);
    // Before anything is started: a damaged record is an error of the command.
    machine.read();
    const stopped = stopSignal();
    const manager = await connectServiceManager(log);
    await endLeftovers(files.children, { clock, log });
    if (only === undefined || only === CERTIFICATES) {
      // Only where it is used: it costs memory, which a machine with separate units has many times.
      const { keepCertificates } = await import('./certificate-renewal.ts');
      closing.push(await keepCertificates({ paths, machine, clock, log }));
    }
    const supervisor = new Supervisor({
      paths,
      machine,
      only,
      clock,
      log,
      changed: (children) =>
        manager.status(children.map(({ name, state }) => `${name} ${state}`).join(', ') || 'no services'),
    });
    const follow = (): void => void supervisor.follow();
    const socket = await serveControlSocket({
      path: files.socket,
      status: () => supervisor.status(),
      follow: () => supervisor.follow(),
    });
    const watched = watchFiles({ paths: [paths.machineFile], changed: follow, clock });
    process.on('SIGHUP', follow);
    const alive = watchdogMs();
    const timers = [
      setInterval(() => rotateLogs(paths.logs, { only, log }), ROTATE_EVERY_MS),
      ...(alive === undefined ? [] : [setInterval(() => manager.alive(), alive / 3)]),
    ];
    closing.push(
      () => socket.close(),
      () => watched.close(),
      () => process.off('SIGHUP', follow),
      () => timers.forEach((timer) => clearInterval(timer)),
    );
    // systemd waits for this; who joins or initializes waits for the cluster itself.
    if (only === undefined) manager.ready();
    const started = supervisor.follow();
    // Units ordered after this one: what they need is healthy, or was waited for long enough.
    if (only !== undefined) void started.then(() => manager.ready());
    await stopped;
    manager.stopping();
    log.info('stopping the services of this machine');
    await supervisor.stop();
  } finally {
    for (const close of closing.toReversed()) close();
  }
}

function takeLock({ run }: MachinePaths, path: string): ProcessLock {
  try {
    mkdirSync(run, { recursive: true, mode: 0o711 });
    return acquireProcessLock(path);
  } catch (error) {
    if (error instanceof LockedError) throw alreadySupervised(error.holder.pid, error);
    throw describeDiskError(path, error);
  }
}

/** With its own lock held: of two that start at the same time at least one refuses. */
function requireOneKind(paths: MachinePaths, only: Part | undefined): void {
  const other = liveSupervisors(paths).find((one) => (one.only === undefined) !== (only === undefined));
  if (other) throw alreadySupervised(other.pid);
}

function alreadySupervised(pid: number, cause?: unknown): UserError {
  return new UserError(`The services of this machine are supervised by process ${pid} already.`, cause);
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

function rotateLogs(
  dir: string,
  { only, log }: { readonly only: Part | undefined; readonly log: Logger },
): void {
  for (const name of namesIn(dir)) {
    if (only !== undefined && name !== `${only}.log`) continue;
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
