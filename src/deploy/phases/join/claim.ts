/** Claims the machine in the record before anything else is written: from then on it can be nothing else. */
import { certificatesIn } from '#pki/pem.ts';
import { deriveClusterID } from '../../machine/cluster-id.ts';
import { hostPort } from '../../config/endpoint.ts';
import type { JoinContext, JoinedCluster } from './context.ts';

export async function claim(context: JoinContext, { server, caPem, cluster }: JoinedCluster): Promise<void> {
  const { machine, role, join, local, options } = context;
  const endpoint = server.replace(/^https:\/\//, '');
  const [authority] = certificatesIn(caPem);
  const own = role === 'control-plane' ? [hostPort(local.advertiseAddress, local.bindPort)] : [];
  machine.update((record) => ({
    ...record,
    role,
    nodeName: join.nodeRegistration.name,
    controlPlaneEndpoint: endpoint,
    ...(authority ? { clusterID: deriveClusterID(authority) } : {}),
    ...(role === 'worker' ? {} : { advertiseAddress: local.advertiseAddress }),
    ...(role === 'control-plane' ? { bindPort: local.bindPort } : {}),
    seeds: unique([...own, options.apiServerEndpoint?.replace(/^https:\/\//, ''), endpoint, ...record.seeds]),
    networking: cluster.networking,
  }));
}

function unique(words: readonly (string | undefined)[]): string[] {
  return [...new Set(words.filter((word): word is string => word !== undefined && word !== ''))];
}
