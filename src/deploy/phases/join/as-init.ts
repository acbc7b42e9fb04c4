/** A control plane that joins has the same files and services as the first one: the context with which phases of init make them here. */
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { hostPort } from '../../config/endpoint.ts';
import { serviceAddress } from '../../machine/service-address.ts';
import type { InitContext } from '../init/context.ts';
import type { JoinContext, JoinedCluster } from './context.ts';

export function asInit(context: JoinContext, { server, cluster, kubelet }: JoinedCluster): InitContext {
  const { join, local, options, program, paths } = context;
  const ownServer = () => ({
    ...resolveContext(loadKubeconfig({ path: paths.kubeconfig('admin') })).options,
    server: `https://${hostPort(local.advertiseAddress, local.bindPort)}`,
  });
  return {
    ...context,
    init: {
      bootstrapTokens: [],
      nodeRegistration: { ...join.nodeRegistration, taints: join.nodeRegistration.taints ?? [] },
      localAPIEndpoint: local,
      timeouts: join.timeouts,
    },
    cluster,
    kubelet: { clusterDNS: [serviceAddress(cluster.networking.serviceSubnet, 10)], ...kubelet },
    endpoint: server.replace(/^https:\/\//, ''),
    options: {
      ...options,
      uploadCerts: false,
      certificateKey: '',
      printCertificateKey: false,
      printToken: false,
    },
    program: {
      requireFlags: (command, words) => program.requireFlags(command, words),
      startSupervisor: () => program.startSupervisor(),
      isSupervised: () => program.isSupervised(),
      failedService: () => program.failedService(),
      etcd: (options) => program.etcd(options),
      api: () => program.client(ownServer()),
      apiServerProblem: () => program.serverProblem(ownServer()),
    },
  };
}
