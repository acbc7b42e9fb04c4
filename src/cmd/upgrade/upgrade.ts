/** `capstan upgrade plan|apply|rollback|status`, on a control plane: their flags, and the cluster, machines and backups around the upgrade's decisions. */
import { inspectMembers } from '#deploy/etcd/members.ts';
import { UserError } from '#deploy/data-dir.ts';
import { machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import { realClock } from '#stdx/clock.ts';
import { applyUpgrade } from '#upgrade/apply.ts';
import { Gates } from '#upgrade/gates.ts';
import { observeMachines } from '#upgrade/observe.ts';
import { makePlan, renderPlan, type UpgradePlan } from '#upgrade/plan.ts';
import { rollBackUpgrade } from '#upgrade/rollback.ts';
import { UpgradeRecord, type UpgradeState } from '#upgrade/state.ts';
import type { MachineDriver, UpgradeTools } from '#upgrade/tools.ts';
import { connectCluster, type ClusterConnection, type ConnectFlags } from '../doctor/connect.ts';
import { factsOfMachine } from '../doctor/machine-facts.ts';
import { connectEtcd } from '../etcd/connect.ts';
import { parseDurationMs } from '../flags/values.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { localDriver, manualDriver, sshDriver, type RemoteDriver } from './drivers.ts';
import { rollbackJournal } from './journal.ts';
import { backupToRestore } from './restore.ts';

export interface PlanFlags extends ConnectFlags {
  readonly json?: boolean;
}

export interface ChangeFlags {
  readonly rootfs?: string | undefined;
  readonly inventory?: string;
  readonly sshConfig?: string;
  readonly yes?: boolean;
}

export interface ApplyFlags extends ChangeFlags {
  /** False: --no-drain. */
  readonly drain?: boolean;
  readonly backup?: boolean;
  readonly force?: boolean;
  readonly soak?: string;
  readonly drainTimeout?: string;
}

export interface Call {
  print(line: string): void;
  confirm(what: string): Promise<void>;
  /** For tests: in place of ssh. */
  readonly others?: MachineDriver | undefined;
  /** For tests: called at the start of each step. */
  readonly before?: ((step: string) => void) | undefined;
  readonly extraGate?: (() => Promise<string | undefined>) | undefined;
  readonly gatePatienceMs?: number | undefined;
  /** For tests: a directory of the new program that is not this one. */
  readonly program?: string | undefined;
}

const SOAK = '60s';
const DRAIN_TIMEOUT = '5m';
const MACHINE_TIMEOUT_MS = 5 * 60_000;
/** Without ssh an administrator has to come to it. */
const MANUAL_TIMEOUT_MS = 24 * 3_600_000;

/** Its exit code: 0 nothing is in the way or to do, 1 something is in the way, 2 there are warnings. */
export async function runUpgradePlan(flags: PlanFlags, { print }: Pick<Call, 'print'>): Promise<number> {
  const cluster = connectCluster(flags);
  try {
    const plan = await planOf(cluster);
    if (flags.json) print(JSON.stringify(plan, undefined, 2));
    else for (const line of renderPlan(plan)) print(line);
    if (plan.upToDate) return 0;
    const found = plan.checks.flatMap(({ findings }) => findings);
    return plan.blocking > 0 ? 1 : found.some(({ severity }) => severity === 'warning') ? 2 : 0;
  } finally {
    await cluster.close();
  }
}

async function planOf({ api, at, paths }: ClusterConnection): Promise<UpgradePlan> {
  return makePlan({
    api,
    machines: await observeMachines(api, at),
    target: KUBERNETES_VERSION,
    machine: factsOfMachine(paths),
    nowMs: Date.now(),
  });
}

/** Its exit code: 0 done, 1 stopped or taken back. */
export async function runUpgradeApply(flags: ApplyFlags, call: Call): Promise<number> {
  const soakMs = parseDurationMs('--soak', flags.soak ?? SOAK)!;
  const drainTimeoutMs = parseDurationMs('--drain-timeout', flags.drainTimeout ?? DRAIN_TIMEOUT)!;
  return onControlPlane(flags, call, async ({ cluster, tools, machine, isManual }) => {
    if (rollbackJournal(cluster.paths).read())
      throw new UserError(
        'A rollback was begun on this machine and has not ended: run `capstan upgrade rollback` again first.',
      );
    if (!(await begin(flags, call, { cluster, record: tools.record }))) return 0;
    const phase = await applyUpgrade({
      ...tools,
      backup: flags.backup === false ? undefined : () => backUp(flags, call),
      leader: () => etcdLeader(flags, machine),
      drain: flags.drain ?? true,
      drainTimeoutMs,
      soakMs,
      machineTimeoutMs: isManual ? MANUAL_TIMEOUT_MS : MACHINE_TIMEOUT_MS,
      before: call.before,
    });
    return conclude(phase, tools.record.state, call);
  });
}

function conclude(
  phase: UpgradeState['phase'],
  { from, to, problem }: UpgradeState,
  { print }: Call,
): number {
  if (phase === 'done') {
    print(`Every machine runs ${to}.`);
    return 0;
  }
  print(
    phase === 'rolled-back'
      ? `The upgrade was taken back: every machine runs ${from}. Why: ${problem}`
      : `The upgrade stopped in phase ${phase}: ${problem}. Mend it and run \`capstan upgrade apply\` again, or go back: capstan upgrade rollback`,
  );
  return 1;
}

/** False: there is nothing to upgrade. An upgrade that was begun is gone on with. */
async function begin(
  flags: ApplyFlags,
  { print, confirm }: Call,
  { cluster, record }: { readonly cluster: ClusterConnection; readonly record: UpgradeRecord },
): Promise<boolean> {
  const state = await record.load();
  if (state && state.phase !== 'done' && state.phase !== 'rolled-back') {
    if (state.to !== KUBERNETES_VERSION)
      throw new UserError(
        `An upgrade to ${state.to} was begun and has not ended (phase ${state.phase}): go on with that program, or take it back with capstan upgrade rollback.`,
      );
    print(`Going on with the upgrade from ${state.from} to ${state.to}, phase ${state.phase}.`);
    return true;
  }
  const plan = await planOf(cluster);
  for (const line of renderPlan(plan)) print(line);
  if (plan.upToDate) return false;
  if (plan.blocking > 0 && !flags.force)
    throw new UserError('Mend what is in the way first, or go past it with --force.');
  if (!flags.yes) await confirm(`upgrade ${plan.machines.length} machines from ${plan.from} to ${plan.to}`);
  await record.begin({ from: plan.from, to: plan.to, emulated: plan.emulated });
  return true;
}

async function backUp({ rootfs }: ApplyFlags, { print }: Call): Promise<string> {
  const { createBackup } = await import('../backup/create.ts');
  const { name } = await createBackup({ rootfs }, (line) => print(`[backup] ${line}`));
  return name;
}

/** Undefined: etcd is external, or it does not say. */
async function etcdLeader({ rootfs }: ApplyFlags, { services }: MachineRecord): Promise<string | undefined> {
  if (!services.some(({ name }) => name === 'etcd')) return undefined;
  const membership = connectEtcd(rootfs === undefined ? {} : { rootfs });
  try {
    const reports = await inspectMembers(membership);
    const leader = reports.find(({ status }) => status !== undefined)?.status?.leaderId;
    return reports.find(({ member }) => member.id === leader)?.member.name;
  } finally {
    membership.close();
  }
}

/** Its exit code. */
export async function runUpgradeRollback(flags: ChangeFlags, call: Call): Promise<number> {
  return onControlPlane(flags, call, async ({ cluster, tools, machine }) => {
    const journal = rollbackJournal(cluster.paths);
    const isUnderWay = journal.read() !== undefined;
    if (!isUnderWay && !(await tools.record.load()))
      throw new UserError(
        'There is no upgrade to take back: `capstan upgrade status` shows what each machine runs.',
      );
    await rollBackUpgrade({
      ...tools,
      journal,
      confirmed: flags.yes ?? false,
      backup: (name) =>
        Promise.resolve(
          backupToRestore(name, { rootfs: cluster.paths.rootfs, record: machine, print: call.print }),
        ),
      before: call.before,
    });
    return 0;
  });
}

export interface Around {
  readonly cluster: ClusterConnection;
  readonly tools: UpgradeTools;
  readonly machine: MachineRecord;
  /** Other machines are changed by an administrator. */
  readonly isManual: boolean;
}

export async function onControlPlane(
  flags: ChangeFlags,
  call: Call,
  work: (around: Around) => Promise<number>,
): Promise<number> {
  const { print, others, extraGate, gatePatienceMs, program } = call;
  const cluster = connectCluster({ rootfs: flags.rootfs });
  let remote: RemoteDriver | undefined;
  let gates: Gates | undefined;
  try {
    const machine = machineFile(cluster.paths).read();
    if (machine.role !== 'control-plane') throw new UserError('Run it on a control plane.');
    if (flags.inventory !== undefined) remote = sshDriver(flags.inventory, { sshConfig: flags.sshConfig });
    const { nodeName } = machine;
    const { rootfs } = cluster.paths;
    const { api, at } = cluster;
    gates = new Gates({ api, at, clock: realClock, extra: extraGate, patienceMs: gatePatienceMs });
    const tools: UpgradeTools = {
      api,
      at,
      clock: realClock,
      record: new UpgradeRecord(api, Date.now),
      gates,
      driver: localDriver(
        { nodeName, rootfs, program, print },
        others ?? remote ?? manualDriver(cluster, print),
      ),
      print,
    };
    return await work({ cluster, tools, machine, isManual: !remote && !others });
  } finally {
    await gates?.close();
    await remote?.close();
    await cluster.close();
  }
}

/** Its exit code: 0 no upgrade is under way, 1 one stopped with a problem, 2 one is under way. */
export async function runUpgradeStatus(flags: PlanFlags, { print }: Pick<Call, 'print'>): Promise<number> {
  const cluster = connectCluster(flags);
  try {
    const state = await new UpgradeRecord(cluster.api, Date.now).load();
    const machines = await observeMachines(cluster.api, cluster.at);
    if (flags.json) print(JSON.stringify({ upgrade: state, machines }, undefined, 2));
    else for (const line of renderStatus(state, machines)) print(line);
    if (!state || state.phase === 'done' || state.phase === 'rolled-back') return 0;
    return state.problem === undefined ? 2 : 1;
  } finally {
    await cluster.close();
  }
}

function renderStatus(
  state: UpgradeState | undefined,
  machines: Awaited<ReturnType<typeof observeMachines>>,
): string[] {
  const width = Math.max(...machines.map(({ name }) => name.length));
  return [
    ...(state
      ? [
          `Upgrade from ${state.from} to ${state.to}: ${state.phase}, since ${state.updatedAt}`,
          ...(state.backup ? [`Backup: ${state.backup}`] : []),
          ...(state.problem ? [`Problem: ${state.problem}`] : []),
        ]
      : ['No upgrade was begun.']),
    ...machines.map(
      ({ name, role, api, kubelet, ready, unschedulable }) =>
        `  ${name.padEnd(width)}  ${role.padEnd(13)}  ${api ? `API server ${api.gitVersion} as ${api.emulated}` : role === 'worker' ? '-' : 'API server does not answer'}  node agent ${kubelet || '-'}${ready ? '' : ', not Ready'}${unschedulable ? ', cordoned' : ''}`,
    ),
  ];
}
