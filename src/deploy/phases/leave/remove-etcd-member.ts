/**
 * Phase remove-etcd-member: stops this machine's API server and controllers, then removes its member from etcd, before anything else is removed. Refuses to
 * go below quorum, without changing anything.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcdMember, EtcdMembership } from '#machinery/etcd-membership.ts';
import { errorMessage } from '#stdx/log.ts';
import { parseHostPort } from '../../config/endpoint.ts';
import { UserError } from '../../data-dir.ts';
import { inspectMembers, removeMember, requireQuorumWithout, type MemberReport } from '../../etcd/members.ts';
import { clientURL } from '../../machine/etcd-service.ts';
import type { MachineRecord } from '../../machine/record.ts';
import type { Phase } from '../phase.ts';
import { listServers } from './api.ts';
import type { LeaveContext } from './context.ts';

const CONTROL_PLANE = ['apiserver', 'controller-manager', 'scheduler', 'dns'];
/** For a member that came or went just now. */
const HEALTH_TIMEOUT_MS = 30_000;
const RETRY_MS = 500;

export const removeEtcdMember: Phase<LeaveContext> = {
  name: 'remove-etcd-member',
  short: 'Remove the etcd member of this machine',
  async run(context) {
    const { machine, print, dryRun } = context;
    const { etcd } = machine.read();
    if (!etcd) return;
    if (dryRun) return print(`[remove-etcd-member] Would remove the etcd member ${etcd.name}`);
    if (!hasCertificates(context))
      return print('[remove-etcd-member] This machine has no certificates of etcd: it was never a member');
    await withEtcd(context, async (membership) => {
      try {
        await leaveEtcd(context, { membership, etcd });
      } catch (error) {
        if (!context.options.bestEffort || !context.options.force) throw error;
        context.warn(
          `the etcd member of this machine could not be removed (${errorMessage(error)}): remove it on another one with capstan etcd remove ${etcd.name}`,
        );
      }
    });
  },
};

/** Phase preflight: before anything is changed, whether the others can do without this machine. */
export const preflight: Phase<LeaveContext> = {
  name: 'preflight',
  short: 'Check that the cluster can do without this machine',
  async run(context) {
    const { machine, print, options } = context;
    const { etcd } = machine.read();
    print('[preflight] Running pre-flight checks');
    if (!etcd || options.force || !hasCertificates(context)) return;
    await withEtcd(context, async (membership) => {
      const reports = await inspectMembers(membership).catch((error: unknown) => {
        throw new UserError(
          `etcd cannot be asked whether the cluster can do without this machine: ${errorMessage(error)} To go on all the same: --force`,
          error,
        );
      });
      const own = reports.map(({ member }) => member).find((member) => isOwn(member, etcd));
      if (own) requireOthers(context, { reports, own });
    });
  },
};

function tlsOf({ paths: { etcdPki } }: LeaveContext) {
  return {
    caFile: join(etcdPki, 'ca.crt'),
    certFile: join(etcdPki, 'healthcheck-client.crt'),
    keyFile: join(etcdPki, 'healthcheck-client.key'),
  };
}

/** Without them it never was a member, or has been cleaned as far. */
function hasCertificates(context: LeaveContext): boolean {
  return Object.values(tlsOf(context)).every((path) => existsSync(path));
}

async function withEtcd(
  context: LeaveContext,
  work: (membership: EtcdMembership) => Promise<void>,
): Promise<void> {
  const membership = context.program.etcd({ endpoints: endpointsOf(context), ...tlsOf(context) });
  try {
    await work(membership);
  } finally {
    membership.close();
  }
}

/** Its own first, then those beside the known API servers. */
function endpointsOf(context: LeaveContext): readonly string[] {
  const hosts = listServers(context, { own: false }).flatMap((server) => parseHostPort(server)?.host ?? []);
  return [...new Set([clientURL('127.0.0.1'), ...hosts.map(clientURL)])];
}

interface Leaving {
  readonly membership: EtcdMembership;
  readonly etcd: NonNullable<MachineRecord['etcd']>;
}

async function leaveEtcd(context: LeaveContext, { membership, etcd }: Leaving): Promise<void> {
  const { options, machine, print, program } = context;
  const reports = await inspectMembers(membership);
  const own = reports.map(({ member }) => member).find((member) => isOwn(member, etcd));
  if (!own) return print('[remove-etcd-member] This machine is no member of etcd');
  requireOthers(context, { reports, own });
  if (isLast(reports, own))
    return print('[remove-etcd-member] This is the last member of etcd: the cluster ends with it');
  const before = machine.read().services;
  machine.update((record) => ({
    ...record,
    services: record.services.filter(({ name }) => !CONTROL_PLANE.includes(name)),
  }));
  try {
    // Clients go elsewhere before etcd of this machine does.
    await program.followSupervisor();
    print(`[remove-etcd-member] Removing the etcd member ${own.name || own.id}`);
    await patiently(context, () => removeMember({ membership, member: own, force: options.force }));
  } catch (error) {
    machine.update((record) => ({ ...record, services: before }));
    await program.followSupervisor();
    throw error;
  }
  machine.update(({ etcd: _, ...record }) => ({
    ...record,
    services: record.services.filter(({ name }) => name !== 'etcd'),
  }));
  await program.followSupervisor();
}

function isOwn(member: EtcdMember, { memberID, peerURL }: Leaving['etcd']): boolean {
  return member.id === memberID || member.peerURLs.includes(peerURL);
}

function isLast(reports: readonly MemberReport[], own: EtcdMember): boolean {
  return !own.isLearner && !reports.some(({ member }) => member.id !== own.id && !member.isLearner);
}

/** UserError where the others would lose quorum, unless forced. */
function requireOthers(
  { options, machine }: LeaveContext,
  { reports, own }: { readonly reports: readonly MemberReport[]; readonly own: EtcdMember },
): void {
  if (options.force) return;
  if (isLast(reports, own))
    throw new UserError(
      `${machine.read().nodeName ?? 'this machine'} is the last control plane: without it the cluster and all its data are gone. To end the cluster: --force`,
    );
  try {
    requireQuorumWithout(reports, own);
  } catch (error) {
    throw new UserError(`${errorMessage(error)} To leave all the same: --force`, error);
  }
}

async function patiently({ clock }: LeaveContext, work: () => Promise<void>): Promise<void> {
  for (const deadline = clock.monotonic() + HEALTH_TIMEOUT_MS; ; await clock.sleep(RETRY_MS)) {
    try {
      return await work();
    } catch (error) {
      const passes = /unhealthy cluster|no leader|leader changed/.test(errorMessage(error));
      if (!passes || clock.monotonic() > deadline) throw error;
    }
  }
}
