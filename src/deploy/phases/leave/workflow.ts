/**
 * `capstan leave` and `capstan reset` as lists of phases. Leave requires a healthy rest of the cluster, and changes nothing where it would be harmed; reset
 * cleans the machine in any case, and only removes its etcd member besides.
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
