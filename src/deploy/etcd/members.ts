/**
 * Administration of the cluster's etcd members: lists each with its own status, and changes membership only where the remaining members keep their quorum.
 */
import {
  isMembershipError,
  type EtcdMember,
  type EtcdMembership,
  type EtcdMemberStatus,
} from '#machinery/etcd-membership.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';

export interface MemberReport {
  readonly member: EtcdMember;
  /** Its status; undefined: it does not respond. */
  readonly status?: EtcdMemberStatus | undefined;
  /** Why it is not healthy. */
  readonly problem?: string | undefined;
}

/** The responding member's own view, which needs no quorum. */
export async function inspectMembers(membership: EtcdMembership): Promise<readonly MemberReport[]> {
  const members = await asUser(() => membership.list({ local: true }));
  return Promise.all(members.map((member) => reportOf(membership, member)));
}

async function reportOf(membership: EtcdMembership, member: EtcdMember): Promise<MemberReport> {
  if (member.name === '') return { member, problem: 'never started' };
  const problems: string[] = [];
  for (const url of member.clientURLs) {
    try {
      const status = await membership.status(url);
      const [error] = status.errors;
      return { member, status, problem: error ?? (status.leaderId === '' ? 'no leader' : undefined) };
    } catch (error) {
      problems.push(errorMessage(error));
    }
  }
  return { member, problem: problems[0] ?? 'it names no client URL' };
}

/** By name or ID. UserError where there is none, or two. */
export function findMember(members: readonly EtcdMember[], word: string): EtcdMember {
  const found = members.filter(({ id, name }) => id === word || (word !== '' && name === word));
  if (found.length === 1) return found[0]!;
  const known = members.map(({ id, name }) => `${name || 'unstarted'} (${id})`).join(', ');
  throw new UserError(
    found.length === 0
      ? `etcd has no member "${word}"; it has ${known}.`
      : `etcd has ${found.length} members "${word}": give the ID of one of ${known}.`,
  );
}

interface Quorum {
  readonly voters: number;
  readonly needed: number;
  readonly healthy: number;
}

/** Of the voting members that would be left without this one. */
export function quorumWithout(reports: readonly MemberReport[], id: string): Quorum {
  const voters = reports.filter(({ member }) => !member.isLearner && member.id !== id);
  return {
    voters: voters.length,
    needed: Math.floor(voters.length / 2) + 1,
    healthy: voters.filter(({ problem }) => problem === undefined).length,
  };
}

/** UserError with the consequences where the remaining members would have no quorum. */
export function requireQuorumWithout(reports: readonly MemberReport[], { id, name }: EtcdMember): void {
  const own = reports.find(({ member }) => member.id === id);
  if (own?.member.isLearner) return;
  const { voters, needed, healthy } = quorumWithout(reports, id);
  if (voters === 0)
    throw new UserError(
      `${name || id} is the last member of etcd: without it all data of the cluster is gone. Remove the whole cluster with \`capstan reset --force\`.`,
    );
  if (healthy < needed)
    throw new UserError(
      `Without ${name || id} etcd has ${voters} voting members of which ${healthy} ${healthy === 1 ? 'is' : 'are'} healthy, and needs ${needed}: nothing could be written to the cluster any more. Start the others first (capstan etcd status shows them). If they are gone for good: capstan etcd recover.`,
    );
}

interface RemoveMember {
  readonly membership: EtcdMembership;
  readonly member: EtcdMember;
  /** Though the others have no quorum then; etcd itself may still refuse. */
  readonly force: boolean;
}

/** Moves leadership first, which avoids an election. Does nothing if the member is gone. */
export async function removeMember({ membership, member, force }: RemoveMember): Promise<void> {
  const reports = await inspectMembers(membership);
  const own = reports.find((report) => report.member.id === member.id);
  if (!own) return;
  if (!force) requireQuorumWithout(reports, member);
  await giveLeadershipAway(membership, { own, reports });
  await asUser(() => membership.remove(member.id));
}

async function giveLeadershipAway(
  membership: EtcdMembership,
  { own, reports }: { readonly own: MemberReport; readonly reports: readonly MemberReport[] },
): Promise<void> {
  const { status, member } = own;
  const [url] = member.clientURLs;
  if (!url || !status || status.leaderId !== member.id) return;
  const next = reports.find(
    (report) => report !== own && !report.member.isLearner && report.problem === undefined,
  );
  // Not moved is no harm: the others elect one.
  if (next) await membership.moveLeader(url, next.member.id).catch(() => {});
}

/** Learners that were never started: a machine that died while it joined left them. */
export function neverStarted(members: readonly EtcdMember[]): readonly EtcdMember[] {
  return members.filter(({ name, isLearner }) => name === '' && isLearner);
}

/** One after another, the leader last; stops at the first that is not healthy, so that never two are away. */
export async function defragmentAll(
  membership: EtcdMembership,
  { print }: { print(line: string): void },
): Promise<void> {
  const reports = await inspectMembers(membership);
  const sick = reports.find(({ problem }) => problem !== undefined);
  if (sick)
    throw new UserError(
      `${sick.member.name || sick.member.id} is not healthy (${sick.problem}): a member answers nothing while it is defragmented, so all others must be there.`,
    );
  const isLeader = ({ member, status }: MemberReport): number => (status?.leaderId === member.id ? 1 : 0);
  for (const { member, status } of reports.toSorted((a, b) => isLeader(a) - isLeader(b))) {
    const url = member.clientURLs[0] ?? '';
    await asUser(() => membership.defragment(url));
    const { dbSizeBytes } = await asUser(() => membership.status(url));
    print(`${member.name}: ${status?.dbSizeBytes ?? 0} bytes before, ${dbSizeBytes} after`);
  }
}

/** Membership errors as sentences for the user. */
export async function asUser<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isMembershipError(error) ? new UserError(`${error.message}.`, error) : error;
  }
}
