/** Finds the cluster that a machine is to join, and reads its configuration with the credentials that it joins by. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import { resolveContext } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeconfigUser, Located } from '#machinery/config/kubeconfig.ts';
import { errorMessage } from '#stdx/log.ts';
import { defaultCluster, timeoutMs } from '../../config/defaults.ts';
import { parseClusterConfiguration, parseConfigDocuments } from '../../config/read.ts';
import { UserError } from '../../data-dir.ts';
import type { DiscoveredCluster } from '../../discovery/discovered-cluster.ts';
import { discoverByFile } from '../../discovery/file.ts';
import { discoverByToken, serverOf } from '../../discovery/token.ts';
import type { JoinContext, JoinedCluster } from './context.ts';

type Discovery = Pick<JoinContext, 'join' | 'clock' | 'log' | 'program'> & {
  readonly kubernetesVersion: string;
};

/** UserError for each way in which it cannot be found. */
export async function discoverCluster(context: Discovery): Promise<JoinedCluster> {
  const found = await find(context);
  const credentials = credentialsOf(found, context.join.discovery?.tlsBootstrapToken);
  const given = context.join.discovery?.bootstrapToken?.apiServerEndpoint;
  const apiServer = given ? serverOf(given) : found.server;
  const api = context.program.client({ server: apiServer, ...credentials });
  const { cluster, kubelet } = await readConfiguration(api, { server: apiServer });
  return {
    server: found.server,
    apiServer,
    caPem: found.caPem,
    cluster: defaultCluster(cluster, { kubernetesVersion: context.kubernetesVersion }),
    kubelet,
    credentials,
  };
}

function find({ join, clock, log }: Discovery): Promise<DiscoveredCluster> {
  const { bootstrapToken, file } = join.discovery ?? {};
  const around = { clock, log, timeoutMs: timeoutMs(join.timeouts, 'discovery') };
  if (file?.kubeConfigPath) return discoverByFile(file.kubeConfigPath, around);
  if (!bootstrapToken?.token || !bootstrapToken.apiServerEndpoint)
    throw new UserError(
      'join needs HOST:PORT of an API server with --token, or --discovery-file FILE; `capstan token create --print-join-command` prints the whole line on a control plane.',
    );
  return discoverByToken(
    {
      apiServerEndpoint: bootstrapToken.apiServerEndpoint,
      token: bootstrapToken.token,
      caCertHashes: bootstrapToken.caCertHashes ?? [],
      unsafeSkipCAVerification: bootstrapToken.unsafeSkipCAVerification,
    },
    around,
  );
}

/** The file's own credentials if it has any, as kubeadm. */
function credentialsOf(
  { server, caPem, user }: DiscoveredCluster,
  token: string | undefined,
): Omit<HttpsOptions, 'server'> {
  if (user && hasCredentials(user)) return fileCredentials({ server, caPem, user });
  if (token) return { ca: caPem, token };
  throw new UserError(
    'The discovery file has no credentials: give --token (tlsBootstrapToken), with which this machine asks for its certificate.',
  );
}

function hasCredentials({ value }: Located<KubeconfigUser>): boolean {
  return Object.keys(value).length > 0;
}

function fileCredentials({
  server,
  caPem,
  user,
}: DiscoveredCluster & { readonly user: Located<KubeconfigUser> }): Omit<HttpsOptions, 'server'> {
  const data = Buffer.from(caPem).toString('base64');
  const { server: _, ...credentials } = resolveContext({
    currentContext: 'join',
    contexts: new Map([['join', { cluster: 'join', user: 'join' }]]),
    clusters: new Map([
      ['join', { value: { server, 'certificate-authority-data': data }, folder: user.folder }],
    ]),
    users: new Map([['join', user]]),
  }).options;
  return credentials;
}

async function readConfiguration(api: Client, { server }: { readonly server: string }) {
  const cluster = await read(api, { name: 'kubeadm-config', key: 'ClusterConfiguration', server });
  const kubelet = await read(api, { name: 'kubelet-config', key: 'kubelet', server });
  try {
    return {
      cluster: parseClusterConfiguration(cluster),
      kubelet: parseConfigDocuments(kubelet).kubelet ?? {},
    };
  } catch (error) {
    throw new UserError(
      `The configuration of the cluster cannot be used: ${errorMessage(error)}. Write it again on a control plane with: capstan init phase upload-config`,
      error,
    );
  }
}

async function read(
  api: Client,
  { name, key, server }: { readonly name: string; readonly key: string; readonly server: string },
): Promise<string> {
  const where = `ConfigMap "${name}" in the "kube-system" Namespace`;
  try {
    const { data } = await api.get(configMaps, { name, namespace: 'kube-system' });
    if (data?.[key] !== undefined) return data[key];
  } catch (error) {
    if (isStatusError(error, 'Unauthorized'))
      throw new UserError(
        `${server} does not accept the token (401 Unauthorized): it has expired, or may not be used for authentication. Make one on a control plane with: capstan token create --print-join-command`,
        error,
      );
    if (isStatusError(error, 'Forbidden'))
      throw new UserError(`The token may not read the ${where}: ${errorMessage(error)}.`, error);
    if (!isStatusError(error, 'NotFound'))
      throw new UserError(`The ${where} cannot be read from ${server}: ${errorMessage(error)}.`, error);
  }
  throw new UserError(
    `The cluster has no ${key} in the ${where}: it was not made by init. Write it on a control plane with: capstan init phase upload-config`,
  );
}
