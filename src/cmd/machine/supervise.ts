/**
 * `capstan supervise`, and how init and join start it: by systemd where that is the machine's init, as one unit or one for each service, else as a detached
 * process.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MEMORY_ENV } from '#deploy/daemon.ts';
import { describeDiskError, UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { capstanCommand } from '#deploy/machine/program.ts';
import { machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import { supervisedServices } from '#deploy/machine/static-pods.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { scopeOf } from '#node/containerd/systemd.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { processStartTime } from '#stdx/process-lock.ts';
import { askSupervisor, tellSupervisor } from '#supervisor/control-socket.ts';
import type { ChildStatus } from '#supervisor/child.ts';
import { isPart, liveSupervisors, PARTS, supervisorFiles, type Part } from '#supervisor/only.ts';
import { hasSeparateUnits, installSeparateUnits, removeSeparateUnits } from '#supervisor/separate-units.ts';
import { installMachineUnit, isSystemd, removeMachineUnit, startMachineUnit } from '#supervisor/unit.ts';
import { containerdDir } from '../node/containerd-dir.ts';

export interface SuperviseFlags {
  readonly rootfs?: string;
  readonly only?: string;
}

export async function runSupervise({ rootfs, only }: SuperviseFlags): Promise<void> {
  if (only !== undefined && !isPart(only))
    throw new UserError(`--only is "${only}"; it should be one of ${PARTS.join(', ')}.`);
  const paths = machinePaths({ rootfs });
  const { supervise } = await import('#supervisor/run.ts');
  const log = createLogger({ format: 'text' }).with({
    component: only === undefined ? 'supervisor' : `supervisor-${only}`,
  });
  await supervise({ paths, machine: machineFile(paths), only, clock: realClock, log });
}

const START_TIMEOUT_MS = 30_000;
const LOOK_EVERY_MS = 50;

/** --separate-units, --no-separate-units or neither. A UserError, before anything is changed, where they cannot be had. */
export function requireSeparateUnits(paths: MachinePaths, separateUnits: boolean | undefined): void {
  if (separateUnits === true && !isSystemd(paths))
    throw new UserError(
      "--separate-units needs systemd as this machine's init: without it one supervisor runs all services.",
    );
}

interface EnsureOptions {
  /** Undefined: as the machine's record says. */
  readonly separateUnits?: boolean | undefined;
  /** Directory of the program that units name. Default: this one. */
  readonly program?: string | undefined;
}

/** Resolves when the current record is applied: by the supervisor of this machine, or those of its parts; units of parts may still be starting. */
export async function ensureSupervised(
  paths: MachinePaths,
  { separateUnits, program }: EnsureOptions = {},
): Promise<void> {
  const machine = machineFile(paths);
  if (separateUnits !== undefined && (machine.read().separateUnits ?? false) !== separateUnits)
    machine.update((record) => ({ ...record, separateUnits }));
  const before = new Set(liveSupervisors(paths).map(({ pid }) => pid));
  if (isSystemd(paths)) installUnits(paths, program);
  else if (before.size === 0) {
    await startDetached(paths);
    return settleStaticPods(paths);
  }
  // One that has just started reads the record by itself.
  const followers = liveSupervisors(paths).filter(({ pid }) => before.has(pid));
  await Promise.all(followers.map(({ only }) => tellSupervisor(supervisorFiles(paths, only).socket)));
  await settleStaticPods(paths);
}

/** The node agent follows their manifests by itself. */
async function settleStaticPods(paths: MachinePaths): Promise<void> {
  if (machineFile(paths).read().staticPods) await (await import('./static-pods.ts')).settled(paths);
}

