/** Phase control-plane-join: the API server, controllers, scheduler and DNS of this machine, and its Node as one of a control plane. */
import { addon } from '../init/addon.ts';
import { controlPlane } from '../init/control-plane.ts';
import { markControlPlane } from '../init/mark-control-plane.ts';
import { waitControlPlane as waitForApiServer } from '../init/wait-control-plane.ts';
import type { Phase } from '../phase.ts';
import type { JoinContext } from './context.ts';
import { runPhaseWith } from './phase-of-init.ts';

export const controlPlaneJoin: Phase<JoinContext> = {
  name: 'control-plane-join',
  short: 'Join a machine as a control plane instance',
  phases: [
    {
      name: 'control-plane-join/control-plane',
      short: 'Set up the services of the new control plane',
      async run(context) {
        if (context.role !== 'control-plane') return;
        await runPhaseWith(controlPlane, context);
        if (!context.dryRun) await context.program.startSupervisor();
      },
    },
    {
      name: 'control-plane-join/addon',
      short: 'Set up the cluster DNS of this machine',
      async run(context) {
        if (context.role === 'control-plane')
          await runPhaseWith(addon, context, { select: (name) => name === 'addon/coredns' });
      },
    },
  ],
};

export const waitControlPlane: Phase<JoinContext> = {
  name: 'wait-control-plane',
  short: 'Wait for the control plane of this machine to start, and mark its Node',
  async run(context) {
    if (context.role === 'control-plane') await runPhaseWith(waitForApiServer, context);
  },
  phases: [
    {
      name: 'wait-control-plane/mark-control-plane',
      short: 'Mark a node as a control-plane',
      async run(context) {
        if (context.role === 'control-plane') await runPhaseWith(markControlPlane, context);
      },
    },
  ],
};
