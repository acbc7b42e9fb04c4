/**
 * Recovers from a permanent loss of quorum: creates a cluster of one member from the best survivor's data. Each step is recorded, so that it can be resumed.
 *
 *   stop API server and etcd ─► copy the data ─► etcd once with --force-new-cluster ─► etcd as usual ─► API server
 *
 * Its cost: writes that only the lost members have. One survivor of three may lack the last acknowledged ones.
 */
import { cp, rename, rm } from 'node:fs/promises';
import { isMembershipError, type EtcdMembership } from '#machinery/etcd-membership.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { UserError } from '../data-dir.ts';
import type { MachinePaths } from '../machine/paths.ts';
import type { MachineFile } from '../machine/record.ts';
import { withService, type ServiceSpec } from '../machine/services.ts';
import { inspectMembers, type MemberReport } from './members.ts';

const FORCE = '--force-new-cluster=true';
const STOPPED = ['etcd', 'apiserver'];
/** For etcd to have read its data. */
const START_TIMEOUT_MS = 5 * 60_000;
const LOOK_EVERY_MS = 200;

interface RecoverEtcd {
  readonly machine: MachineFile;
  readonly paths: Pick<MachinePaths, 'etcdData'>;
  /** Of this machine's member. */
  readonly membership: EtcdMembership;
  readonly clientURL: string;
  readonly clock: Clock;
  follow(): Promise<void>;
  print(line: string): void;
}

/** UserError where this is not the machine to do it on, or there is nothing to recover. */
export async function requireBestSurvivor({ machine, membership, clientURL }: RecoverEtcd): Promise<void> {
  const { etcd, recovering } = machine.read();
  if (!etcd) throw new UserError('This machine has no member of etcd: run it on a control plane or witness.');
  if (recovering) return;
  const own = await membership.status(clientURL).catch((error: unknown) => {
    if (!isMembershipError(error)) throw error;
    throw new UserError(
      `etcd of this machine does not answer, so it cannot be compared with others (${error.message}). Start it first; or, where it is the only one that is left: --force`,
      error,
    );
  });
  if (own.leaderId !== '')
    throw new UserError(
      'etcd has a leader, so its quorum is not lost: there is nothing to recover (capstan etcd status; a single lost member is removed with capstan etcd remove).',
    );
  if (own.isLearner)
    throw new UserError(
      'The member of this machine is a learner: recover on a voting member, which has all data.',
    );
  const reports = await inspectMembers(membership);
  const better = reports.find((report) => isAhead(report, own));
  if (better)
    throw new UserError(
      `${better.member.name} has more of the data: it is at revision ${better.status?.revision} (raft ${better.status?.raftAppliedIndex}), and this machine at ${own.revision} (raft ${own.raftAppliedIndex}). Run it there; where that is not possible: --force`,
    );
}

function isAhead(
  { member, status }: MemberReport,
  own: { readonly id: string; readonly revision: number; readonly raftAppliedIndex: number },
): boolean {
  if (!status || member.isLearner || status.id === own.id) return false;
  return (
    status.revision > own.revision ||
    (status.revision === own.revision && status.raftAppliedIndex > own.raftAppliedIndex)
  );
}

/** Returns the path of the copied data. */
export async function recoverEtcd(options: RecoverEtcd): Promise<string> {
  const { machine, print, follow } = options;
  const copy = await setAside(options);
  const spec = machine.read().recovering?.services.find(({ name }) => name === 'etcd');
  const { etcd } = machine.read();
  if (!spec || !etcd) throw new UserError('The record of this machine has no etcd to start.');
  print('[recover] Starting etcd as a cluster of its own');
  run(
    machine,
    withArgs(spec, (args) => [...args, FORCE]),
  );
  await follow();
  await untilAlone(options);
  print('[recover] Starting etcd and the API server as usual');
  const usual = withArgs(spec, (args) => [
    ...args.filter((arg) => !arg.startsWith('--initial-cluster=')),
    `--initial-cluster=${etcd.name}=${etcd.peerURL}`,
  ]);
  run(machine, usual);
  await follow();
  await untilAlone(options);
  machine.update(({ recovering, ...record }) => ({
    ...record,
    services: (recovering?.services ?? [])
      .filter(({ name }) => name !== 'etcd')
      .reduce<readonly ServiceSpec[]>(withService, record.services),
  }));
  await follow();
  return copy;
}

async function setAside({ machine, paths, clock, print, follow }: RecoverEtcd): Promise<string> {
  const before = machine.read();
  const { copy, services } = before.recovering ?? {
    copy: `${paths.etcdData}-before-recover-${formatTime(clock.now()).replaceAll(/[:-]/g, '')}`,
    services: before.services.filter(({ name }) => STOPPED.includes(name)),
  };
  print('[recover] Stopping the API server and etcd of this machine');
  machine.update((record) => ({
    ...record,
    recovering: { copy, services },
    services: record.services.filter(({ name }) => !STOPPED.includes(name)),
  }));
  await follow();
  if (before.recovering?.copied) return copy;
  print(`[recover] Copying the data to "${copy}"`);
  await rm(`${copy}.part`, { recursive: true, force: true });
  await cp(paths.etcdData, `${copy}.part`, { recursive: true, preserveTimestamps: true });
  await rm(copy, { recursive: true, force: true });
  await rename(`${copy}.part`, copy);
  machine.update((record) => ({ ...record, recovering: { copy, services, copied: true } }));
  return copy;
}

function run(machine: MachineFile, etcd: ServiceSpec): void {
  machine.update((record) => ({ ...record, services: withService(record.services, etcd) }));
}

function withArgs(spec: ServiceSpec, change: (args: readonly string[]) => readonly string[]): ServiceSpec {
  if (!('program' in spec.run)) return spec;
  return { ...spec, run: { ...spec.run, args: change(spec.run.args) } };
}

async function untilAlone({ membership, clientURL, clock }: RecoverEtcd): Promise<void> {
  const begin = clock.monotonic();
  for (;;) {
    try {
      const { leaderId, id } = await membership.status(clientURL);
      const members = await membership.list({ local: true });
      if (leaderId === id && members.length === 1) return;
    } catch (error) {
      if (!isMembershipError(error)) throw error;
    }
    if (clock.monotonic() - begin > START_TIMEOUT_MS)
      throw new UserError(
        `etcd did not come up as a cluster of its own within ${START_TIMEOUT_MS / 1000} s: its log is among the logs of this machine. Run this again to go on.`,
      );
    await clock.sleep(LOOK_EVERY_MS);
  }
}
