/**
 * `capstan upgrade rollback`. Before the raise only the programs; after it also the backup that was made first, into etcd while no API server runs. No API
 * can be asked for the record meanwhile, so a journal on this machine says what a run that was killed goes on with.
 *
 *   report ─► journal ─► workers: rollback ─► control planes: hold ─► restore ─► control planes: rollback ─► journal removed
 */
import { UserError } from '#deploy/data-dir.ts';
import type { ObservedMachine } from './observe.ts';
import { retrying } from './retry.ts';
import type { UpgradeState } from './state.ts';
import {
  observed,
  targetOf,
  uncordonNode,
  untilObserved,
  update,
  type ApplyOptions,
  type UpgradeTools,
} from './tools.ts';

const ROLLBACK_TIMEOUT_MS = 300_000;

/** What an upgrade that was raised goes back to. */
export interface BackupToRestore {
  /** Prints what was written since, object by object; how many. */
  report(): Promise<number>;
  /** No API server writes meanwhile. May be done again. */
  restore(): Promise<void>;
}

export interface RollbackJournal {
  readonly format: 1;
  readonly state: UpgradeState;
  readonly machines: readonly ObservedMachine[];
  /** The backup is restored: what is written from now on stays. */
  readonly restored: boolean;
}

export interface RollbackOptions extends UpgradeTools {
  /** The name of the backup in the record, opened. */
  backup(name: string): Promise<BackupToRestore>;
  /** What was written since the backup may be lost. */
  readonly confirmed: boolean;
  /** On this machine's disk. Undefined in read: no rollback is under way. */
  readonly journal: {
    read(): RollbackJournal | undefined;
    write(journal: RollbackJournal): void;
    remove(): void;
  };
  readonly before?: ((step: string) => void) | undefined;
}

export async function rollBackUpgrade(options: RollbackOptions): Promise<void> {
  const { record, print, journal } = options;
  const begun = journal.read();
  if (begun) {
    print(`Going on with the way back to ${begun.state.from}.`);
    return restoreBackup(options, begun);
  }
  const { phase, from } = record.state;
  if (phase === 'rolled-back') return print('The upgrade was taken back already.');
  const machines = await observed(options);
  if (wasRaised(record.state, machines)) return rollBackRaised(options, machines);
  await update(options, { phase: 'rollback' });
  await rollBackPrograms(options);
  await update(options, { phase: 'rolled-back' });
  print(`Every machine runs ${from} again; nothing that was written is lost.`);
}

/** Also if it was lowered again, or the machine that was raised does not answer now. */
function wasRaised(state: UpgradeState, machines: readonly ObservedMachine[]): boolean {
  const isRaised = ({ api }: ObservedMachine): boolean =>
    api !== undefined &&
    api.gitVersion !== state.from &&
    api.emulated === targetOf(state) &&
    api.emulated !== state.emulated;
  return state.raised === true || machines.some(isRaised);
}

async function rollBackRaised(options: RollbackOptions, machines: readonly ObservedMachine[]): Promise<void> {
  const { backup, ...rest } = options.record.state;
  if (backup === undefined)
    throw new UserError(
      'The upgrade made no backup, so what the new version wrote cannot be taken back. Restore an older one over the cluster instead: capstan backup list, capstan backup restore.',
    );
  const opened = await options.backup(backup);
  const lost = await opened.report();
  if (!options.confirmed)
    throw new UserError(
      `${lost} objects were written since ${backup}; with --yes it is restored, and they are lost. The list above says which.`,
    );
  const begun: RollbackJournal = { format: 1, state: { backup, ...rest }, machines, restored: false };
  options.journal.write(begun);
  await restoreBackup(options, begun);
}

async function restoreBackup(options: RollbackOptions, begun: RollbackJournal): Promise<void> {
  const { record, clock, driver, print, journal } = options;
  const { state, machines } = begun;
  const { from, backup = '' } = state;
  const planes = machines.filter(({ role }) => role === 'control-plane');
  const back = async (machine: ObservedMachine): Promise<void> => {
    options.before?.(`rollback ${machine.name}`);
    print(`[rollback] ${machine.name}: the program before, ${from}`);
    await driver.change(machine, { step: 'rollback' });
  };
  if (!begun.restored) {
    // Node agents may not be newer than API servers; those of the control planes go back with hold.
    for (const machine of machines.filter(({ role, kubelet }) => role === 'worker' && kubelet !== from))
      await back(machine);
    for (const machine of planes) {
      options.before?.(`hold ${machine.name}`);
      print(`[rollback] ${machine.name}: the API server stops`);
      await driver.change(machine, { step: 'hold' });
    }
    options.before?.('restore');
    await (await options.backup(backup)).restore();
    journal.write({ ...begun, restored: true });
  }
  for (const machine of planes) await back(machine);
  options.before?.('record');
  // The restored cluster knows nothing of the upgrade: its record is of before the backup.
  await retrying(clock, () => record.load());
  await update(options, { ...state, phase: 'rollback' });
  await rollBackPrograms(options);
  await update(options, { phase: 'rolled-back' });
  journal.remove();
  print(`Every machine runs ${from} again, with the objects of ${backup}.`);
}

/** Every machine runs what it ran before the upgrade. Node agents first, which may not be newer than the API servers. */
export async function rollBackPrograms(tools: UpgradeTools & Pick<ApplyOptions, 'before'>): Promise<void> {
  const { record, driver, print } = tools;
  const { from, to } = record.state;
  const machines = await observed(tools);
  const isBehind = ({ api, kubelet, role }: ObservedMachine): boolean =>
    kubelet === to || (role === 'control-plane' && api?.gitVersion !== from);
  const order = machines.toSorted(
    (a, b) => Number(a.role === 'control-plane') - Number(b.role === 'control-plane'),
  );
  for (const machine of order.filter(isBehind)) {
    tools.before?.(`rollback ${machine.name}`);
    print(`[rollback] ${machine.name}: the program before, ${from}`);
    await driver.change(machine, { step: 'rollback' });
    await untilObserved(tools, {
      machine,
      what: `it to run ${from}`,
      timeoutMs: ROLLBACK_TIMEOUT_MS,
      isSo: ({ api, kubelet, role }) => kubelet === from && (role === 'worker' || api?.gitVersion === from),
    });
  }
  for (const name of record.state.cordoned) await uncordonNode(tools, name);
  if (record.state.cordoned.length > 0) await update(tools, { cordoned: [] });
}
