/**
 * `capstan leave` and `capstan reset` as lists of phases. Leave is for a machine whose cluster goes on without it, and changes nothing where the cluster
 * would be harmed; reset is for one that is to be clean whatever the cluster says, and only removes its etcd member besides.
 */
import type { Workflow } from '../phase.ts';
import { cleanupNode, stop } from './cleanup-node.ts';
import type { LeaveContext } from './context.ts';
import { deleteNode } from './delete-node.ts';
import { drain } from './drain.ts';
import { preflight, removeEtcdMember } from './remove-etcd-member.ts';

export const LEAVE_WORKFLOW: Workflow<LeaveContext> = {
  name: 'leave',
  phases: [preflight, drain, removeEtcdMember, deleteNode, stop, cleanupNode],
};

export const RESET_WORKFLOW: Workflow<LeaveContext> = {
  name: 'reset',
  phases: [preflight, removeEtcdMember, stop, cleanupNode],
};
