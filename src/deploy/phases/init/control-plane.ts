/** Phase control-plane: how this machine's supervisor runs the API server, the controllers and the scheduler. */
import {
  apiServerService,
  controllerManagerService,
  schedulerService,
} from '../../machine/component-services.ts';
import { timeoutMs } from '../../config/defaults.ts';
import { withService, type ServiceSpec } from '../../machine/services.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

const COMPONENTS = {
  apiserver: apiServerService,
  'controller-manager': controllerManagerService,
  scheduler: schedulerService,
};

export const controlPlane: Phase<InitContext> = {
  name: 'control-plane',
  short: 'Set up all services necessary to establish the control plane',
  phases: Object.entries(COMPONENTS).map(([name, service]) => ({
    name: `control-plane/${name}`,
    short: `Set up the kube-${name} service`,
    async run(context) {
      const { paths, cluster, init } = context;
      const local = init.localAPIEndpoint;
      // As kubeadm's startup probe.
      const startSeconds = timeoutMs(init.timeouts, 'controlPlaneComponentHealthCheck') / 1000;
      await addService(context, service({ paths, cluster, local, startSeconds }), 'control-plane');
    },
  })),
};

/** Into the record; the supervisor follows it. A UserError for a flag of extraArgs that the component does not have. */
export async function addService(context: InitContext, service: ServiceSpec, phase: string): Promise<void> {
  const { machine, print, dryRun, program } = context;
  if ('capstan' in service.run) {
    const [command = '', ...words] = service.run.capstan;
    await program.requireFlags(command, words);
  }
  if (dryRun) return print(`[${phase}] Would run ${service.name}`);
  machine.update((record) => ({ ...record, services: withService(record.services, service) }));
  print(`[${phase}] Setting up the service "${service.name}"`);
}