/** Those of the other kind go first: each service runs once. */
function installUnits(paths: MachinePaths, program?: string): void {
  const record = machineFile(paths).read();
  const { separateUnits } = record;
  const services = supervisedServices(record);
  const scope = scopeOf(containerdLayout({ dir: containerdDir(paths) }).id);
  if (separateUnits) {
    removeMachineUnit();
    const byHand = liveSupervisors(paths).find(({ only }) => only === undefined);
    if (byHand)
      throw new UserError(
        `The services of this machine are supervised by process ${byHand.pid}, which was started by hand: end it, then run this again.`,
      );
    const command = (only: Part): readonly string[] => superviseCommand(paths, { only, program });
    return installSeparateUnits({ services, command, scope });
  }
  if (hasSeparateUnits()) removeSeparateUnits();
  if (isSupervised(paths)) return;
  installMachineUnit({ command: superviseCommand(paths, { program }), scope });
  startMachineUnit();
}

/**
 * At the next start of the machine its services are supervised by the program of that directory (default: this one); the one that runs stays. Nothing where
 * systemd is not its init.
 */
export function pointUnits(paths: MachinePaths, program?: string): void {
  if (!isSystemd(paths)) return;
  const { separateUnits } = machineFile(paths).read();
  if (separateUnits) return installUnits(paths, program);
  const scope = scopeOf(containerdLayout({ dir: containerdDir(paths) }).id);
  installMachineUnit({ command: superviseCommand(paths, { program }), scope });
}

type LockPaths = Parameters<typeof liveSupervisors>[0];

export function isSupervised(paths: LockPaths): boolean {
  return liveSupervisors(paths).length > 0;
}

/** Undefined: no supervisor runs. A part whose supervisor does not answer is stopped. */
export async function machineStatus(paths: MachinePaths): Promise<readonly ChildStatus[] | undefined> {
  const record = machineFile(paths).read();
  const children = await supervisedStatus(paths, record);
  if (!children || !record.staticPods) return children;
  return [...(await (await import('./static-pods.ts')).statusOf(paths)), ...children];
}

async function supervisedStatus(
  paths: MachinePaths,
  record: MachineRecord,
): Promise<readonly ChildStatus[] | undefined> {
  const { separateUnits } = record;
  if (!separateUnits && !liveSupervisors(paths).some(({ only }) => only !== undefined))
    return askSupervisor(paths.supervisorSocket);
  if (!isSupervised(paths)) return undefined;
  const found = await Promise.all(
    supervisedServices(record).map(async ({ name }) => {
      const [child] = (await askSupervisor(supervisorFiles(paths, name).socket)) ?? [];
      return child ?? stoppedService(paths, name);
    }),
  );
  return found;
}

function stoppedService({ logs }: MachinePaths, name: string): ChildStatus {
  return { name, services: [name], state: 'stopped', restarts: 0, log: join(logs, `${name}.log`) };
}

export function superviseCommand(
  { rootfs }: Pick<MachinePaths, 'rootfs'>,
  { only, program }: { readonly only?: Part | undefined; readonly program?: string | undefined } = {},
): [string, ...string[]] {
  const words = [
    'supervise',
    ...(only === undefined ? [] : [`--only=${only}`]),
    ...(rootfs === '/' ? [] : [`--rootfs=${rootfs}`]),
  ];
  return capstanCommand(words, { checkout: program });
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
  const env = { ...MEMORY_ENV, ...process.env };
  const child = spawn(file, words, { detached: true, stdio: ['ignore', output, output], cwd: '/', env });
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

/** Longer than a supervisor gives its services. */
const STOP_TIMEOUT_MS = 200_000;

/** Stops every service of this machine, and removes their units where there are any. A UserError if they do not stop in time. */
export async function endSupervised(paths: MachinePaths): Promise<void> {
  // Whatever its init is now: units are files.
  if (paths.rootfs === '/') {
    removeSeparateUnits();
    removeMachineUnit();
  }
  for (const { pid } of liveSupervisors(paths).toReversed()) await endProcess(pid, paths);
}

async function endProcess(pid: number, { logs }: MachinePaths): Promise<void> {
  const started = processStartTime(pid);
  if (started === undefined) return;
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (processStartTime(pid) === started) {
    if (performance.now() > deadline)
      throw new UserError(
        `The supervisor (process ${pid}) does not stop within ${STOP_TIMEOUT_MS / 1000} s: nothing more was done; its last words are in ${logs}.`,
      );
    await sleep(LOOK_EVERY_MS);
  }
}
