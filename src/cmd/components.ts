/** Every component by the name of its command: its flags, and its run function. Loaded on demand. */
import { UserError } from '#deploy/data-dir.ts';
import type { FlagTable } from './flags/define.ts';

interface ComponentCommand {
  flags(): Promise<FlagTable>;
  /** flags: as the command line hands them over. Resolves after a signal stopped it. */
  run(flags: object): Promise<void>;
}

const COMPONENTS: Readonly<Record<string, ComponentCommand>> = {
  apiserver: {
    flags: async () => (await import('./apiserver/flags.ts')).API_SERVER_FLAGS,
    run: async (flags) => (await import('./apiserver/run.ts')).runApiServer(flags),
  },
  'controller-manager': {
    flags: async () => (await import('./controller-manager/flags.ts')).CONTROLLER_MANAGER_FLAGS,
    run: async (flags) => (await import('./controller-manager/run.ts')).runControllerManager(flags),
  },
  scheduler: {
    flags: async () => (await import('./scheduler/flags.ts')).SCHEDULER_FLAGS,
    run: async (flags) => (await import('./scheduler/run.ts')).runScheduler(flags),
  },
  node: {
    flags: async () => (await import('./node/flags.ts')).NODE_FLAGS,
    run: async (flags) => (await import('./node/run.ts')).runNode(flags),
  },
  proxy: {
    flags: async () => (await import('./proxy/flags.ts')).PROXY_FLAGS,
    run: async (flags) => (await import('./proxy/run.ts')).runProxy(flags),
  },
  balancer: {
    flags: async () => (await import('./balancer/flags.ts')).BALANCER_FLAGS,
    run: async (flags) => (await import('./balancer/run.ts')).runBalancer(flags),
  },
  dns: {
    flags: async () => (await import('./dns/flags.ts')).DNS_FLAGS,
    run: async (flags) => (await import('./dns/run.ts')).runDns(flags),
  },
  gateway: {
    flags: async () => (await import('./gateway/flags.ts')).GATEWAY_FLAGS,
    run: async (flags) => (await import('./gateway/run.ts')).runGateway(flags),
  },
  'cluster-autoscaler': {
    flags: async () => (await import('./cluster-autoscaler/flags.ts')).CLUSTER_AUTOSCALER_FLAGS,
    run: async (flags) => (await import('./cluster-autoscaler/run.ts')).runClusterAutoscaler(flags),
  },
};

export function componentCommand(name: string): ComponentCommand {
  const found = COMPONENTS[name];
  if (!found)
    throw new UserError(`There is no component "${name}"; there are ${Object.keys(COMPONENTS).join(', ')}.`);
  return found;
}
