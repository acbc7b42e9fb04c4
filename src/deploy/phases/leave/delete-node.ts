/** Phase delete-node: the Node of this machine goes from the cluster. */
import { nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Phase } from '../phase.ts';
import { reachableApi } from './api.ts';
import type { LeaveContext } from './context.ts';

export const deleteNode: Phase<LeaveContext> = {
  name: 'delete-node',
  short: 'Stop the node of this machine and delete its Node object',
  async run(context) {
    const { machine, print, dryRun, program, warn } = context;
    const { nodeName, role, etcd, phases } = machine.read();
    if (role === 'witness' || nodeName === undefined) return;
    if (phases['leave']?.includes('delete-node')) return;
    if (dryRun) return print(`[delete-node] Would delete the Node "${nodeName}"`);
    // The last control plane: no API server remains.
    if (role === 'control-plane' && etcd !== undefined) return;
    // It would register itself again.
    machine.update((record) => ({
      ...record,
      services: record.services.filter(({ name }) => name !== 'node'),
    }));
    await program.followSupervisor();
    try {
      await (await reachableApi(context)).delete(nodes, { name: nodeName });
      print(`[delete-node] Deleted the Node "${nodeName}"`);
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return print(`[delete-node] There is no Node "${nodeName}"`);
      const why = isStatusError(error, 'Forbidden')
        ? 'a worker may not delete its own Node'
        : errorMessage(error);
      warn(
        `the Node "${nodeName}" stays in the cluster (${why}): delete it on a control plane with kubectl delete node ${nodeName}`,
      );
    }
  },
};
