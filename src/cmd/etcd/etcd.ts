/** `capstan etcd …`: what its subcommands do. Printing is by lines, so that tests can read them. */
import { UserError } from '#deploy/data-dir.ts';
import { alignColumns } from '#stdx/columns.ts';
import {
  asUser,
  defragmentAll,
  findMember,
  inspectMembers,
  neverStarted,
  removeMember,
  requireQuorumWithout,
  type MemberReport,
} from '#deploy/etcd/members.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { recoverEtcd, requireBestSurvivor } from '#deploy/etcd/recover.ts';
import { clientURL } from '#deploy/machine/etcd-service.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile } from '#deploy/machine/record.ts';
import { realClock } from '#stdx/clock.ts';
import { ensureSupervised } from '../machine/supervise.ts';
import { connectEtcd, type EtcdFlags } from './connect.ts';

export interface Output {
  print(line: string): void;
  /** Asks for confirmation; a UserError unless it is given. */
  confirm(what: string): Promise<void>;
}

export async function listEtcdMembers(
  flags: EtcdFlags & { readonly prune?: boolean; readonly output?: 'json' | 'table' },
  { print, confirm }: Output,
): Promise<void> {
  await within(flags, async (membership) => {
    if (flags.prune) await prune(membership, { print, confirm });
    const members = await asUser(() => membership.list()).catch(() =>
      asUser(() => membership.list({ local: true })),
    );
    if (flags.output === 'json') return print(JSON.stringify({ members }, undefined, 2));
    alignColumns([
      ['ID', 'NAME', 'STATE', 'PEER URLS', 'CLIENT URLS'],
      ...members.map(({ id, name, isLearner, peerURLs, clientURLs }) => [
        id,
        name || '-',
        stateOf({ name, isLearner }),
        peerURLs.join(','),
        clientURLs.join(',') || '-',
      ]),
    ]).forEach((line) => print(line));
  });
}

function stateOf({ name, isLearner }: { readonly name: string; readonly isLearner: boolean }): string {
  return `${isLearner ? 'learner' : 'voting'}${name === '' ? ', never started' : ''}`;
}

/** A machine that is joining at this moment fails, and its next join starts again. */
async function prune(membership: EtcdMembership, { print, confirm }: Output): Promise<void> {
  const dead = neverStarted(await asUser(() => membership.list()));
  if (dead.length === 0) return print('No learner is left that was never started.');
  const names = dead.map(({ id, peerURLs }) => `${id} (${peerURLs.join(', ')})`).join(', ');
  await confirm(`the learner ${names}, unless its machine is joining right now`);
  for (const { id } of dead) {
    await asUser(() => membership.remove(id));
    print(`removed the learner ${id}`);
  }
}

/** Exit code 1 (a UserError) where a member is not healthy, after the table. */
export async function showEtcdStatus(
  flags: EtcdFlags & { readonly output?: 'json' | 'table' },
  { print }: Pick<Output, 'print'>,
): Promise<void> {
  await within(flags, async (membership) => {
    const reports = await inspectMembers(membership);
    const alarms = await asUser(() => membership.alarms()).catch(() => []);
    if (flags.output === 'json') print(JSON.stringify({ members: reports, alarms }, undefined, 2));
    else {
      alignColumns([
        ['NAME', 'ID', 'VERSION', 'DB SIZE', 'IN USE', 'ROLE', 'TERM', 'REVISION', 'APPLIED', 'PROBLEM'],
        ...reports.map(statusRow),
      ]).forEach((line) => print(line));
      for (const { type, memberId } of alarms) print(`alarm ${type} of member ${memberId}`);
    }
    const sick = reports.filter(({ problem }) => problem !== undefined);
    if (sick.length > 0)
      throw new UserError(`${sick.length} of ${reports.length} members of etcd are not healthy.`);
  });
}

