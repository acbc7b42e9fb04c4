/**
 * Phase remove-etcd-member: this machine's API server and controllers stop, then its member leaves etcd, before anything else is taken away. Never below
 * quorum: then nothing is changed.
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
import { serversOf } from './api.ts';
import type { LeaveContext } from './context.ts';

const CONTROL_PLANE = ['apiserver', 'controller-manager', 'scheduler', 'dns'];
/** For a member that came or went just now. */
const HEALTH_TIMEOUT_MS = 30_000;
const RETRY_MS = 500;

export const removeEtcdMember: Phase<LeaveContext> = {
  name: 'remove-etcd-member',
  short: 'Remove the etcd member of this machine',
  async run(context) {
    const { machine, paths, print, dryRun, program } = context;
    const { etcd } = machine.read();
    if (!etcd) return;
    if (dryRun) return print(`[remove-etcd-member] Would remove the etcd member ${etcd.name}`);
    const tls = {
      caFile: join(paths.etcdPki, 'ca.crt'),
      certFile: join(paths.etcdPki, 'healthcheck-client.crt'),
      keyFile: join(paths.etcdPki, 'healthcheck-client.key'),
    };
    if (!Object.values(tls).every((path) => existsSync(path)))
      return print('[remove-etcd-member] This machine has no certificates of etcd: it was never a member');
    const membership = program.etcd({ endpoints: endpointsOf(context), ...tls });
    try {
      await leaveEtcd(context, { membership, etcd });
    } catch (error) {
      if (!context.options.bestEffort || error instanceof Refused) throw error;
      context.warn(
        `the etcd member of this machine could not be removed (${errorMessage(error)}): remove it on another one with capstan etcd remove ${etcd.name}`,
      );
    } finally {
      membership.close();
    }
  },
};

class Refused extends UserError {}

/** Its own first, then those beside the API servers that are known. */
function endpointsOf(context: LeaveContext): readonly string[] {
  const hosts = serversOf(context, { own: false }).flatMap((server) => parseHostPort(server)?.host ?? []);
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
  if (isLast(reports, own)) return letLastGo(context);
  if (!options.force) requireQuorum(reports, own);
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

/** There is nobody to leave the data to. */
function letLastGo({ options, print, machine }: LeaveContext): void {
  if (!options.force)
    throw new Refused(
      `${machine.read().nodeName ?? 'this machine'} is the last control plane: without it the cluster and all its data are gone. To end the cluster: --force`,
    );
  print('[remove-etcd-member] This is the last member of etcd: the cluster ends with it');
}

function requireQuorum(reports: readonly MemberReport[], own: EtcdMember): void {
  try {
    requireQuorumWithout(reports, own);
  } catch (error) {
    throw new Refused(`${errorMessage(error)} To leave all the same: --force`, error);
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
