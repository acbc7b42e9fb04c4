/** kubectl's interface of credential plugins (client.authentication.k8s.io/v1): KUBERNETES_EXEC_INFO, and the ExecCredential it reads. */
import { UserError } from '#deploy/data-dir.ts';
import type { LoginCluster, LoginFlags } from './methods.ts';
import type { Token, TokenCache } from './token-cache.ts';

const API_VERSION = 'client.authentication.k8s.io/v1';

interface ExecInfo {
  readonly apiVersion?: string;
  readonly spec?: {
    readonly interactive?: boolean;
    readonly cluster?: {
      readonly server?: string;
      readonly 'certificate-authority-data'?: string;
      readonly 'tls-server-name'?: string;
    };
  };
}

/** The cluster that kubectl talks to, else the one of the flags. */
export function execCluster(flags: LoginFlags): LoginCluster {
  const { cluster } = execInfo().spec ?? {};
  const server = cluster?.server ?? flags.server;
  if (server === undefined)
    throw new UserError(
      '--exec-credential needs KUBERNETES_EXEC_INFO with a cluster (provideClusterInfo: true in the kubeconfig), or --server.',
    );
  const ca = cluster?.['certificate-authority-data'];
  return {
    server: server.replace(/\/$/, ''),
    ...(ca ? { caPem: Buffer.from(ca, 'base64').toString('utf8') } : {}),
    ...(cluster?.['tls-server-name'] ? { serverName: cluster['tls-server-name'] } : {}),
  };
}

/** Whether the user may be prompted. */
export function isInteractive(): boolean {
  return execInfo().spec?.interactive ?? process.stdin.isTTY;
}

/** JSON for kubectl: the cached token while it lasts, else a new one. */
export async function execCredential(obtain: () => Promise<Token>, cache: TokenCache): Promise<string> {
  let found = cache.readValid();
  if (!found) cache.write((found = await obtain()));
  return JSON.stringify({
    apiVersion: API_VERSION,
    kind: 'ExecCredential',
    spec: { interactive: isInteractive() },
    status: { token: found.token, expirationTimestamp: found.expirationTimestamp },
  });
}

function execInfo(): ExecInfo {
  const text = process.env['KUBERNETES_EXEC_INFO'];
  if (text === undefined || text === '') return {};
  let info: ExecInfo;
  try {
    info = JSON.parse(text) as ExecInfo;
  } catch (error) {
    throw new UserError('KUBERNETES_EXEC_INFO is not JSON.', error);
  }
  if (info.apiVersion !== undefined && info.apiVersion !== API_VERSION)
    throw new UserError(`KUBERNETES_EXEC_INFO is of ${info.apiVersion}; it should be of ${API_VERSION}.`);
  return info;
}
