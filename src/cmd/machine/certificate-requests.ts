/** The requests of `capstan certs generate-csr`, for the names that init would give this machine. */
import { hostname } from 'node:os';
import { clusterEndpoint, defaultCluster, defaultInit } from '#deploy/config/defaults.ts';
import { readConfigFile } from '#deploy/config/read.ts';
import { requireValid } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { generateRequests } from '#deploy/phases/certificates-requests.ts';
import { machineNames } from '#deploy/phases/init/certs.ts';
import { findHostAddress } from '#node/host-address.ts';
import type { KeyAlgorithm } from '#pki/keys.ts';
import { KUBERNETES_VERSION } from '../version.ts';

interface RequestFlags {
  /** A file with InitConfiguration and ClusterConfiguration. */
  readonly config?: string | undefined;
  /** Directory of the certificates, if it is the configured one. */
  dirs(certificatesDir: string): { readonly certDir: string; readonly kubeconfigDir: string };
  warn(line: string): void;
}

/** Paths of the requests. */
export async function requestCertificates({ config, dirs, warn }: RequestFlags): Promise<readonly string[]> {
  const documents = config === undefined ? undefined : readConfigFile(config);
  if (documents) requireValid(documents);
  for (const warning of documents?.warnings ?? []) warn(warning);
  const address = documents?.init?.localAPIEndpoint?.advertiseAddress ?? (await findHostAddress());
  if (address === undefined)
    throw new UserError(
      'No address of this machine was found: give localAPIEndpoint.advertiseAddress in --config.',
    );
  const init = defaultInit(documents?.init ?? {}, { hostName: hostname(), address, newToken: () => '' });
  const cluster = defaultCluster(documents?.cluster ?? {}, {
    kubernetesVersion: KUBERNETES_VERSION.split('+', 1)[0] ?? '',
  });
  const endpoint = clusterEndpoint(cluster, init.localAPIEndpoint);
  return generateRequests({
    ...dirs(cluster.certificatesDir),
    names: machineNames({ init, cluster, endpoint }),
    algorithm: cluster.encryptionAlgorithm as KeyAlgorithm,
    externalEtcd: cluster.etcd.external !== undefined,
  });
}