function statusRow({ member, status, problem }: MemberReport): string[] {
  const role = member.isLearner ? 'learner' : status?.leaderId === member.id ? 'leader' : 'follower';
  const figures = status
    ? [status.version, megabytes(status.dbSizeBytes), megabytes(status.dbSizeInUseBytes)]
    : ['-', '-', '-'];
  const positions = status
    ? [status.raftTerm, status.revision, status.raftAppliedIndex].map(String)
    : ['-', '-', '-'];
  return [member.name || '-', member.id, ...figures, status ? role : '-', ...positions, problem ?? '-'];
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** From the first endpoint that responds: a snapshot is of one member. */
export async function saveEtcdSnapshot(
  flags: EtcdFlags & { readonly file: string },
  { print }: Pick<Output, 'print'>,
): Promise<void> {
  await within(flags, async (membership) => {
    const reports = await inspectMembers(membership);
    const source = reports.find(({ problem, member }) => problem === undefined && !member.isLearner);
    const url = source?.member.clientURLs[0];
    if (!source || url === undefined)
      throw new UserError('No member of etcd is healthy: a snapshot would be of unknown age.');
    const bytes = await asUser(() => membership.snapshot(url, flags.file));
    print(
      `Snapshot of ${source.member.name} at revision ${source.status?.revision ?? 0} or later saved to ${flags.file} (${bytes} bytes, checksum verified)`,
    );
  });
}

export async function defragmentEtcd(flags: EtcdFlags, { print }: Pick<Output, 'print'>): Promise<void> {
  await within(flags, (membership) => defragmentAll(membership, { print }));
}

export async function promoteEtcdMember(
  flags: EtcdFlags & { readonly member: string },
  { print }: Pick<Output, 'print'>,
): Promise<void> {
  await within(flags, async (membership) => {
    const member = findMember(await asUser(() => membership.list()), flags.member);
    await asUser(() => membership.promote(member.id));
    print(`${member.name || member.id} is a voting member.`);
  });
}

export async function removeEtcdMember(
  flags: EtcdFlags & { readonly member: string; readonly force?: boolean },
  { print, confirm }: Output,
): Promise<void> {
  await within(flags, async (membership) => {
    const reports = await inspectMembers(membership);
    const member = findMember(
      reports.map((report) => report.member),
      flags.member,
    );
    if (!flags.force) requireQuorumWithout(reports, member);
    await confirm(`the member ${member.name || member.id} from etcd; its machine's data are of no use then`);
    await removeMember({ membership, member, force: flags.force ?? false });
    print(`removed ${member.name || member.id} (${member.id})`);
  });
}

/** Permanent loss of quorum. Run it on the machine with the data to keep. */
export async function recoverEtcdHere(
  flags: Pick<EtcdFlags, 'rootfs' | 'certDir'> & { readonly force?: boolean },
  { print, confirm }: Output,
): Promise<void> {
  const paths = machinePaths({ rootfs: flags.rootfs, certificatesDir: flags.certDir });
  const own = clientURL('127.0.0.1');
  const membership = connectEtcd({ ...flags, endpoints: [own] });
  const lock = lockMachine(paths);
  const recovery = {
    machine: machineFile(paths),
    paths,
    membership,
    clientURL: own,
    clock: realClock,
    follow: () => ensureSupervised(paths),
    print,
  };
  try {
    if (!flags.force) await requireBestSurvivor(recovery);
    await confirm(
      'every other member of etcd, and with them writes that this machine does not hold: the last ones that were acknowledged may be among them, and what controllers and nodes did by them stays as it is',
    );
    const copy = await recoverEtcd(recovery);
    for (const line of recovered(copy)) print(line);
  } finally {
    membership.close();
    lock.release();
  }
}

function recovered(copy: string): readonly string[] {
  return [
    '',
    'etcd of this machine is the only member now, and the API server runs on its data.',
    `A copy of the data as they were is in ${copy}; remove it when all is well.`,
    '',
    'Every other control plane and witness must not come back with its old data. On each of them:',
    '',
    '  capstan reset --force --skip-phases remove-etcd-member',
    '',
    'and then join it again; `capstan init phase upload-certs --upload-certs` and `capstan token create --print-join-command` here print what it needs.',
  ];
}

async function within(flags: EtcdFlags, work: (membership: EtcdMembership) => Promise<void>): Promise<void> {
  const membership = connectEtcd(flags);
  try {
    await work(membership);
  } finally {
    membership.close();
  }
}
