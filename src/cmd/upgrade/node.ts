/** `capstan upgrade node`: this machine's part of an upgrade. Without --step it does what the record of the upgrade asks for now, as kubeadm's does. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { lockMachine, machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { liveSupervisors } from '#supervisor/only.ts';
import { servicesAfter, type MachineStep, type MachineUpgrade } from '#upgrade/machine-step.ts';
import { UpgradeRecord, type UpgradeState } from '#upgrade/state.ts';
import { connectCluster } from '../doctor/connect.ts';
import { ensureSupervised, isSupervised, pointUnits } from '../machine/supervise.ts';
import { KUBERNETES_VERSION } from '../version.ts';

export interface NodeFlags {
  readonly rootfs?: string | undefined;
  readonly step?: MachineStep | 'finish' | undefined;
  readonly emulatedVersion?: string | undefined;
  /** Directory of the program. Default: this one. */
  readonly program?: string | undefined;
}

type Print = (line: string) => void;

export async function runUpgradeNode(flags: NodeFlags, print: Print): Promise<void> {
  const paths = machinePaths({ rootfs: flags.rootfs });
  const machine = machineFile(paths);
  if (!machine.exists() || machine.read().role === undefined)
    throw new UserError('This machine is of no cluster of init or join.');
  const { step, emulatedVersion } = flags.step ? flags : await askedStep(paths, machine.read());
  if (step === undefined) return print('[upgrade] There is nothing to do on this machine now.');
  const lock = lockMachine(paths);
  try {
    if (step === 'finish') return finish(paths, print);
    await changeMachine({ step, emulated: emulatedVersion, program: flags.program }, { paths, print });
  } finally {
    lock.release();
  }
}

interface Change {
  readonly step: MachineStep;
  readonly emulated?: string | undefined;
  readonly program?: string | undefined;
}

async function changeMachine(
  { step, emulated, program }: Change,
  { paths, print }: { readonly paths: MachinePaths; readonly print: Print },
): Promise<void> {
  const machine = machineFile(paths);
  const record = machine.read();
  const upgrade = upgradeFor({ step, program }, { paths, record });
  if (!upgrade) return print('[upgrade] This machine was not changed: there is nothing to take back.');
  // Written first: whatever happens next, the way back is known.
  writeUpgrade(paths, { ...upgrade, step });
  const services = servicesAfter({ step, services: record.services, upgrade, emulated });
  machine.update((current) => ({ ...current, services }));
  // Until finish units name the old program: a machine that starts meanwhile has the supervisor that it had.
  const { supervisor } = upgrade;
  if (isSupervised(paths)) await ensureSupervised(paths, { program: supervisor });
  if (step === 'rollback' && supervisor !== undefined) pointUnits(paths, supervisor);
  for (const name of changedNames(record.services, services)) print(`[upgrade] ${name}: ${step}`);
}

function changedNames(before: readonly ServiceSpec[], after: readonly ServiceSpec[]): string[] {
  const names = new Set([...before, ...after].map(({ name }) => name));
  const find = (all: readonly ServiceSpec[], name: string): string =>
    JSON.stringify(all.find((one) => one.name === name));
  return [...names].filter((name) => find(before, name) !== find(after, name));
}

/** The upgrade that is under way on this machine, or a new one. Undefined: there is none to take back. */
function upgradeFor(
  { step, program = PROGRAM_DIR }: Pick<Change, 'step' | 'program'>,
  { paths, record }: { readonly paths: MachinePaths; readonly record: MachineRecord },
): MachineUpgrade | undefined {
  const known = readUpgrade(paths);
  if (step === 'rollback' || step === 'rollback-node' || step === 'hold') return known;
  const checkout = resolve(program);
  if (!existsSync(join(checkout, 'src/cli/main.ts')))
    throw new UserError(`${checkout} is no program of Capstan: it has no src/cli/main.ts.`);
  const isSame = known?.checkout === checkout && known.step !== 'rollback';
  if (isSame) return known;
  const current = checkoutOfSupervisor(paths);
  const before = record.services.map((service) => ({ checkout: current, ...service }));
  return { format: 1, checkout, version: KUBERNETES_VERSION, before, supervisor: current, step };
}

/** Directory of the program that runs the services now. Undefined: no supervisor runs, and its unit decides. */
function checkoutOfSupervisor(paths: MachinePaths): string | undefined {
  const [supervisor] = liveSupervisors(paths);
  if (!supervisor) return undefined;
  const ending = '/src/cli/main.ts';
  const words = readFileSync(`/proc/${supervisor.pid}/cmdline`, 'utf8').split('\0');
  return words.find((word) => word.endsWith(ending))?.slice(0, -ending.length);
}

function fileOf({ capstan }: MachinePaths): string {
  return join(capstan, 'upgrade.json');
}

export function readUpgrade(paths: MachinePaths): MachineUpgrade | undefined {
  const path = fileOf(paths);
  if (!existsSync(path)) return undefined;
  try {
    const upgrade = JSON.parse(readFileSync(path, 'utf8')) as MachineUpgrade;
    if (upgrade.format === 1 && Array.isArray(upgrade.before)) return upgrade;
  } catch {
    // Said below.
  }
  throw new UserError(
    `${path} is damaged: it was left as it is; restore it from a copy, or remove it to give up the way back.`,
  );
}

export function writeUpgrade(paths: MachinePaths, upgrade: MachineUpgrade): void {
  const path = fileOf(paths);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileAtomic(path, `${JSON.stringify(upgrade, undefined, 2)}\n`);
}

function finish(paths: MachinePaths, print: Print): void {
  const machine = machineFile(paths);
  // Of components that the upgrade did not move, and of those to come.
  if (machine.read().staticPods)
    machine.update((record) => ({
      ...record,
      staticPods: { checkout: PROGRAM_DIR, node: process.execPath },
    }));
  pointUnits(paths);
  print('[upgrade] At the next start of this machine the new program supervises its services.');
}

/** What the record of the upgrade asks this machine for. A worker cannot read it: its agent is next. */
async function askedStep(
  paths: MachinePaths,
  { role }: MachineRecord,
): Promise<Pick<NodeFlags, 'step' | 'emulatedVersion'>> {
  if (role !== 'control-plane') return { step: 'node' };
  const cluster = connectCluster({ rootfs: paths.rootfs });
  try {
    const state = await new UpgradeRecord(cluster.api, Date.now).load();
    if (!state)
      throw new UserError('No upgrade was begun: on one control plane, run capstan upgrade apply first.');
    return stepOf(state);
  } finally {
    await cluster.close();
  }
}

function stepOf({ phase, emulated, to }: UpgradeState): Pick<NodeFlags, 'step' | 'emulatedVersion'> {
  switch (phase) {
    case 'control-planes':
    case 'soak':
      return {
        step: 'control-plane',
        ...(to.startsWith(`v${emulated}.`) ? {} : { emulatedVersion: emulated }),
      };
    case 'raise':
      return { step: 'raise' };
    case 'nodes':
    case 'migrate':
      return { step: 'node' };
    case 'finish':
    case 'done':
      return { step: 'finish' };
    case 'rollback':
    case 'rolled-back':
      return { step: 'rollback' };
    case 'backup':
      return {};
  }
}
